"""Linux namespaces, which hosts are made of: whether there can be any, and what is needed to make and find them."""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .waiting import until

ROOT = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("sshd", "rsync", "tini", "ip", "unshare", "nsenter", "pivot_root", "ssh-keygen")
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL")
PR_SET_PDEATHSIG = 1


@functools.cache
def missing() -> str | None:
    """Why there can be no hosts on this machine; None where there can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if not sys.platform.startswith("linux"):
        return f"hosts are Linux namespaces, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "hosts are made by root alone"
    if absent:
        return f"hosts need {', '.join(absent)}: apt-get install openssh-server rsync tini iproute2"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"this machine lets nobody make namespaces: {tried.stderr.strip()}" if tried.returncode else None


def new_key(path: Path) -> str:
    run_here(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)])
    return path.read_text()


def first_process_under(pid: int) -> int:
    """The process that is number 1 in the process namespace that `pid` or a child of it makes, by its number here."""
    depth = _depth(os.getpid())

    def search() -> int:
        todo = [pid]
        while todo:
            candidate = todo.pop()
            with contextlib.suppress(OSError):
                numbers = _numbers(candidate)
                if len(numbers) > depth and numbers[-1] == 1:
                    return candidate
                todo += map(int, Path(f"/proc/{candidate}/task/{candidate}/children").read_text().split())
        return 0

    return until(search, 30, "a process in a namespace of its own", every=0.02)


def _numbers(pid: int) -> list[int]:
    """A process's number in each namespace from this one down to its own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [int(n) for line in lines if line.startswith("NSpid:") for n in line.split()[1:]]


def _depth(pid: int) -> int:
    return len(_numbers(pid))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_here(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def interfaces() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def mounts_here() -> list[str]:
    return sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())


def python() -> str:
    """Python itself: what `sys.executable` points to in the end, that runs wherever it is."""
    return os.path.realpath(sys.executable)


def python_lives_in() -> set[str]:
    """The folders that the Python of this process, and the package as it is installed here, cannot do without."""
    return {os.path.realpath(sys.base_prefix), sys.prefix, str(ROOT)}
