"""What a job requests from Ray: placement-group bundles, with shares of a GPU where the cluster has one.

Env runners and learner of a trial take turns (PPO samples, then learns), so the learner books no core of its own and
uses the runners' while they are idle. Its bundle must not be empty: Ray drops an empty first bundle, and RLlib then
asks for its last env runner in a bundle that is not there. So it books memory. A process that evaluates during
training has the last bundle.
"""

from collections.abc import Sequence

from ftray.agent.spec import PPOSpec
from ftray.capacity.nodes import Node
from ftray.capacity.placement import Bundles, Placement, choose_hosts, choose_strategy
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.spec import TrialSpec
from ftray.trial.vram import plan_pretraining, plan_trial
from ftray.vram.plan import GpuShares, VramPlan

LEARNER_MEMORY = 512 * 2**20
"""Bytes booked for a trial's own process, which holds the learner."""


def place_trial(spec: TrialSpec, nodes: Sequence[Node], memory_plan: MemoryPlan = FULL) -> Placement:
    """The placement of an RL trial: on the smallest GPU model that it fits on, or on CPUs where there is no GPU.

    Raises: SpecError if it fits on no GPU of the cluster.
    """
    evaluation_cpus = float(spec.ppo.evaluation_cpus)
    if not any(node.gpu for node in nodes):
        return Placement(_trial_bundles(memory_plan.apply(spec).ppo, None, {}), evaluation_cpus=evaluation_cpus)
    plan, hosts, pin = choose_hosts(nodes, lambda node: plan_trial(spec, node.gpu, memory_plan))  # type: ignore[arg-type]
    bundles = _trial_bundles(memory_plan.apply(spec).ppo, plan, pin)
    return Placement(bundles, choose_strategy(bundles, hosts), plan, hosts, evaluation_cpus)


def place_pretraining(spec: TrialSpec, nodes: Sequence[Node]) -> Placement:
    """The placement of the pre-training job behind a trial; on CPUs where its spec says so."""
    bundles: Bundles = [{"CPU": float(spec.pretraining.cpus)}]
    if spec.pretraining.device == "cpu" or not any(node.gpu for node in nodes):
        return Placement(bundles)
    plan, hosts, pin = choose_hosts(nodes, lambda node: plan_pretraining(spec, node.gpu))  # type: ignore[arg-type]
    bundles = [bundles[0] | {"GPU": plan.shares.learner} | pin]
    return Placement(bundles, choose_strategy(bundles, hosts), plan, hosts)


def _trial_bundles(ppo: PPOSpec, plan: VramPlan | None, pin: dict[str, float]) -> Bundles:
    shares = plan.shares if plan else GpuShares()
    learner = {"GPU": shares.learner} | pin if plan else {}
    runner: dict[str, float] = {"CPU": ppo.cpus_per_env_runner}
    evaluation: Bundles = [{"CPU": float(ppo.evaluation_cpus)}] if ppo.evaluation_cpus else []
    if ppo.n_env_runners == 0:
        return [runner | learner, *evaluation]
    if shares.env_runner:
        runner |= {"GPU": shares.env_runner} | pin
    return [{"memory": LEARNER_MEMORY} | learner, *([runner] * ppo.n_env_runners), *evaluation]
