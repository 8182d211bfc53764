"""Every type of GPU node is probed before the first trial: a GPU that PyTorch cannot use would fail every trial.

Takes: the nodes that a study's jobs may go to. Gives: a line per node type, an event of the run folder, or the end of
the study in words.

Types of nodes that are there are tried at the study's start. If none is there yet, the task that tries one is what
brings the first one up, and the study waits for it as its trials would. Types that join later are not tried: a job that
fails there says what is wrong with the GPU (`ftray.study.jobs`).
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ftray.capacity.cluster_view import share_gpu_type
from ftray.capacity.elastic import Capacity
from ftray.capacity.nodes import GIB, RESOURCE, Node, nodes_of_ray
from ftray.capacity.placement import PIN
from ftray.errors import UnusableGpuError
from ftray.runs import RunFolder
from ftray.say import Say
from ftray.vram.gpus import local_gpu
from ftray.vram.probe import GpuFacts, probe_gpu, why_smaller, why_unusable

Probe = Callable[[], GpuFacts]

SHARE = 0.0001
"""Of a GPU: the smallest that Ray books, so that it fits on a node whose GPUs are shared out."""
PATIENCE = 120.0
"""Seconds that a node which is there may take: a process starts, imports torch and makes a CUDA context."""
EVENT = "gpu_nodes"


@dataclasses.dataclass(frozen=True)
class Probed:
    """What a type of GPU node answered. facts: None where it did not; why: the reason then."""

    node: Node
    facts: GpuFacts | None = None
    why: str = ""

    @property
    def problem(self) -> str | None:
        """What stands in the way of trials there. No answer is no problem: the node may be gone, or busy."""
        if self.facts is None or self.node.gpu is None:
            return None
        return why_unusable(self.facts) or why_smaller(self.facts, self.node.gpu.gib)

    def describe(self) -> str:
        name = self.node.gpu.name if self.node.gpu else self.node.name
        if self.facts is None:
            return f"{name}: not known whether torch can use it, {self.why}"
        if self.problem:
            return f"{name}: not ready, {self.problem}"
        f = self.facts
        driver = f", driver {f.driver}" if f.driver else ""
        return f"{name}, {f.gib:.1f} GiB{driver}, torch {f.torch}: ready"

    def to_mapping(self) -> dict[str, Any]:
        assert self.node.gpu is not None
        planned = {"gpu": self.node.gpu.name, "planned_gib": self.node.gpu.gib}
        return planned | (self.facts.to_mapping() if self.facts else {}) | {"problem": self.problem or self.why}


def check_gpu_nodes(
    capacity: Capacity,
    run: RunFolder,
    say: Say,
    probe: Probe = probe_gpu,
    patience: float = PATIENCE,
    pending_timeout: float = PATIENCE,
) -> None:
    """Tries each type of GPU node that jobs of the study may go to, reports the result, and records it.

    patience: seconds for nodes that are there; pending_timeout: for the first one, if none is there yet.

    Raises: UnusableGpuError if torch cannot use one of them, or if it is smaller than planned.
    """
    hosts = gpu_types(node for _, placement in capacity.needs for node in placement.hosts)
    if not hosts:
        return
    there = live_types(hosts, _gpu_nodes())
    if there:
        probed = list(_answers({_pinned_to(node_id, probe): host for node_id, host in there.items()}, patience))
    else:
        say("no GPU node is there yet: the study waits for the first one, to see whether torch can use its GPU")
        tasks = {_pinned_to_kind(node, len(hosts) > 1, probe): node for node in hosts}
        probed = list(_answers(tasks, pending_timeout, first=True))
        if not probed:
            say(f"no GPU node came within {pending_timeout:g} s")
    probed.sort(key=lambda one: one.node.gpu.name if one.node.gpu else "")
    for one in probed:
        say(f"GPU nodes: {one.describe()}")
    run.append_event(EVENT, nodes=[one.to_mapping() for one in probed])
    problems = [f"{one.node.gpu.name}: {one.problem}" for one in probed if one.problem and one.node.gpu]
    if problems:
        raise UnusableGpuError(
            "GPUs that trials are planned for must be as large as planned, and torch must be able to use them, but "
            f"{'; '.join(problems)}. {REMEDIES} No trial was spent; the same command continues"
        )


REMEDIES = (
    "Install a torch that the driver serves (uv pip install torch --torch-backend=auto) or a newer driver on these "
    f"nodes; give a GPU that is smaller than planned the node label {GIB}; or hide the GPUs where Ray starts "
    "(CUDA_VISIBLE_DEVICES=) to run on CPUs."
)


def why_no_gpu() -> str | None:
    """Why torch sees no GPU in this process, for a job that booked one and failed; None where it sees one."""
    problem = None if torch.cuda.is_available() else why_unusable(probe_gpu())
    return f"torch must be able to use the GPU that this job booked, but {problem}. {REMEDIES}" if problem else None


def gpu_types(nodes: Iterable[Node]) -> list[Node]:
    """One node of each type of GPU, however many there are and whatever they are called; the smaller size counts."""
    found: list[Node] = []
    for node in nodes:
        if node.gpu is None:
            continue
        for place, one in enumerate(found):
            if share_gpu_type(one, node):
                found[place] = _smaller(one, node)
                break
        else:
            found.append(node)
    return found


def live_types(hosts: Iterable[Node], live: Iterable[tuple[str, Node]]) -> dict[str, Node]:
    """The id of one live node for each host that has one. A plan goes by the cluster file's GiB where the node's own
    label says more: the two are one type, as they are for the plan."""
    there = list(live)
    ids = ((next((node_id for node_id, node in there if share_gpu_type(host, node)), None), host) for host in hosts)
    return {node_id: host for node_id, host in ids if node_id is not None}


def _smaller(one: Node, other: Node) -> Node:
    assert one.gpu is not None and other.gpu is not None
    return other if other.gpu.gib < one.gpu.gib else one


def _gpu_nodes() -> Iterator[tuple[str, Node]]:
    """The nodes that have GPUs and are alive, each with its id."""
    entries = [entry for entry in ray.nodes() if entry["Alive"] and entry["Resources"].get("GPU")]
    here = ray.get_runtime_context().get_node_id()
    local = local_gpu() if any(entry["NodeID"] == here for entry in entries) else None
    for entry in entries:
        yield entry["NodeID"], nodes_of_ray([entry], here, local)[0]


def _pinned_to(node_id: str, probe: Probe) -> Any:
    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return _task(probe, scheduling_strategy=where)


def _pinned_to_kind(node: Node, pinned: bool, probe: Probe) -> Any:
    pin = {f"{RESOURCE}{node.accelerator}": PIN} if pinned and node.accelerator else {}
    return _task(probe, resources=pin)


def _task(probe: Probe, **where: Any) -> Any:
    """Its process ends with it, and with it the CUDA context."""
    options: Mapping[str, Any] = {"num_gpus": SHARE, "num_cpus": 0, "max_calls": 1, "max_retries": 0, **where}
    return ray.remote(**options)(_looked).remote(probe)


def _looked(probe: Probe) -> tuple[str, GpuFacts]:
    return ray.get_runtime_context().get_node_id(), probe()


def _answers(tasks: Mapping[Any, Node], patience: float, first: bool = False) -> Iterator[Probed]:
    """What the tasks bring; those that bring nothing in time are cancelled. first: one that answers is enough."""
    pending, end = dict(tasks), time.monotonic() + patience
    while pending:
        ready, _ = ray.wait(list(pending), timeout=max(0.0, end - time.monotonic()))
        if not ready:
            break
        probed = _answer(ready[0], pending.pop(ready[0]))
        yield probed
        if first and probed.facts is not None:
            break
    for ref, node in pending.items():
        ray.cancel(ref, force=True)
        if not first:
            yield Probed(node, why=f"as no answer came within {patience:g} s")


def _answer(ref: Any, node: Node) -> Probed:
    try:
        node_id, facts = ray.get(ref)
        # A live node knows its GiB better than a file; of two sizes for one GPU, the plan takes the smaller.
        came = dict(_gpu_nodes()).get(node_id, node)
        return Probed(_smaller(came, node) if share_gpu_type(came, node) else came, facts)
    except RayTaskError as error:  # raised there: torch cannot even be imported, say
        said = str(error.cause).splitlines() or [repr(error.cause)]
        return Probed(node, GpuFacts("", error=said[0]))
    except RayError as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Probed(node, why=f"as its process or node went: {said[0]}")
