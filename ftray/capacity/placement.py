"""Where a job goes: the bundles that it asks Ray for, and the nodes that may hold them.

Takes: bundles, nodes, a plan per GPU model. Gives: a `Placement`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

from ftray.capacity.nodes import RESOURCE, Node
from ftray.errors import SpecError
from ftray.vram.plan import GpuShares, VramPlan

Bundles = list[dict[str, float]]
Strategy = Literal["PACK", "STRICT_PACK"]

PIN = 0.001
"""Of a node's resource `accelerator_type:X`, of which it has 1: sends a bundle to such a node and takes nothing."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a job goes. plan: its shares of a GPU; None on the CPU. hosts: the nodes that may hold those.

    evaluation_cpus: cores of its last bundle, for a process that evaluates while the job trains.
    """

    bundles: Bundles
    strategy: Strategy = "PACK"
    plan: VramPlan | None = None
    hosts: tuple[Node, ...] = ()
    evaluation_cpus: float = 0.0

    @property
    def shares(self) -> GpuShares:
        return self.plan.shares if self.plan else GpuShares()

    @property
    def threads(self) -> int:
        """Of the job's own process."""
        return max(1, round(cpus(self.bundles) - self.evaluation_cpus))

    def jobs_per_node(self, node: Node) -> int:
        """How many such jobs one node holds if it holds nothing else."""
        asked = cpus(self.bundles)
        limits = [node.cpus / asked] if asked else []
        if self.plan is not None:
            whole = self.plan.trials_per_gpu * node.n_gpus
            limits.append(whole or node.n_gpus / float(self.plan.gpus_per_trial))
            limits += [0] * (node not in self.hosts)
        return math.floor(min(limits, default=0) + 1e-9)


def cpus(bundles: Bundles) -> float:
    return sum(bundle.get("CPU", 0.0) for bundle in bundles)


def gpus(bundles: Bundles) -> float:
    return sum(bundle.get("GPU", 0.0) for bundle in bundles)


def holds(node: Node, bundles: Bundles) -> bool:
    """Whether one empty node holds all bundles; each share lies on one GPU."""
    free = [1.0] * node.n_gpus
    for share in sorted((bundle.get("GPU", 0.0) for bundle in bundles), reverse=True):
        place = next((i for i, left in enumerate(free) if share <= left + 1e-9), None)
        if share and place is None:
            return False
        if place is not None:
            free[place] -= share
    return cpus(bundles) <= node.cpus


def choose_strategy(bundles: Bundles, hosts: Sequence[Node]) -> Strategy:
    """On one node where one can hold them: shares of a trial that lies on two nodes wait for two nodes."""
    return "STRICT_PACK" if any(holds(node, bundles) for node in hosts) else "PACK"


def choose_hosts(
    nodes: Sequence[Node], plan: Callable[[Node], VramPlan]
) -> tuple[VramPlan, tuple[Node, ...], dict[str, float]]:
    """The plan for the smallest GPU that a job fits on, the nodes that may hold it, and the resource that pins it to
    them.

    A job that fits on every GPU of the cluster may run on any of them. One that does not is pinned to one model: a
    bundle can name no two.

    Raises: SpecError if it fits on none.
    """
    chosen: VramPlan | None = None
    home, refusal = nodes[0], None
    for node in sorted((node for node in nodes if node.gpu), key=lambda node: node.gpu.gib):  # type: ignore[union-attr]
        try:
            chosen, home = plan(node), node
            break
        except SpecError as error:
            refusal = error  # of the largest, in the end
    if chosen is None:
        assert refusal is not None
        raise refusal
    if refusal is None:
        return chosen, tuple(node for node in nodes if node.gpu), {}
    if not home.accelerator:
        raise SpecError(
            f"a job that fits on the {home.gpu.name} alone must be pinned to it, and Ray knows no accelerator type of "  # type: ignore[union-attr]
            "those nodes: give them the resource accelerator_type:NAME"
        )
    hosts = tuple(node for node in nodes if node.accelerator == home.accelerator)
    return chosen, hosts, {f"{RESOURCE}{home.accelerator}": PIN}
