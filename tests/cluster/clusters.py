"""A Ray cluster on `hosts`, as its user has it: `ray` on the laptop, a cluster file, results on shared storage.

Takes: a laptop, a cluster file. Gives: `Cluster`, with the verbs that a user types and the state of what they started.
"""

import json
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from .hosts import ROOT, Host, Hosts
from .waiting import until

PROJECT = "~/ftray"
"""Where the laptop has the project."""
TOKEN = "~/.ray/auth_token"
JOB_FILES = ("tests/__init__.py", "tests/study/__init__.py", "tests/study/played.py", "tests/study/tiny.py")
JOB_FILES += ("tests/cluster/__init__.py", "tests/cluster/played_job.py")
"""What the job of played trials consists of, without ftray itself, which the cluster's file installs."""


def give_project(laptop: Host, hosts: Hosts, carried: tuple[str, ...] = ("ftray", "tune_configs", "cluster")) -> None:
    """What a user's laptop has: the project, a key that all machines know, Ray's token."""
    laptop.give(ROOT, [*carried, "pyproject.toml", "constraints.txt", "README.md"], PROJECT)
    laptop.write("~/.ssh/id_ed25519", hosts.key, mode=0o600)
    laptop.run("ray get-auth-token --generate > /dev/null 2>&1")


class Cluster:
    """What `ray up` made of a cluster file, seen from the laptop. head: the host that became its head."""

    def __init__(self, laptop: Host, file: str, head: Callable[[], Host], environment: Mapping[str, str] | None = None):
        self.laptop, self.file, self._head = laptop, file, head
        self.environment = {"RAY_AUTH_MODE": "token", **(environment or {})}

    @property
    def head(self) -> Host:
        return self._head()

    def type(self, line: str, seconds: float = 180, check: bool = True) -> str:
        """A line typed in the project's folder on the laptop."""
        return self.laptop.run(f"cd {PROJECT} && {line}", seconds, check, **self.environment)

    def up(self) -> str:
        return self.type(f"ray up -y {self.file}", 420)

    def down(self) -> str:
        return self.type(f"ray down -y {self.file}", 240)

    def exec(self, line: str, seconds: float = 120) -> str:
        """`ray exec`: a line on the head."""
        return self.type(f"ray exec {self.file} {shlex.quote(line)}", seconds)

    def bring_played_job(self) -> None:
        """Copies to the head what `submit_played` submits."""
        self.laptop.give(ROOT, JOB_FILES, "~/job")
        self.type(f"ray rsync-up {self.file} ~/job/ '~/job/'")

    def submit_played(self, job: str, runs: str, name: str, trials: int, gate: str, share: int | None = None) -> str:
        """Submits a study of played trials with Ray's own verbs alone, whose trials wait at a gate; its job's id."""
        words = f"python -m tests.cluster.played_job {runs} --name {name} --trials {trials} --gate {gate}"
        words += f" --share {share}" if share else ""
        address = "--address http://127.0.0.1:8265"
        self.exec(f"cd ~/job && ray job submit {address} --no-wait --submission-id {job} --working-dir . -- {words}")
        return job

    def ask(self, path: str) -> Any:
        """What the head's dashboard answers; from the head itself, where it listens."""
        home = list(self.head.users.values())[-1]
        script = (
            "import sys, urllib.request as u; "
            "r = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + open(sys.argv[2]).read().strip()}); "
            "print(u.urlopen(r, timeout=10).read().decode())"
        )
        words = f"'http://127.0.0.1:8265{path}' {TOKEN.replace('~', home)}"
        out = self.head.run(f"python3 -I -c {shlex.quote(script)} {words}", 30, check=False)
        return json.loads(out) if out.startswith(("{", "[")) else None

    def nodes(self) -> dict[str, dict[str, float]]:
        """The resources of the nodes that are alive, by address."""
        answer = self.ask("/api/v0/nodes?detail=1&limit=1000") or {}
        rows = ((answer.get("data") or {}).get("result") or {}).get("result") or []
        return {row["node_ip"]: row.get("resources_total") or {} for row in rows if row["state"] == "ALIVE"}

    def workers(self) -> list[str]:
        """The addresses of the living nodes that are not the head."""
        return sorted(address for address, has in self.nodes().items() if "node:__internal_head__" not in has)

    def job(self, job: str) -> str:
        """The state of a job: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; UNKNOWN before it is known."""
        return (self.ask(f"/api/jobs/{job}") or {}).get("status", "UNKNOWN")

    def job_log(self, job: str) -> str:
        return (self.ask(f"/api/jobs/{job}/logs") or {}).get("logs", "")

    def wait_for_job(self, job: str, seconds: float) -> None:
        """Raises: AssertionError with its log if it does not succeed."""
        until(lambda: self.job(job) in ("SUCCEEDED", "FAILED", "STOPPED"), seconds, f"the job {job} ends", every=1)
        assert self.job(job) == "SUCCEEDED", self.job_log(job)[-4000:]


class Clock:
    """Prints how long things took, for whoever looks for the slow ones."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def measured(self, name: str, since: float) -> None:
        """Prints how long something took since then, by `time.monotonic`."""
        now = time.monotonic()
        print(f"{now - self.began:6.0f} s  {name}: {now - since:.1f} s", flush=True)
