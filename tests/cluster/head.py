"""A head for a test: what `ray start --head` makes, with a token, a home and ports of its own.

Takes: an empty folder. Gives: `Head`; it ends with the block, and by its own process numbers alone.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from ftray.cluster.dashboard import Dashboard, dashboard
from ftray.cluster.ray_cli import RayCli
from tests.study.tiny import TINY

from .hosts import ROOT
from .waiting import until


class Head:
    """home: the user's, with Ray's token. address: of its dashboard. gcs: where drivers connect, as RAY_ADDRESS has it.

    environment: of the user's commands and of all that the head starts, without what ftray or a user may have set.
    """

    def __init__(self, home: Path, address: str, gcs: str, token: str):
        self.home, self.address, self.gcs, self.token = home, address, gcs, token
        not_there = ("RAY_", "FTRAY_", "OMP_WAIT_POLICY")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(not_there)},
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def ftray(self, *words: object, seconds: float = 300, **environment: str) -> "subprocess.CompletedProcess[str]":
        """What `ftray` says and does, typed at home."""
        return _ended(self.typing(*words, **environment), seconds)

    def drives(
        self, script: str, stdin: str = "", seconds: float = 300, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """What a script says and does that runs as a driver on the head."""
        words = [sys.executable, "-c", script]
        there = {"RAY_ADDRESS": self.gcs, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)}
        return _ended(self._running(words, there | environment), seconds, stdin)

    def typing(self, *words: object, **environment: str) -> "subprocess.Popen[str]":
        """A command that runs."""
        return self._running([sys.executable, "-m", "ftray", *map(str, words)], environment)

    def _running(self, words: list[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            words,
            cwd=self.home,
            stdin=subprocess.PIPE,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _ended(process: "subprocess.Popen[str]", seconds: float, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    with process:
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def a_head(folder: Path) -> Iterator[Head]:
    token, ports = secrets.token_hex(32), _free_ports(5)
    place = folder / ".ray" / "auth_token"
    place.parent.mkdir()
    place.write_text(token)
    place.chmod(0o600)
    head = Head(folder, f"http://127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[0]}", token)
    temp = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the path of a socket must be short
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port")
    words = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    words += ["--dashboard-host=127.0.0.1", "--num-cpus=2", "--num-gpus=0", "--object-store-memory=200000000"]
    words += ["--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={temp}", "--block"]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", *words],
            env=head.environment | {"RAY_AUTH_MODE": "token"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: _answers(head, process, folder / "head.log"), 180, "the head answers")
        yield head
    finally:
        _end(process)
        shutil.rmtree(temp, ignore_errors=True)


def _answers(head: Head, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-2000:]
    token = {"Authorization": f"Bearer {head.token}"}
    request = urllib.request.Request(f"{head.address}/api/jobs/", headers=token)
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):  # a refusal is an OSError as well
        return True
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a head and all that it started, which shares its session."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    for number in _in_session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait(30)
    until(lambda: not _in_session(process.pid), 30, "all that the head started ends")


def _in_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(entry.parent.name))
    return found


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def study_file(folder: Path, name: str, n_trials: int) -> Path:
    """A study of short trials of one kind."""
    trial = TINY["trial"] | {"encoder": TINY["trial"]["encoder"]["choice"][0]}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"trial": trial, "search": {"n_trials": n_trials}}))
    return path


@contextlib.contextmanager
def board_of(head: Head, monkeypatch) -> Iterator[Dashboard]:  # type: ignore[no-untyped-def]
    """The head's dashboard, for a test that asks what no command prints."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with dashboard(RayCli(lambda line: None), None, head.address) as board:
        yield board
