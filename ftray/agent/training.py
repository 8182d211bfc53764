"""From specs to a running PPO: its configuration, its start with the right weights, one iteration as plain metrics."""

import functools
import math
import time
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from ftray.agent.connectors import ActionsToEnv, EpisodesToTrainBatch, ObservationsToModule
from ftray.agent.devices import DevicePlacement, check_devices
from ftray.agent.env import TrainingEnv
from ftray.agent.env_runner import FTEnvRunner, check_env_runners
from ftray.agent.learner import METRICS, FTLearner
from ftray.agent.module import FTPolicy, mapped
from ftray.agent.spec import PPOSpec
from ftray.agent.vectors import fresh_vectors
from ftray.errors import TrainingError, WeightsError
from ftray.nets import EncoderSpec, market_state_dict, read_checkpoint, weights_fingerprint
from ftray.plugins import carried
from ftray.spec import to_mapping
from ftray.trading import TradingSpec
from ftray.vram.plan import NO_GPU, GpuShares

POLICY = "default_policy"


def ppo_config(
    ppo: PPOSpec,
    encoder: EncoderSpec,
    trading: TradingSpec,
    *,
    dataset: Path,
    weights: Path | None = None,
    market_vectors: Path | None = None,
    seed: int = 0,
    micro_batches: int = 1,
    gpus: GpuShares = NO_GPU,
    trial: str = "trial",
) -> PPOConfig:
    """RLlib's configuration of a trial.

    dataset: folder of a prepared `Dataset`, readable from every process of the trial.
    weights: pre-training checkpoint that the encoder's market tower starts from.
    market_vectors: .npy of the market tower's output per bar, for a frozen encoder.
    micro_batches: parts into which each minibatch is split, gradients accumulated: less memory, the same mathematics.
    gpus: what the processes of the trial book; nothing by default.
    trial: the trial's id, after which its env runners are named.
    """
    dataset = Path(dataset).absolute()
    model_config = _model_config(ppo, encoder, dataset, weights, market_vectors, gpus)
    schedule = _tower_schedule(ppo) if weights else None
    config = PPOConfig()
    _set_environment(config, ppo, trading, dataset, trial)
    _set_env_runners(config, ppo, gpus)
    _set_learner(config, ppo, trading, gpus)
    options = {"micro_batches": micro_batches, "tower_schedule": schedule, "seed": seed}
    _set_training(config, ppo, options | {"weight_decay": ppo.weight_decay})
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=FTPolicy, model_config=model_config))
    config.debugging(seed=seed, log_level="ERROR")
    return config


def _model_config(
    ppo: PPOSpec,
    encoder: EncoderSpec,
    dataset: Path,
    weights: Path | None,
    market_vectors: Path | None,
    gpus: GpuShares,
) -> dict[str, Any]:
    """What every process needs to build the trial's module."""
    return {
        "encoder": to_mapping(encoder),
        "dataset": str(dataset),
        "weights": str(Path(weights).absolute()) if weights else None,
        "market_vectors": str(Path(market_vectors).absolute()) if market_vectors else None,
        "dropout": ppo.dropout,
        "log_std": ppo.log_std,
        "min_log_std": ppo.min_log_std,
        "learner_cap_gib": gpus.learner_cap_gib,
        "env_runner_cap_gib": gpus.env_runner_cap_gib,
        "planned_gib": gpus.planned_gib,
        "plugins": carried(),
    }


def _set_environment(config: PPOConfig, ppo: PPOSpec, trading: TradingSpec, dataset: Path, trial: str) -> None:
    env_config = {
        "dataset": str(dataset),
        "trading": to_mapping(trading),
        "reward_scale": ppo.reward_scale,
        "trial": trial,
        "plugins": carried(),
    }
    config.environment(TrainingEnv, env_config=env_config, normalize_actions=False, clip_actions=False)


