"""Hosts made of Linux namespaces: machines to try a cluster on, without a cloud and without touching this one.

Takes: root, and Debian's openssh-server, rsync, tini and iproute2. Gives: `Hosts`, a switch with as many machines as
are wanted. Each has its own address, sshd, process table, /tmp, home and shared memory, and a copy of this machine's
files in which it may change what it likes.

All of it lives under one process, the switch, in namespaces of its own: nothing is connected to this machine's network,
and nothing outlives that process, which itself cannot outlive this one.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import namespaces
from .waiting import until

INIT = Path(__file__).with_name("host_init.py")
ROOT = Path(__file__).parents[2]
SUBNET = "10.77.0"
MEMORY = "6g"
"""At most, for what hosts write: their disks, all together, and the /tmp of each."""


class Host:
    """One machine; off until it is booted.

    users: who may log in with the hosts' key, and their homes. environment: what every login gets.
    mounts: folders of this machine at a place of the host's, written through: the storage that hosts share.
    venv: where the host has Python's packages, all that this process has, as if they had been installed there before.
    """

    def __init__(
        self,
        hosts: "Hosts",
        name: str,
        address: str,
        users: Mapping[str, str],
        environment: Mapping[str, str],
        mounts: Mapping[Path, str],
        venv: str | None,
    ):
        self.hosts, self.name, self.address, self.venv = hosts, name, address, venv
        self.users, self.environment, self.mounts = users, environment, mounts
        self.link = f"v-{name}"
        self.authorized = [hosts.public_key]
        self._process: subprocess.Popen[str] | None = None
        self.pid = 0

    @property
    def _disk(self) -> Path:
        return self.hosts.disks / self.name

    @property
    def is_on(self) -> bool:
        return self._process is not None

    def boot(self) -> "Host":
        """Starts the host, with the disk as it was; back when its sshd answers."""
        assert not self.is_on, f"{self.name} is on already"
        log = (self.hosts.folder / f"{self.name}.log").open("a")
        self._process = self.hosts.start(
            [*namespaces.UNSHARE, "--uts", "--ipc", namespaces.python(), str(INIT)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
        self.pid = namespaces.first_process_under(self._process.pid)
        self.hosts.remember(self.pid)
        self._plug_in()
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            json.dump(self._description(), stdin)
        until(self._answers, 60, f"{self.name} boots ({self.hosts.folder / f'{self.name}.log'})", every=0.1)
        return self

    def power_off(self) -> None:
        """The machine goes down at once: the kernel ends its processes and closes their connections."""
        assert self._process is not None, f"{self.name} is off"
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def wipe(self) -> None:
        """Empties the disk of a host that is off: the next one to boot is another machine."""
        assert not self.is_on, f"{self.name} is on"
        self.authorized = [self.hosts.public_key]
        namespaces.run_here([*self.hosts.at_the_switch, "rm", "-rf", str(self._disk)])

    def cut(self) -> None:
        """Pulls the cable: packets are lost, and neither end gets an error."""
        self.hosts.ip("link", "set", self.link, "down")

    def heal(self) -> None:
        self.hosts.ip("link", "set", self.link, "up")

    def command(self, line: str, **environment: str) -> list[str]:
        """A line of shell as the machine's owner would type it, as words to be run here."""
        home = self.users["root"]
        settings = {"HOME": home, "USER": "root", "LANG": "C.UTF-8", "TERM": "xterm", "PYTHONUNBUFFERED": "1"}
        settings |= {"PATH": f"{Path(sys.prefix) / 'bin'}:{namespaces.PATH}"} | self.environment | environment
        inside = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", "env", "-i"]
        return [*inside, *(f"{k}={v}" for k, v in settings.items()), "bash", "-c", f"cd {home}; {line}"]

    def run(self, line: str, seconds: float = 120, check: bool = True, **environment: str) -> str:
        """What a line of shell prints. Raises: AssertionError with all it said if it fails, unless `check` is False."""
        done = subprocess.run(
            self.command(line, **environment),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {line}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of the host's."""
        line = f"mkdir -p $(dirname {path}); umask 077; cat > {path}; chmod {mode:o} {path}"
        subprocess.run(self.command(line), input=text, text=True, check=True, timeout=30)

    def give(self, root: Path, names: Iterable[str], target: str) -> None:
        """Copies files and folders of this machine, named from `root` on, to the same places under `target` there."""
        packed = subprocess.run(["tar", "-C", str(root), "--exclude=__pycache__", "-c", *names], capture_output=True)
        assert packed.returncode == 0, packed.stderr.decode()
        line = f"mkdir -p {target} && tar -C {target} --no-same-owner -x"
        subprocess.run(self.command(line), input=packed.stdout, check=True, timeout=60)

    def read(self, path: str) -> str:
        return self.run(f"cat {path}")

    def processes(self) -> list[str]:
        """The command lines of all that runs there, but of the first process and sshd."""
        listed = self.run("ps -eo pid=,args=").splitlines()
        found = [line.split(None, 1)[1] for line in listed if line.split(None, 1)[0] != "1"]
        return [words for words in found if not words.startswith(("ps ", "sshd", "bash -c cd", "/usr/sbin/sshd"))]

    def kill(self, name: str) -> int:
        """Kills with -9 what goes by that name there; how many."""
        before = self.run(f"pgrep -cx {shlex.quote(name)}", check=False)
        self.run(f"pkill -9 -x {shlex.quote(name)}", check=False)
        return int(before or 0)

    def call_it(self, *addresses: str) -> None:
        """Gives the running host further addresses; what it sends comes from the first."""
        for address in addresses:
            self._ip("addr", "add", f"{address}/32", "dev", "eth0")
        self._ip("route", "replace", "default", "dev", "eth0", "src", addresses[0])

    def authorize(self, public_key: str) -> None:
        """Lets the owner of another key in, for each of the users."""
        self.authorized.append(public_key)
        for home in self.users.values():
            self.write(f"{home}/.ssh/authorized_keys", "\n".join(self.authorized) + "\n", mode=0o644)

    def _plug_in(self) -> None:
        peer = ["peer", "name", "eth0", "netns", str(self.pid)]
        self.hosts.ip("link", "add", self.link, "type", "veth", *peer)
        self.hosts.ip("link", "set", self.link, "master", "switch", "up")
        self._ip("link", "set", "lo", "up")
        self._ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self._ip("link", "set", "eth0", "up")
        self._ip("route", "add", "default", "dev", "eth0")  # to nowhere: Ray asks the kernel which address it has

    def _ip(self, *words: str) -> None:
        namespaces.run_here(["nsenter", "-t", str(self.pid), "-n", "ip", *words])

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log()
        probe = f"exec 3<>/dev/tcp/{self.address}/22 && read -t 2 -u 3 line && echo $line"
        entered = ["nsenter", "-t", str(self.hosts.pid), "-n", "timeout", "3", "bash", "-c", probe]
        return "SSH-2.0" in subprocess.run(entered, capture_output=True, text=True, check=False).stdout

    def _log(self) -> str:
        return (self.hosts.folder / f"{self.name}.log").read_text()

    def _description(self) -> dict[str, Any]:
        """What `host_init` reads. kept: folders that would vanish with /tmp or a home, and that Python lives in."""
        names = [f"{host.address} {host.name}" for host in self.hosts.all]
        hidden = ("/tmp/", "/run/", "/var/tmp/", "/root/", "/home/")
        return {
            "name": self.name,
            "disk": str(self._disk),
            "memory": MEMORY,
            "kept": [path for path in namespaces.python_lives_in() if path.startswith(hidden)],
            "venv": {"of": sys.prefix, "at": self.venv} if self.venv else None,
            "links": {f"/usr/local/bin/{name}": str(Path(sys.prefix) / "bin" / name) for name in ("uv",)},
            "mounts": {str(source): target for source, target in self.mounts.items()},
            "hosts": "\n".join(["127.0.0.1 localhost", *names, ""]),
            "users": dict(self.users),
            "environment": {"LANG": "C.UTF-8", **self.environment},
            "authorized": "\n".join(self.authorized) + "\n",
            "host_key": self.hosts.host_key,
        }


class Hosts:
    """A switch and the hosts on it; `with Hosts() as hosts:` ends with nothing left of any of them.

    Raises: AssertionError at the end, if there is.
    """

    def __init__(self) -> None:
        self.all: list[Host] = []
        self.pid = 0

    def __enter__(self) -> "Hosts":
        reason = namespaces.missing()
        assert reason is None, reason
        self._before = namespaces.interfaces(), namespaces.mounts_here()
        self.folder = Path(tempfile.mkdtemp(prefix="ftray-hosts-"))
        self.key, self.host_key = namespaces.new_key(self.folder / "id"), namespaces.new_key(self.folder / "host")
        self.public_key = (self.folder / "id.pub").read_text().strip()
        self.storage = self.folder / "storage"
        self.storage.mkdir()
        self.storage.chmod(0o777)
        self._seen: dict[str, int] = {}
        self._switch = subprocess.Popen(
            [*namespaces.UNSHARE, "--mount-proc", "tini", "--", "sleep", "infinity"],
            stderr=subprocess.DEVNULL,
            preexec_fn=namespaces.die_with_parent,
        )
        self.pid = namespaces.first_process_under(self._switch.pid)
        self.disks = self.folder / "disks"
        self.disks.mkdir()
        namespaces.run_here(
            [*self.at_the_switch, "mount", "-t", "tmpfs", "-o", f"size={MEMORY},mode=755", "disks", str(self.disks)]
        )
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", "switch", "type", "bridge")
        self.ip("addr", "add", f"{SUBNET}.1/24", "dev", "switch")
        self.ip("link", "set", "switch", "up")
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._switch.wait()
        for host in self.all:
            if host._process is not None:
                host._process.wait()
        until(lambda: not self._left_over(), 30, "the hosts' processes end")
        for held in self._seen.values():
            os.close(held)
        assert (namespaces.interfaces(), namespaces.mounts_here()) == self._before, "hosts left interfaces or mounts"
        shutil.rmtree(self.folder)

    def add(
        self,
        name: str,
        number: int,
        users: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        venv: str | None = None,
    ) -> Host:
        """A host at 10.77.0.number, off as yet."""
        users = {"root": "/root", **(users or {})}
        host = Host(self, name, f"{SUBNET}.{number}", users, environment or {}, mounts or {}, venv)
        self.all.append(host)
        return host

    def start(self, words: list[str], **how: Any) -> subprocess.Popen[str]:
        """Starts something among the processes that end with the switch."""
        return subprocess.Popen([*self.at_the_switch, *words], text=True, **how)

    @property
    def at_the_switch(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "--"]

    def ip(self, *words: str) -> None:
        """`ip` at the switch."""
        namespaces.run_here(["nsenter", "-t", str(self.pid), "-n", "ip", *words])

    def remember(self, pid: int) -> None:
        """Notes the namespace of a host's processes, by its first one: in the end nothing may live there any more.

        It is held open until then. The kernel gives the number of a namespace that is gone to the next one, which may
        be that of another cluster's host.
        """
        path = Path(f"/proc/{pid}/ns/pid")
        held = os.open(path, os.O_RDONLY)
        self._seen[str(path.readlink())] = held

    def _left_over(self) -> set[int]:
        """Processes that still live in the namespace of a host that was on, or that have brought others in."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            for kind in ("pid", "pid_for_children"):
                with contextlib.suppress(OSError):
                    if str((entry / "ns" / kind).readlink()) in self._seen:
                        found.add(int(entry.name))
        return found
