"""What a job asks Ray for, as placement-group bundles.

Env runners and learner of a trial take turns (PPO samples, then learns), so the learner books no core of its own and
uses the runners' while they are idle. Its bundle must not be empty: Ray drops an empty first bundle, and RLlib then
asks for its last env runner in a bundle that is not there. So it books memory.
"""

from ftray.trial.spec import TrialSpec

Bundles = list[dict[str, float]]

LEARNER_MEMORY = 512 * 2**20
"""Bytes booked for a trial's own process, which holds the learner."""


def trial_bundles(spec: TrialSpec) -> Bundles:
    """The bundles of an RL trial: its own process, then one per env runner."""
    runner: dict[str, float] = {"CPU": spec.ppo.cpus_per_env_runner}
    if spec.ppo.n_env_runners == 0:
        return [runner]
    return [{"memory": LEARNER_MEMORY}, *([runner] * spec.ppo.n_env_runners)]


def pretraining_bundles(spec: TrialSpec) -> Bundles:
    """The bundle of a pre-training job."""
    return [{"CPU": float(spec.pretraining.cpus)}]


def cpus(bundles: Bundles) -> float:
    return sum(bundle.get("CPU", 0.0) for bundle in bundles)
