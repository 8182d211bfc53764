"""Ray's own command line, as a user would type it: every command is shown before it runs.

Takes: words. Gives: lines like `$ ray dashboard cluster/aws-gpu.yaml`, and what the command did. Ray's token is never
among the words: a child finds it where Ray looks for it, as long as it is told that there is one to look for.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ftray.errors import ClusterError

Say = Callable[[str], None]

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Ray's variables: whether it asks for a token, the token itself, and the file that holds it."""


class RayCli:
    """Runs `ray ...`; `say` is told each line that a user could type instead.

    Raises: ClusterError at the door where there is no token: a cluster of ours answers nobody without one.
    """

    def __init__(self, say: Say):
        self.say, self._headers = say, {}
        if os.environ.setdefault(MODE, "token") == "token":
            self._headers = {"Authorization": f"Bearer {_token()}"}
            say(f"$ export {MODE}=token")

    @property
    def headers(self) -> dict[str, str]:
        """For Ray's clients in this process: they read the mode when Ray is imported, which may be before it is set."""
        return dict(self._headers)

    def show(self, *words: str) -> None:
        self.say(f"$ {shlex.join(['ray', *words])}")

    def run(self, *words: str) -> None:
        """Runs a command to its end. Raises: ClusterError with what it said last if it fails."""
        with self.running(*words) as process:
            said, _ = process.communicate()
        if process.returncode:
            raise ClusterError(f"`{shlex.join(['ray', *words])}` must succeed, but it ended with: {last_line(said)}")

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that runs as long as the block; its output is in `stdout`."""
        self.show(*words)
        with _child(words) as process:
            yield process


@contextlib.contextmanager
def _child(words: tuple[str, ...]) -> Iterator["subprocess.Popen[str]"]:
    """A process group of its own, which Ctrl-C does not reach, ended with the block: Ray's commands leave an ssh
    behind when they are ended alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def last_line(said: str | None) -> str:
    """What a command of Ray's said last, without what it shows around it."""
    lines = [line.strip() for line in (said or "").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def _token() -> str:
    """Ray's token, from where Ray itself looks for it. Raises: ClusterError if it is not there."""
    place = Path(os.environ.get(TOKEN_PATH) or "~/.ray/auth_token").expanduser()
    if token := os.environ.get(TOKEN):
        return token.strip()
    with contextlib.suppress(OSError):
        if token := place.read_text().strip():
            return token
    raise ClusterError(
        f"Ray's token must lie in {place}, the same that the cluster was started with, and does not: for a cluster "
        "that is yet to come, make one with `ray get-auth-token --generate`, once; for one that runs, bring its own, "
        f"or set {TOKEN}"
    )
