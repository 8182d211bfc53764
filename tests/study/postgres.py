"""A real PostgreSQL server on loopback, gone with the block; Debian's package `postgresql` brings its programs."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "pa55-of-the-test"


def programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    return found[-1]


class Server:
    """One server with an empty database. url: without the password, which PGPASSWORD holds."""

    def __init__(self, folder: Path):
        self.programs, self.folder, self.data = programs(), folder, folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://ftray@127.0.0.1:{self.port}/studies"
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        self._run("initdb", "-D", self.data, "-U", "ftray", "-A", "scram-sha-256", "--pwfile", folder / "password")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "ftray", "studies")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def _run(self, program: str, *words: object) -> None:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        command = [*as_user, str(self.programs / program), *map(str, words)]
        environment = os.environ | {"PGPASSWORD": PASSWORD, "HOME": str(self.folder)}
        subprocess.run(command, check=True, capture_output=True, cwd="/", env=environment, timeout=60)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
