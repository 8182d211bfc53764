"""`cluster/aws-gpu.yaml` in a cloud in a box: nodes come for trials that wait, one is taken back, they go at the end.

Takes: `Hosts`. Gives: `OnAws`, one scene after the other. Each asserts what it promises and prints how long it took.
GPUs are made up: Ray books what the cluster file says, and a played trial touches none. The trials wait at a gate after
every report, so that no machine is too slow or too fast for what happens to them.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ftray.capacity.nodes import nodes_of_file
from ftray.runs import RunFolder
from tests.study.kills import problems

from .cloud import BUCKET, GONE, Cloud
from .clusters import Clock, Cluster, give_project
from .hosts import ROOT, Host, Hosts
from .own_machines import HOME, OFFLINE, QUIET
from .played_job import plan_of
from .waiting import until

FILE = "cluster/aws-gpu.yaml"
RUNS, GATE = f"s3://{BUCKET}/runs", f"s3://{BUCKET}/gate"
IDLE = "idle_timeout_minutes: 0.2"
"""In place of 5."""
SHARE, N_TRIALS, PLANNED = 2, 4, 2
"""Trials of which two share a GPU; four of them; the nodes that they need."""


class OnAws:
    """A laptop, the cloud, and the cluster that the file makes of it."""

    def __init__(self, hosts: Hosts):
        self.clock, self.hosts = Clock(), hosts
        text = (ROOT / FILE).read_text()
        types = yaml.safe_load(text)["available_node_types"]
        self.head_type, self.gpu_type = (types[name]["node_config"]["InstanceType"] for name in ("head", "gpu-spot"))
        how = {"users": {"ubuntu": HOME}, "venv": f"{HOME}/ftray/.venv"}
        self.cloud = Cloud(hosts, 4, [self.head_type, self.gpu_type], QUIET | OFFLINE, **how)
        self.laptop = hosts.add("laptop", 2, environment=self.cloud.environment).boot()
        give_project(self.laptop, hosts)
        assert "idle_timeout_minutes: 5 " in f"{text} ".replace("\n", " ")
        self.laptop.write(f"~/ftray/{FILE}", text.replace("idle_timeout_minutes: 5", IDLE))
        self.cluster = Cluster(self.laptop, FILE, self._head)
        self.cloud.open(self._keys)

    def comes_up(self) -> None:
        """A head, and no worker: nothing asks for one."""
        began = time.monotonic()
        self.cluster.up()
        self.clock.measured("ray up returns", began)
        assert len(self.cloud.running(self.head_type)) == 1 and self.cloud.running(self.gpu_type) == []
        until(lambda: self.cluster.nodes(), 120, "the head answers", every=0.5)

    def scales_up(self) -> None:
        """Trials that each ask for half a GPU bring up half as many spot nodes, which is what the VRAM plan says."""
        (node,) = (node for node in nodes_of_file(ROOT / FILE) if node.name == "gpu-spot")
        placement, n_nodes = plan_of(SHARE, N_TRIALS, node)
        assert (placement.bundles, n_nodes) == ([{"CPU": 1.0, "GPU": 1 / SHARE}], PLANNED)
        self.cluster.bring_played_job()
        began = time.monotonic()
        self.cluster.submit_played("spot", RUNS, "spot", N_TRIALS, GATE, share=SHARE)
        until(lambda: self._spot(), 240, "a spot node is asked for", every=0.5)
        self.clock.measured("study submitted to first spot node asked for", began)
        until(lambda: len(self.cluster.workers()) == PLANNED, 420, f"{PLANNED} nodes join", every=1)
        self.clock.measured(f"study submitted to {PLANNED} spot nodes joined", began)
        until(lambda: len(self._reported()) == N_TRIALS, 300, "all trials have reported", every=1)
        self.clock.measured("study submitted to all trials running", began)
        assert len(self._spot()) == PLANNED
        assert {instance.get("InstanceLifecycle") for instance in self._spot()} == {"spot"}
        assert {has["GPU"] for has in self.cluster.nodes().values() if "GPU" in has} == {1.0}

    def survives_reclaim(self) -> None:
        """A spot node is taken back: another one comes, and its trials continue from object storage."""
        first, second = self._spot()
        victim = self.cloud.host_of(first)
        assert victim is not None
        struck = [trial for trial, events in self._trials().items() if _hosts(events)[-1:] == [victim.name]]
        assert len(struck) == N_TRIALS // PLANNED, self._trials()
        self.cloud.reclaim(first)
        began = time.monotonic()
        until(lambda: self._spot_other_than(first, second), 300, "another node is asked for", every=0.5)
        self.clock.measured("spot node taken back to another one asked for", began)
        until(lambda: all(len(_hosts(self._trials()[trial])) > 1 for trial in struck), 420, "they go on", every=1)
        self.clock.measured(f"spot node taken back to its {len(struck)} trials going on", began)
        self.cloud.ask("s3", "put_object", Bucket=BUCKET, Key="gate", Body=b"")
        self.cluster.wait_for_job("spot", 420)
        self.clock.measured("spot node taken back to the study's end", began)
        run = self.fetched("spot")
        assert problems(run, N_TRIALS) == []
        assert {record.state for record in run.records()} == {"COMPLETE"}

    def scales_down(self) -> None:
        """When nothing waits, no GPU is paid for."""
        began = time.monotonic()
        until(lambda: self._spot() == [], 300, "the spot nodes go", every=1)
        self.clock.measured("study's end to no spot node", began)
        lives = [entry for entry in self.cloud.log if entry[2] == "spot" and entry[0] == "on"]
        assert len(lives) == PLANNED + 1, self.cloud.log
        assert len(self.cloud.running(self.head_type)) == 1

    def goes_down(self) -> None:
        began = time.monotonic()
        self.cluster.down()
        until(lambda: len(self.cloud.instances(*GONE)) == len(self.cloud.instances()), 120, "no instance is left")
        self.clock.measured("ray down to no instance left", began)
        assert self.cloud.problem is None

    def fetched(self, name: str) -> RunFolder:
        """A run folder as it lies in the bucket."""
        folder = Path(tempfile.mkdtemp(dir=self.hosts.folder)) / name
        keys = self.cloud.objects(f"runs/{name}/")
        for key in (key for key in keys if not key.endswith("/")):  # that a folder is there is an object, too
            target = folder / key.removeprefix(f"runs/{name}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.cloud.read(key))
        return RunFolder.open(folder)

    def _head(self) -> Host:
        (instance,) = self.cloud.running(self.head_type)
        host = self.cloud.host_of(instance)
        assert host is not None
        return host

    def _keys(self) -> list[str]:
        """The public halves of the keys that Ray has made for itself on the laptop."""
        return self.laptop.run("for key in ~/.ssh/ray-autoscaler*.pem; do ssh-keygen -y -f $key; done").splitlines()

    def _spot(self) -> list[dict[str, Any]]:
        return self.cloud.running(self.gpu_type)

    def _spot_other_than(self, *known: dict[str, Any]) -> bool:
        return bool({i["InstanceId"] for i in self._spot()} - {i["InstanceId"] for i in known})

    def _trials(self) -> dict[str, list[dict[str, Any]]]:
        """The events of each trial, as far as they have arrived in the bucket."""
        keys = [key for key in self.cloud.objects("runs/spot/trials/") if key.endswith("/events.jsonl")]
        return {key.split("/")[3]: [json.loads(line) for line in self.cloud.read(key).splitlines()] for key in keys}

    def _reported(self) -> list[str]:
        """Trials that have reported."""
        found = self._trials().items()
        return [trial for trial, events in found if any(event["event"] == "report" for event in events)]


def _hosts(events: list[dict[str, Any]]) -> list[str]:
    return [event["host"] for event in events if event["event"] == "started"]


@contextlib.contextmanager
def on_aws() -> Iterator[OnAws]:
    with Hosts() as hosts:
        aws = OnAws(hosts)
        try:
            yield aws
        finally:
            aws.cloud.close()