def _set_env_runners(config: PPOConfig, ppo: PPOSpec, gpus: GpuShares) -> None:
    config.env_runners(
        env_runner_cls=FTEnvRunner,
        num_env_runners=ppo.n_env_runners,
        num_envs_per_env_runner=ppo.envs_per_runner,
        num_cpus_per_env_runner=ppo.cpus_per_env_runner,  # type: ignore[arg-type]  # fractions are allowed
        num_gpus_per_env_runner=gpus.env_runner,
        env_to_module_connector=_observations_to_module,
        module_to_env_connector=functools.partial(_actions_to_env, alternatives=ppo.alternatives),
        add_default_connectors_to_env_to_module_pipeline=False,
        add_default_connectors_to_module_to_env_pipeline=False,
        gym_env_vectorize_mode="vector_entry_point",
        rollout_fragment_length=ppo.fragment_length,
        sample_timeout_s=600,  # a slower sample would be dropped with nothing but a warning
    )


def _set_learner(config: PPOConfig, ppo: PPOSpec, trading: TradingSpec, gpus: GpuShares) -> None:
    config.learners(
        num_learners=0,  # in the trial's own process: a separate actor would need a second share of the GPU
        num_gpus_per_learner=gpus.learner,
        learner_class=FTLearner,
        learner_connector=functools.partial(
            EpisodesToTrainBatch,
            gamma=ppo.gamma,
            gae_lambda=ppo.gae_lambda,
            accounts_per_bar=trading.accounts_per_bar,
        ),
        add_default_connectors_to_learner_pipeline=False,
    )


def _set_training(config: PPOConfig, ppo: PPOSpec, learner_options: dict[str, Any]) -> None:
    config.training(
        train_batch_size_per_learner=ppo.batch_size,
        minibatch_size=ppo.minibatch,
        num_epochs=ppo.epochs,
        lr=ppo.learning_rate,
        gamma=ppo.gamma,
        lambda_=ppo.gae_lambda,
        clip_param=ppo.clip,
        entropy_coeff=ppo.entropy,
        vf_loss_coeff=ppo.value_weight,
        use_kl_loss=False,
        grad_clip=ppo.grad_clip or None,
        learner_config_dict=learner_options,
    )


def _observations_to_module(env: Any = None, spaces: Any = None, device: Any = None) -> ObservationsToModule:
    return ObservationsToModule(device=device)


def _actions_to_env(env: Any = None, spaces: Any = None, *, alternatives: int = 0) -> ActionsToEnv:
    return ActionsToEnv(alternatives=alternatives)


def _tower_schedule(ppo: PPOSpec) -> list[list[float]]:
    """Env steps and learning rates between which RLlib interpolates, at the end of each iteration for the next one.

    So an iteration learns at the rate of its own last step: none is wasted at a rate of 0.
    """
    rate = ppo.learning_rate * ppo.fine_tune_factor
    warm_up = max(ppo.batch_size, round(ppo.fine_tune_warm_up * ppo.env_steps))
    return [[0, rate * ppo.batch_size / warm_up], [max(1, warm_up - ppo.batch_size), rate]]


def learner_module(algorithm: PPO) -> FTPolicy:
    """The module that trains (`algorithm.get_module()` is an env runner's copy, without the value head)."""
    return algorithm.learner_group._learner.module[POLICY].unwrapped()  # type: ignore[union-attr,return-value]


def check_start(algorithm: PPO, gpus: GpuShares = NO_GPU, weights: Path | None = None) -> None:
    """Proves, before the first iteration, that every process computes where it booked and holds the same weights.

    weights: the checkpoint that the market tower starts from; its fingerprint must stand in the learner and in every
        env runner.

    Raises: TrainingError or WeightsError naming who differs.
    """
    group = algorithm.env_runner_group
    assert group is not None
    module = learner_module(algorithm)
    held_by_learner = ray.put(module.get_state(inference_only=True))

    def sync(runner: Any) -> tuple[DevicePlacement, str]:
        # RLlib drops a sync that comes while an env runner is busy with an earlier one: after a restore, the weights.
        runner.set_state({"rl_module": held_by_learner})
        return DevicePlacement.of(runner.module), market_fingerprint(runner.module)

    found = {"learner": (DevicePlacement.of(module), market_fingerprint(module))}
    remote = group.num_remote_env_runners() > 0
    runners = group.foreach_env_runner(sync, local_env_runner=not remote)
    check_env_runners(algorithm)  # one that could not even be made has not answered
    found |= {f"env runner {number}": state for number, state in enumerate(runners, start=1)}
    booked = {who: gpus.learner if who == "learner" or not remote else gpus.env_runner for who in found}
    check_devices(
        {who: (placement, booked[who]) for who, (placement, _) in found.items() if remote or who == "learner"}
    )
    expected = found["learner"][1]
    if weights is not None:
        expected = weights_fingerprint(read_checkpoint(weights)["encoder_state_dict"])
    wrong = [who for who, (_, held) in found.items() if held != expected]
    if wrong or not runners:
        raise WeightsError(
            f"the {'pre-trained weights of ' + str(weights) if weights else 'weights of the learner'} (fingerprint "
            f"{expected[:12]}) did not arrive in: {', '.join(wrong) or 'any env runner'}. Training on would compare "
            "something else than asked for."
        )


