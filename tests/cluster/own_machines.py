"""`cluster/local.yaml` on a laptop, a head and two workers: what a user does, and what happens to machines meanwhile.

Takes: `Hosts`. Gives: `OwnMachines`, a scene after the other. Each asserts what it promises and notes how long it took.
"""

import contextlib
import os
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator

import yaml

from ftray.capacity.local_ray import WORKER_ENVIRONMENT
from ftray.runs import RunFolder, TrialRecord
from tests.study.kills import problems
from tests.study.tiny import TINY

from .clusters import PROJECT, Clock, Cluster, give_project
from .hosts import ROOT, Host, Hosts, until

FILE = "cluster/local.yaml"
OFFLINE = {"UV_OFFLINE": "1", "UV_NO_BUILD_ISOLATION": "1", "UV_LINK_MODE": "copy"}
"""For uv: there is no network, and all packages but ftray itself have been installed before."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
HOME, STORAGE = "/root", "/mnt/ftray"
RUNS = f"{STORAGE}/runs"
AT_ONCE = 4
"""Trials: two workers, each with as many cores as this machine has."""


class OwnMachines:
    """The machines, and the cluster that their owner makes of them."""

    def __init__(self, hosts: Hosts, say: Callable[[str], None]):
        self.hosts, self.clock = hosts, Clock(say)
        self.laptop = hosts.add("laptop", 2)
        users, mounts = {"ubuntu": HOME}, {hosts.storage: STORAGE}
        self.head, *self.workers = (
            hosts.add(name, number, users, QUIET | OFFLINE, mounts, venv=f"{HOME}/ftray/.venv")
            for name, number in (("head", 10), ("worker-1", 11), ("worker-2", 12))
        )
        for host in hosts.all:
            host.boot()
        give_project(self.laptop, hosts)
        self.laptop.write(f"~/ftray/{FILE}", self.file())
        self.cluster = Cluster(self.laptop, FILE, lambda: self.head)

    def file(self) -> str:
        """The cluster file with the addresses that its owner fills in, and nothing else changed."""
        text = (ROOT / FILE).read_text()
        for theirs, ours in (
            ("192.168.1.10", self.head),
            *zip(("192.168.1.11", "192.168.1.12"), self.workers, strict=True),
        ):
            assert theirs in text, f"{FILE} names no {theirs} to fill in"
            text = text.replace(theirs, ours.address)
        gpu = "resources: {CPU: 16, GPU: 1}\n    labels: {ray.io/accelerator-type: RTX-3090} "
        assert gpu in text, f"{FILE} does not say what a worker has"
        return text.replace(gpu, f"resources: {{CPU: {os.cpu_count()}}} ")

    def comes_up(self) -> None:
        began = time.monotonic()
        self.cluster.up()
        self.clock.measured("ray up returns", began)
        self._until_all_joined(began, "ray up to all nodes joined")
        assert self.cluster.exec("hostname").splitlines()[-1].strip() == "head"
        for host in (self.head, *self.workers):
            inherited = host.run("tr '\\0' '\\n' < /proc/$(pgrep -o raylet)/environ").splitlines()
            assert {f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items()} <= set(inherited), host.name
        n_cores = sum(node.get("CPU", 0) for node in self.cluster.nodes().values())
        told = f"/{n_cores} CPU"  # the autoscaler tells what it saw some seconds ago
        until(lambda: told in self.cluster.exec("ray status"), 60, f"`ray status` tells {told}", every=2)

    def runs_a_study(self) -> None:
        """Trials spread over both workers, submitted with Ray's own verbs; figures on the shared storage."""
        self._submit("plain", trials=8, pace=0.5)
        self.cluster.wait_for_job("plain", 300)
        self._assert_whole("plain", 8)
        assert {host for record in self.run("plain").records() for host in self.hosts_of("plain", record)} == {
            worker.name for worker in self.workers
        }

    def refuses_a_driver_on_the_laptop(self) -> None:
        """RAY_ADDRESS, where `ftray submit` is what works: the head answers, and no node is there to drive from."""
        began = time.monotonic()
        line = f"RAY_ADDRESS={self.head.address}:6379 python -m ftray tune tune_configs/demo.yaml 2>&1 | tail -n 1"
        said = self.cluster.type(line).strip()
        self.clock.measured("a driver on the laptop is refused", began)
        assert said.startswith(f"ftray: a Ray cluster must answer at {self.head.address}:6379"), said
        assert "none of its nodes is on this machine" in said and "`ftray submit`" in said, said

    def submits_with_ftray(self) -> None:
        """`ftray submit`, `status` and `fetch`, with trials that really train and an encoder that is pre-trained."""
        trial = TINY["trial"] | {"ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3}}
        points = [TINY["search"]["points"][i] for i in (0, 2)]
        study = {"name": "trained", "trial": trial, "search": {"n_trials": len(points), "points": points}}
        self.laptop.write("~/ftray/trained.yaml", yaml.safe_dump(study))
        began = time.monotonic()
        said = self.cluster.type(f"ftray submit trained.yaml --cluster {FILE}", 600)
        self.clock.measured("ftray submit to the end of a study that trains", began)
        assert "COMPLETE" in said and "$ ray" in said, said
        assert "trained" in self.cluster.type(f"ftray status --cluster {FILE}", 180)
        self.cluster.type(f"ftray fetch trained --cluster {FILE}", 180)
        told = self.cluster.type("ftray results runs/trained", 120)
        assert "trial-0000" in told and "trial-0001" in told, told
        kinds = [(record.kind, record.state) for record in self.run("trained").records()]
        assert sorted(kinds) == [("pretraining", "COMPLETE"), ("trial", "COMPLETE"), ("trial", "COMPLETE")], kinds

    def shows_the_page(self) -> None:
        """`ftray dashboard --cluster`: the head serves the page, the laptop sees it, and Ctrl-C ends it on both."""
        words = f"ftray dashboard trained --cluster {FILE} --port 8051"
        began = time.monotonic()
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8051/', timeout=30).read().decode())"
        line = f"cd {PROJECT} && exec {words}"
        command = self.laptop.command(line, **self.cluster.environment)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                until(lambda: "trained · ftray" in self._asked(ask), 180, "the laptop sees the page", every=1)
                self.clock.measured("ftray dashboard to its page on the laptop", began)
                assert self._serving()
                self.laptop.run(f"pkill -INT -f '{words[:-1]}[1]'")
                said, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert process.returncode == 0, said
        assert f"$ ray exec --port-forward 8051 {FILE} 'ftray dashboard {RUNS}/trained --port 8051'" in said, said
        until(lambda: not self._serving(), 60, "the page is served no longer", every=1)

    def _asked(self, script: str) -> str:
        return self.laptop.run(f"python3 -c {shlex.quote(script)}", 60, check=False)

    def _serving(self) -> list[str]:
        return [words for words in self.head.processes() if "ftray dashboard" in words]

    def survives(
        self, name: str, fault: Callable[[Host], object], mend: Callable[[Host], object], elsewhere: bool
    ) -> None:
        """A worker is struck in mid-study: its trials go on from their checkpoints, and it comes back.

        elsewhere: whether on the other worker; what was struck may be up again before the other one has room.
        """
        self._submit(name, trials=6, pace=4.0)
        until(lambda: self._n_reported(name, 2) >= AT_ONCE, 240, f"{AT_ONCE} trials of {name} are half done", every=0.5)
        victim = self.workers[0]
        struck = [r.id for r in self.run(name).records() if self.hosts_of(name, r)[-1:] == [victim.name]]
        struck = [trial for trial in struck if self.run(name).record(trial).state == "RUNNING"]
        assert struck, f"no trial on {victim.name}"
        fault(victim)
        began = time.monotonic()
        until(lambda: self._restarted(name, struck), 420, f"{struck} go on after {name}", every=0.5)
        self.clock.measured(f"{name}: its {len(struck)} trials go on", began)
        self.cluster.wait_for_job(name, 420)
        self._assert_whole(name, 6)
        for trial in struck:
            first, *later = self.hosts_of(name, self.run(name).record(trial))
            assert first == victim.name and (victim.name not in later or not elsewhere), [first, *later]
        mended = time.monotonic()
        mend(victim)
        self._until_all_joined(mended, f"{name}: the node joins again")

    def survives_its_drivers_death(self) -> None:
        """The process that drives a study is killed on the head; the same job submitted again goes on."""
        self._submit("driven", trials=6, pace=2.0)
        until(lambda: self._n_reported("driven", 2) >= AT_ONCE, 240, "trials are half done", every=0.5)
        self.head.run("pkill -9 -f 'python -m tests.cluster.played_job'")
        killed = time.monotonic()
        until(lambda: self.cluster.job("driven") == "FAILED", 120, "the job is known to have failed", every=0.5)
        before = [r.id for r in self.run("driven").records() if r.state == "RUNNING"]
        self.cluster.submit_played(RUNS, "driven", 6, 2.0, job="driven-again")
        until(lambda: self._restarted("driven", before), 300, "the trials go on", every=0.5)
        self.clock.measured("its driver was killed: submitted again, its trials go on", killed)
        self.cluster.wait_for_job("driven-again", 300)
        self._assert_whole("driven", 6)

    def goes_down(self) -> None:
        began = time.monotonic()
        self.cluster.down()
        self.clock.measured("ray down returns", began)
        until(lambda: not any(host.processes() for host in [self.head, *self.workers]), 300, "nothing runs", every=1)
        self.clock.measured("ray down to nothing running anywhere", began)

    def run(self, name: str) -> RunFolder:
        return RunFolder.open(self.hosts.storage / "runs" / name)

    def hosts_of(self, name: str, record: TrialRecord) -> list[str]:
        """Where a trial's process started, time after time."""
        events = self.run(name).trial_folder(record.id).events()
        return [event["host"] for event in events if event["event"] == "started"]

    def _submit(self, name: str, trials: int, pace: float) -> None:
        began = time.monotonic()
        self.cluster.submit_played(RUNS, name, trials, pace)
        until(lambda: self._n_reported(name, 1) or self.cluster.job(name) == "FAILED", 240, f"{name} runs", every=0.5)
        assert self.cluster.job(name) != "FAILED", self.cluster.job_log(name)
        self.clock.measured(f"{name}: submitted to first report", began)

    def _n_reported(self, name: str, n: int) -> int:
        """Trials that have reported so often."""
        if not (self.hosts.storage / "runs" / name / "study.json").exists():
            return 0
        run = self.run(name)
        return sum(len(run.trial_folder(record.id).reports()) >= n for record in run.records())

    def _restarted(self, name: str, trials: list[str]) -> bool:
        """Whether these trials have started again and got further than they were."""
        for trial in trials:
            events = [event["event"] for event in self.run(name).trial_folder(trial).events()]
            if Counter(events)["started"] < 2 or "report" not in events[len(events) - events[::-1].index("started") :]:
                return False
        return True

    def _assert_whole(self, name: str, n_trials: int) -> None:
        """Each trial recorded once, equal to Optuna's, complete, and no step done twice."""
        assert problems(self.run(name), n_trials) == []
        assert {record.state for record in self.run(name).records()} == {"COMPLETE"}

    def _until_all_joined(self, since: float, what: str) -> None:
        expected = sorted(worker.address for worker in self.workers)
        until(lambda: self.cluster.workers() == expected, 300, what, every=0.5)
        self.clock.measured(what, since)


@contextlib.contextmanager
def own_machines(say: Callable[[str], None] = print) -> Iterator[OwnMachines]:
    with Hosts() as hosts:
        yield OwnMachines(hosts, say)


FAULTS: dict[str, tuple[Callable[[Host], object], Callable[[Host], object], bool]] = {
    "powered off": (Host.power_off, Host.boot, True),
    "cut off without a word": (Host.cut, Host.heal, True),
    "its raylet killed": (lambda host: host.kill("raylet"), lambda host: None, False),
}
"""What happens to a worker, how it is mended, and whether its trials then go on elsewhere."""
