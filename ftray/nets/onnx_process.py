"""policy.onnx of a policy folder, exported by a process of its own: a crash or a hang there costs the file alone.

torch's exporter can end the process that it runs in, which no `except` catches: torch 2.11.0 for CUDA 13.0 does, in the
second thread that exports in a process that sees no GPU, and Ray gives a worker each trial in a new thread.

Takes: a policy folder that is whole without an ONNX file. Gives: the same folder with one, or with the reason why it
has none: `onnx_left_out` in policy.json.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftray.errors import MissingDependencyError
from ftray.files import replace_file, sha256
from ftray.nets.export import check_packages
from ftray.plugins import carried

FACTS, ONNX = "policy.json", "policy.onnx"

LIMIT = 600.0
"""Seconds that an export may take. It takes 7 on a quiet core, imports included, and 40 on one that four share."""

COMMAND = (sys.executable, "-P", "-m", "ftray.nets.onnx_child")
"""What exports, followed by the policy folder and the file to write. `-P` keeps the working directory out of it."""

PLUGINS = "FTRAY_CARRIED_PLUGINS"
"""The variable from which that process has its plug-ins."""


@contextlib.contextmanager
def exporting_onnx(folder: Path, command: Sequence[str] = COMMAND, limit: float = LIMIT) -> Iterator[None]:
    """Adds policy.onnx to a policy folder, made while the block runs and waited for at its end.

    command: what is run with the folder and a file as its last arguments. It exits with 0 once the file is written,
        and otherwise prints the reason. limit: seconds that are waited for it once the block has ended.
    """
    # A folder of its own: a process that outlives a killed trial must not write into the trial's next policy.
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-onnx-", dir=folder.parent))
    process, problem = None, None
    try:
        _add(folder, scratch / ONNX, "its export did not end")
        try:
            check_packages()
            process = _start([*command, str(folder.absolute()), str((scratch / ONNX).absolute())])
        except (MissingDependencyError, OSError) as error:
            problem = str(error)
        yield
        if process is not None:
            problem = _problem(process, scratch / ONNX, limit)
        _add(folder, scratch / ONNX, problem)
    finally:
        if process is not None:
            process.kill()
            process.communicate()
        shutil.rmtree(scratch, ignore_errors=True)


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    """The process; it imports what this one can, and sees no GPU: a context there is memory that no job booked."""
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)  # "" is the working directory
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", PLUGINS: json.dumps(carried())}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
    )


def _problem(process: subprocess.Popen[str], file: Path, limit: float) -> str | None:
    """Waits for the process; why it wrote no file, or None if it did."""
    try:
        printed, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"the process that exported it took longer than {limit:g} s and was killed"
    if process.returncode < 0:
        return f"the process that exported it was ended by {_signal_name(-process.returncode)}"
    if process.returncode == 0 and file.exists():
        return None
    last_line = "".join(errors.strip().splitlines()[-1:])
    return printed.strip() or last_line or f"the process that exported it exited with {process.returncode} and no file"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def _add(folder: Path, file: Path, problem: str | None) -> None:
    """Puts the file into the folder and its hash into policy.json; or the problem, where there is one.

    policy.json comes last: a process that is killed in between leaves a folder that loads, without its ONNX file.
    """
    facts = json.loads((folder / FACTS).read_text())
    if problem is None:
        facts["sha256"][ONNX] = sha256(file)
        facts.pop("onnx_left_out", None)
        file.replace(folder / ONNX)
    else:
        facts["sha256"].pop(ONNX, None)  # of an earlier export
        facts["onnx_left_out"] = problem
    replace_file(folder / FACTS, json.dumps(facts, indent=1).encode())
    if problem is not None:
        (folder / ONNX).unlink(missing_ok=True)
