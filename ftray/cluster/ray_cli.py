"""Runs Ray's own command line and prints every command before it runs, as a user would type it.

Takes: the arguments of a command. Gives: lines like `$ ray dashboard cluster/aws-gpu.yaml`, and the command's output.
Ray's token is never among the arguments: with RAY_AUTH_MODE set, the command finds it where Ray looks for it.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ftray.errors import ClusterError
from ftray.say import Say

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Ray's variables: whether it asks for a token, the token itself, and the file that holds it."""


class RayCli:
    """Runs `ray ...`; `say` gets each line that a user could type instead.

    Raises: ClusterError from the constructor where there is no token: the clusters of `cluster/` refuse every request
    without one.
    """

    def __init__(self, say: Say):
        self.say, self._headers = say, {}
        if os.environ.setdefault(MODE, "token") == "token":
            self._headers = {"Authorization": f"Bearer {_token()}"}
            say(f"$ export {MODE}=token")

    @property
    def headers(self) -> dict[str, str]:
        """For Ray's clients in this process, which read the mode when Ray is imported: that may be before it is set."""
        return dict(self._headers)

    def show(self, *arguments: str) -> None:
        self.say(f"$ {shlex.join(['ray', *arguments])}")

    def run(self, *arguments: str) -> None:
        """Runs a command to its end. Raises: ClusterError with the last line of its output if it fails."""
        with self.running(*arguments) as process:
            output, _ = process.communicate()
        if process.returncode:
            command = shlex.join(["ray", *arguments])
            raise ClusterError(f"`{command}` must succeed, but it ended with: {last_line(output)}")

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Runs a command for as long as the block; its output is in `stdout`."""
        self.show(*arguments)
        with _child(arguments) as process:
            yield process


@contextlib.contextmanager
def _child(arguments: tuple[str, ...]) -> Iterator["subprocess.Popen[str]"]:
    """Runs a command in a process group of its own, which Ctrl-C does not reach, and ends the whole group with the
    block: when Ray's command is ended alone, its ssh keeps running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *arguments],
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


def last_line(output: str | None) -> str:
    """The last line that a command of Ray's printed, without space around it."""
    lines = [line.strip() for line in (output or "").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def _token() -> str:
    """Ray's token, read from where Ray itself looks for it. Raises: ClusterError if there is none."""
    place = Path(os.environ.get(TOKEN_PATH) or "~/.ray/auth_token").expanduser()
    if token := os.environ.get(TOKEN):
        return token.strip()
    with contextlib.suppress(OSError):
        if token := place.read_text().strip():
            return token
    raise ClusterError(
        f"Ray's token must be in {place}, the one that the cluster was started with, but there is none: for a new "
        "cluster, make one with `ray get-auth-token --generate`, once; for a running cluster, copy its token there, "
        f"or set {TOKEN}"
    )