def market_fingerprint(module: FTPolicy) -> str:
    """The fingerprint of the market tower that a module holds."""
    return weights_fingerprint(market_state_dict(module.encoder))


def share_vectors(algorithm: PPO, vectors: Tensor) -> None:
    """Gives env runners the market vectors of the weights that they sample with. Shape: vectors (T, D), on the CPU.

    Each would compute those of its own bars on a CPU core: 0.6 s per iteration for the balanced encoder, 2 s for the
    large one, during which an H100 idles. One array in the object store serves all runners of a node.
    """
    group = algorithm.env_runner_group
    assert group is not None
    remote = group.num_remote_env_runners() > 0
    held = ray.put(vectors.numpy())

    def take(runner: Any) -> None:
        runner.module.borrow_vectors(mapped(ray.get(held)))

    group.foreach_env_runner(take, local_env_runner=not remote)


def iterate(algorithm: PPO) -> dict[str, float]:
    """One PPO iteration; its metrics under flat names.

    Raises: TrainingError if an env runner failed or no samples came; RLlib itself would silently continue.
    """
    began = time.perf_counter()
    vectors = fresh_vectors(learner_module(algorithm), algorithm.config.train_batch_size_per_learner)  # type: ignore
    if vectors is not None:
        share_vectors(algorithm, vectors)
    sharing = time.perf_counter() - began
    result = algorithm.train()
    check_env_runners(algorithm)
    learners = result.get("learners", {}).get(POLICY)
    if not learners:
        raise TrainingError(
            "an iteration brought no samples: every env runner is dead or timed out. "
            "Look for their errors in Ray's logs (/tmp/ray/session_latest/logs), or try n_env_runners: 0."
        )
    metrics = _metrics(result, learners, result["time_this_iter_s"] + sharing)
    return {name: float(value) if not isinstance(value, int) else value for name, value in metrics.items()}


def _metrics(result: dict[str, Any], learners: dict[str, Any], seconds: float) -> dict[str, Any]:
    """An iteration's metrics under flat names. seconds: what it took in all."""
    runners, learned = result["env_runners"], learners[METRICS]
    steps, learning = int(runners["num_env_steps_sampled"]), float(learners["seconds"])
    sampling = seconds - learning  # with weight sync and all else
    metrics = {
        "env_steps": int(result["num_env_steps_sampled_lifetime"]),
        "iteration": int(result["training_iteration"]),
        "loss/policy": learned["policy"],
        "loss/value": learned["value"],
        **{name: learned[name] for name in ("entropy", "kl", "clip_fraction", "gradient_norm")},
        "explained_variance": float(learners["explained_variance"]),
        "seconds/sampling": sampling,
        "seconds/learning": learning,
        "steps_per_second": steps / seconds,
        "steps_per_second/sampling": steps / sampling,
        "steps_per_second/learning": steps / learning,
    }
    if "tower_gradient_norm" in learned:
        metrics["encoder/gradient_norm"] = learned["tower_gradient_norm"]
    if "intraclass_correlation" in learners:
        metrics["advantages/intraclass_correlation"] = float(learners["intraclass_correlation"])
    reward = float(runners.get("episode_return_mean", math.nan))
    if math.isfinite(reward):  # NaN in every iteration in which no episode ended
        metrics["reward"] = reward
    return metrics
