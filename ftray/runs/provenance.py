"""Where a result comes from: code, machine, versions.

Takes: nothing. Gives: plain mappings for a trial's events.
"""

import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

from ftray.runs.study_file import versions


def git_commit(folder: Path | str = ".") -> str | None:
    """The commit that a folder is at, followed by a + if tracked files have changed; None outside of git."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))


def machine() -> dict[str, Any]:
    """This machine, this process and its versions."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cpu": _cpu(),
        "n_cpus": os.cpu_count(),
        "versions": dict(versions()),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
