"""`cluster/local.yaml` on a laptop, a head and three workers: what a user does, and what happens to machines meanwhile.

Takes: `Hosts`. Gives: `OwnMachines`, one scene after the other. Each asserts its promise and prints how long it took.

One study of played trials goes through all that can fail: its trials wait at a gate after every report, so that no
machine is too slow or too fast for what happens to them.
"""

import contextlib
import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator

import yaml

from ftray.capacity.local_ray import WORKER_ENVIRONMENT
from ftray.runs import RunFolder, TrialRecord
from tests.plugins.outside import MEMBERS, TRIAL
from tests.study.kills import problems
from tests.study.tiny import TINY

from .clusters import PROJECT, Clock, Cluster, give_project
from .hosts import ROOT, Host, Hosts
from .waiting import until

FILE = "cluster/local.yaml"
OFFLINE = {"UV_OFFLINE": "1", "UV_NO_BUILD_ISOLATION": "1", "UV_LINK_MODE": "copy"}
"""For uv: there is no network, and all packages but ftray itself have been installed before."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
HOME, STORAGE = "/root", "/mnt/ftray"
RUNS, GATE = f"{STORAGE}/runs", f"{STORAGE}/gate"


def kill_raylet(host: Host) -> None:
    """Back once its workers are gone: they look after their raylet every second, and a trial may end in that time."""
    host.kill("raylet")
    until(lambda: not any("ray::" in words for words in host.processes()), 60, f"{host.name}'s workers end")


FAULTS: dict[str, tuple[Callable[[Host], object], Callable[[Host], object]]] = {
    "powered off": (Host.power_off, Host.boot),
    "cut off without a word": (Host.cut, Host.heal),
    "its raylet killed": (kill_raylet, lambda host: None),
}
"""What happens to a worker, and how it is mended: to one worker each."""
CPUS = (1, 1, 2)
"""Of each worker: as many trials run at once as there are, so that every worker has some. The last worker comes back by
itself, and then has room for the others' trials, one after the other."""
N_TRIALS = sum(CPUS)
NOTES_ITS_HOST = """
import os, socket
if os.path.isdir(os.path.dirname("{0}")):
    with open("{0}", "a") as file:
        file.write(socket.gethostname() + " ")
"""
"""At the top of a plug-in: tells on which machines it was imported that have the shared storage."""


