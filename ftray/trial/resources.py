"""What a job asks Ray for: placement-group bundles, with shares of a GPU where the cluster has one.

Env runners and learner of a trial take turns (PPO samples, then learns), so the learner books no core of its own and
uses the runners' while they are idle. Its bundle must not be empty: Ray drops an empty first bundle, and RLlib then
asks for its last env runner in a bundle that is not there. So it books memory. A process that evaluates beside the
training has the last bundle.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

from ftray.agent.devices import GpuShares
from ftray.capacity.nodes import RESOURCE, Node
from ftray.errors import SpecError
from ftray.trial.shape import WHOLE, Shape
from ftray.trial.spec import TrialSpec
from ftray.trial.vram import VramPlan, plan_pretraining, plan_trial

Bundles = list[dict[str, float]]
Strategy = Literal["PACK", "STRICT_PACK"]

LEARNER_MEMORY = 512 * 2**20
"""Bytes booked for a trial's own process, which holds the learner."""
PIN = 0.001
"""Of a node's resource `accelerator_type:X`, of which it has 1: leads a bundle to such a node and books nothing."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a job goes. plan: its shares of a GPU; None on the CPU. hosts: the nodes that may hold those.

    cpus_beside: cores that none of its own threads may use, for a process beside it.
    """

    bundles: Bundles
    strategy: Strategy = "PACK"
    plan: VramPlan | None = None
    hosts: tuple[Node, ...] = ()
    cpus_beside: float = 0.0

    @property
    def shares(self) -> GpuShares:
        return self.plan.shares if self.plan else GpuShares()

    @property
    def threads(self) -> int:
        """Of the job's own process."""
        return max(1, round(cpus(self.bundles) - self.cpus_beside))

    def at_once(self, node: Node) -> int:
        """How many such jobs one node holds if it holds nothing else."""
        asked = cpus(self.bundles)
        limits = [node.cpus / asked] if asked else []
        if self.plan is not None:
            whole = self.plan.trials_per_gpu * node.n_gpus
            limits.append(whole or node.n_gpus / float(self.plan.gpus_per_trial))
            limits += [0] * (node not in self.hosts)
        return math.floor(min(limits, default=0) + 1e-9)


def place_trial(spec: TrialSpec, nodes: Sequence[Node], shape: Shape = WHOLE) -> Placement:
    """An RL trial among a cluster's nodes: on the smallest GPU model that it fits on, or on CPUs where there is no GPU.

    Raises: SpecError if it fits on no GPU of the cluster.
    """
    beside = float(spec.ppo.evaluation_cpus)
    if not any(node.gpu for node in nodes):
        return Placement(_trial_bundles(spec, shape, None, {}), cpus_beside=beside)
    plan, hosts, pin = _choose(nodes, lambda node: plan_trial(spec, node.gpu, shape))  # type: ignore[arg-type]
    bundles = _trial_bundles(spec, shape, plan, pin)
    return Placement(bundles, _strategy(bundles, hosts), plan, hosts, beside)


def place_pretraining(spec: TrialSpec, nodes: Sequence[Node]) -> Placement:
    """The pre-training job behind a trial, likewise; on CPUs where its spec says so."""
    bundles: Bundles = [{"CPU": float(spec.pretraining.cpus)}]
    if spec.pretraining.device == "cpu" or not any(node.gpu for node in nodes):
        return Placement(bundles)
    plan, hosts, pin = _choose(nodes, lambda node: plan_pretraining(spec, node.gpu))  # type: ignore[arg-type]
    bundles = [bundles[0] | {"GPU": plan.shares.learner} | pin]
    return Placement(bundles, _strategy(bundles, hosts), plan, hosts)


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


def _trial_bundles(spec: TrialSpec, shape: Shape, plan: VramPlan | None, pin: dict[str, float]) -> Bundles:
    ppo, shares = shape.ppo(spec.ppo), plan.shares if plan else GpuShares()
    learner = {"GPU": shares.learner} | pin if plan else {}
    runner: dict[str, float] = {"CPU": ppo.cpus_per_env_runner}
    judge: Bundles = [{"CPU": float(ppo.evaluation_cpus)}] if ppo.evaluation_cpus else []
    if ppo.n_env_runners == 0:
        return [runner | learner, *judge]
    if shares.env_runner:
        runner |= {"GPU": shares.env_runner} | pin
    return [{"memory": LEARNER_MEMORY} | learner, *([runner] * ppo.n_env_runners), *judge]


def _choose(
    nodes: Sequence[Node], plan: Callable[[Node], VramPlan]
) -> tuple[VramPlan, tuple[Node, ...], dict[str, float]]:
    """The plan for the smallest GPU that a job fits on, the nodes that may hold it, and what leads it to them.

    A job that fits on every GPU of the cluster may land on any of them. One that does not is led to one model: a bundle
    can name no two.
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
            f"a job that fits on the {home.gpu.name} alone must be led there, and Ray knows no accelerator type of "  # type: ignore[union-attr]
            "those nodes: give them the resource accelerator_type:NAME"
        )
    hosts = tuple(node for node in nodes if node.accelerator == home.accelerator)
    return chosen, hosts, {f"{RESOURCE}{home.accelerator}": PIN}


def _strategy(bundles: Bundles, hosts: Sequence[Node]) -> Strategy:
    """On one node where one can hold them: shares of a trial that lies on two nodes wait for two nodes."""
    return "STRICT_PACK" if any(holds(node, bundles) for node in hosts) else "PACK"