class OwnMachines:
    """The machines, and the cluster that their owner makes of them."""

    def __init__(self, hosts: Hosts):
        self.hosts, self.clock = hosts, Clock()
        self.laptop = hosts.add("laptop", 2)
        users, mounts = {"ubuntu": HOME}, {hosts.storage: STORAGE}
        cpus = [{"RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": n})} for n in CPUS]
        self.head, *self.workers = (
            hosts.add(name, number, users, QUIET | OFFLINE | more, mounts, venv=f"{HOME}/ftray/.venv")
            for name, number, more in zip(
                ("head", "worker-1", "worker-2", "worker-3"), (10, 11, 12, 13), ({}, *cpus), strict=True
            )
        )
        self.victims = dict(zip(FAULTS, self.workers, strict=True))
        for host in hosts.all:
            host.boot()
        give_project(self.laptop, hosts)
        self.laptop.write(f"~/ftray/{FILE}", self.file())
        self.cluster = Cluster(self.laptop, FILE, lambda: self.head)

    def file(self) -> str:
        """The cluster file with the addresses that its owner fills in, and nothing else changed."""
        text = (ROOT / FILE).read_text()
        for theirs, ours in (
            ("192.168.1.10", self.head.address),
            ("192.168.1.11, 192.168.1.12", ", ".join(worker.address for worker in self.workers)),
            ("resources: {CPU: 16, GPU: 1}\n    labels: {ray.io/accelerator-type: RTX-3090} ", "resources: {CPU: 1} "),
        ):
            assert theirs in text, f"{FILE} has no {theirs} to fill in"
            text = text.replace(theirs, ours)
        return text

    def comes_up(self) -> None:
        began = time.monotonic()
        self.cluster.up()
        self.clock.measured("ray up returns", began)
        self._until_all_joined(began, "ray up to all nodes joined")
        for host in (self.head, *self.workers):
            inherited = host.run("tr '\\0' '\\n' < /proc/$(pgrep -o raylet)/environ").splitlines()
            assert {f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items()} <= set(inherited), host.name
        n_cores = sum(node.get("CPU", 0) for node in self.cluster.nodes().values())
        status = f"/{n_cores} CPU"  # the autoscaler reports what it saw some seconds ago
        answer = until(lambda: self._in_status(status), 60, f"`ray status` reports {status}", every=2)
        assert "head" in answer.splitlines(), "`ray exec` runs on the head"

    def _in_status(self, words: str) -> str:
        answer = self.cluster.exec("hostname; ray status")
        return answer if words in answer else ""

    def runs_a_plug_in_of_the_laptops(self) -> None:
        """A submitted study whose every member is from a module that lies next to its file, on the laptop alone."""
        noted = f"{STORAGE}/imported"
        self.laptop.write("~/ftray/studies/my_members.py", NOTES_ITS_HOST.format(noted) + MEMBERS)
        # Two trials at once, each with half of all CPUs: together they have an env runner on every worker.
        ppo = TINY["trial"]["ppo"] | {"n_env_runners": sum(CPUS) // 2, "learning_rate": 1e-3}
        study = {
            "name": "plugged",
            "plugins": ["my_members"],
            "trial": TRIAL | {"encoder": {"kind": "gru"}, "ppo": ppo},
            "search": {"n_trials": 2, "sampler": "halton"},
        }
        self.laptop.write("~/ftray/studies/plugged.yaml", yaml.safe_dump(study))
        began = time.monotonic()
        printed = self.cluster.type(f"python -m ftray submit studies/plugged.yaml --cluster {FILE}", 600)
        self.clock.measured("ftray submit to the end of a study with a plug-in", began)
        assert [(record.state, record.error) for record in self.run("plugged").records()] == [("COMPLETE", None)] * 2
        hosts = set((self.hosts.storage / "imported").read_text().split())
        assert hosts == {host.name for host in (self.head, *self.workers)}
        (sent,) = [words for line in printed.splitlines() if "job submit" in line for words in [shlex.split(line)]]
        packed = sent[sent.index("--working-dir") + 1]
        there = self.laptop.run(f"ls {shlex.quote(packed)}").split()
        assert sorted(there) == ["ftray", "my_members.py", "plugged.yaml"]

    def runs_a_study(self) -> None:
        """Trials run on all workers, submitted with Ray's own verbs; their reports are on the shared storage."""
        self.cluster.bring_played_job()
        self._submit("played")
        running = self.run().records()
        assert {record.state for record in running} == {"RUNNING"}
        assert {host for record in running for host in self.hosts_of(record)} == {w.name for w in self.workers}

    def survives_its_drivers_death(self) -> None:
        """The process that drives the study is killed on the head; the same job submitted again continues."""
        self.head.run("pkill -9 -f 'python -m tests.cluster.played_job'")
        killed = time.monotonic()
        until(lambda: self.cluster.job("played") == "FAILED", 120, "the job is known to have failed", every=0.5)
        self._submit("played-again", n_starts=2)
        self.clock.measured("its driver was killed: submitted again, its trials go on", killed)

    def strikes(self) -> None:
        """Something happens to every worker, all at once; then the trials may continue to their end."""
        running = self.run().records()
        assert {record.state for record in running} == {"RUNNING"}
        self.struck = {
            fault: [record.id for record in running if self.hosts_of(record)[-1] == victim.name]
            for fault, victim in self.victims.items()
        }
        assert all(self.struck.values()), self.struck
        for fault, victim in self.victims.items():
            FAULTS[fault][0](victim)
        self.began = time.monotonic()
        (self.hosts.storage / "gate").touch()

    def survives(self, fault: str) -> None:
        """The struck worker's trials continue from their checkpoints: elsewhere, unless it comes back on its own."""
        victim, struck = self.victims[fault], self.struck[fault]
        what = f"{struck} go on after {victim.name} was {fault}"
        try:
            until(lambda: self._go_on(struck, n_starts=3), 420, what, every=1)
        except AssertionError as error:
            error.add_note("\n".join(f"{trial}: {self.run().trial_folder(trial).events()}" for trial in struck))
            raise
        self.clock.measured(f"{fault}: its {len(struck)} trials go on", self.began)
        if victim is not self.workers[-1]:
            for trial in struck:
                *_, before, after = self.hosts_of(self.run().record(trial))
                assert before == victim.name != after, [before, after]
        FAULTS[fault][1](victim)

    def is_whole_again(self) -> None:
        """The study has all its trials, each step once, and the cluster all its workers."""
        mended = time.monotonic()
        self.cluster.wait_for_job("played-again", 420)
        assert problems(self.run(), N_TRIALS) == []
        assert {record.state for record in self.run().records()} == {"COMPLETE"}
        self._until_all_joined(mended, "mended workers join again")

    def refuses_a_driver_on_the_laptop(self) -> None:
        """RAY_ADDRESS, where `ftray submit` is what works: the head answers, and no node is there to drive from."""
        began = time.monotonic()
        line = f"RAY_ADDRESS={self.head.address}:6379 python -m ftray tune tune_configs/demo.yaml 2>&1 | tail -n 1"
        printed = self.cluster.type(line).strip()
        self.clock.measured("a driver on the laptop is refused", began)
        assert printed.startswith(f"ftray: a Ray cluster must answer at {self.head.address}:6379"), printed
        assert "none of its nodes is on this machine" in printed and "`ftray submit`" in printed, printed

    def submits_with_ftray(self) -> None:
        """`ftray submit`, `status` and `fetch`, with a trial that really trains and an encoder that is pre-trained."""
        trial = TINY["trial"] | {"ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3}}
        study = {"name": "trained", "trial": trial, "search": {"n_trials": 1, "points": TINY["search"]["points"][:1]}}
        self.laptop.write("~/ftray/trained.yaml", yaml.safe_dump(study))
        began = time.monotonic()
        printed = self.cluster.type(f"ftray submit trained.yaml --cluster {FILE}", 600)
        self.clock.measured("ftray submit to the end of a study that trains", began)
        assert "COMPLETE" in printed and "$ ray" in printed, printed
        assert "trained" in self.cluster.type(f"ftray status --cluster {FILE}", 180)
        printed = self.cluster.type(f"ftray fetch trained --cluster {FILE} && ftray results runs/trained", 180)
        assert "trial-0000" in printed, printed
        kinds = [(record.kind, record.state) for record in self.run("trained").records()]
        assert sorted(kinds) == [("pretraining", "COMPLETE"), ("trial", "COMPLETE")], kinds

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
                printed, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert process.returncode == 0, printed
        shown = f"$ ray exec --port-forward 8051 {FILE} 'ftray dashboard {RUNS}/trained --port 8051'"
        assert shown in printed, printed
        until(lambda: not self._serving(), 60, "the page is served no longer", every=1)

    def _asked(self, script: str) -> str:
        return self.laptop.run(f"python3 -I -c {shlex.quote(script)}", 60, check=False)

    def _serving(self) -> list[str]:
        return [words for words in self.head.processes() if "ftray dashboard" in words]

    def goes_down(self) -> None:
        began = time.monotonic()
        self.cluster.down()
        self.clock.measured("ray down returns", began)
        until(lambda: not any(host.processes() for host in [self.head, *self.workers]), 300, "nothing runs", every=1)
        self.clock.measured("ray down to nothing running anywhere", began)

    def run(self, name: str = "played") -> RunFolder:
        return RunFolder.open(self.hosts.storage / "runs" / name)

    def hosts_of(self, record: TrialRecord) -> list[str]:
        """Where a trial's process started, time after time."""
        events = self.run().trial_folder(record.id).events()
        return [event["host"] for event in events if event["event"] == "started"]

    def _submit(self, job: str, n_starts: int = 1) -> None:
        """Submits the study of played trials; back when each of them has reported once more."""
        began = time.monotonic()
        self.cluster.submit_played(job, RUNS, "played", N_TRIALS, GATE)
        until(lambda: self._all_go_on(n_starts) or self.cluster.job(job) == "FAILED", 300, f"{job} runs", every=0.5)
        assert self.cluster.job(job) != "FAILED", self.cluster.job_log(job)
        self.clock.measured(f"{job}: submitted to a report of every trial", began)

    def _all_go_on(self, n_starts: int) -> bool:
        if not (self.hosts.storage / "runs" / "played" / "study.json").exists():
            return False
        trials = [record.id for record in self.run().records()]
        return len(trials) == N_TRIALS and self._go_on(trials, n_starts)

    def _go_on(self, trials: list[str], n_starts: int) -> bool:
        """Whether these trials have started so often, and have reported since they last did."""
        for trial in trials:
            events = [event["event"] for event in self.run().trial_folder(trial).events()]
            since = events[::-1].index("started") if "started" in events else 0
            if events.count("started") < n_starts or "report" not in events[len(events) - since :]:
                return False
        return True

    def _until_all_joined(self, since: float, what: str) -> None:
        expected = sorted(worker.address for worker in self.workers)
        until(lambda: self.cluster.workers() == expected, 300, what, every=1)
        self.clock.measured(what, since)


@contextlib.contextmanager
def own_machines() -> Iterator[OwnMachines]:
    with Hosts() as hosts:
        yield OwnMachines(hosts)
