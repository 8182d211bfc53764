"""From specs to a running PPO: its configuration, its start with the right weights, one iteration as plain metrics."""

import math
from pathlib import Path

from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from ftray.agent.env import TrainingEnv
from ftray.agent.learner import FTLearner
from ftray.agent.module import FTPolicy
from ftray.agent.spec import PPOSpec
from ftray.errors import TrainingError, WeightsError
from ftray.nets import EncoderSpec, market_state_dict, read_checkpoint, weights_fingerprint
from ftray.spec import to_mapping
from ftray.trading import TradingSpec

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
) -> PPOConfig:
    """RLlib's configuration of a trial.

    dataset: folder of a prepared `Dataset`, readable from every process of the trial.
    weights: pre-training checkpoint that the encoder's market tower starts from.
    market_vectors: .npy of the market tower's output per bar, for a frozen encoder.
    """
    model_config = {
        "encoder": to_mapping(encoder),
        "dataset": str(Path(dataset).absolute()),
        "weights": str(Path(weights).absolute()) if weights else None,
        "market_vectors": str(Path(market_vectors).absolute()) if market_vectors else None,
    }
    env_config = {
        "dataset": model_config["dataset"],
        "trading": to_mapping(trading),
        "reward_scale": ppo.reward_scale,
    }
    config = PPOConfig()
    # Actions are clipped to the Box by the environment itself, so RLlib need not: a sixth of its time per step.
    config.environment(TrainingEnv, env_config=env_config, normalize_actions=False, clip_actions=False)
    config.env_runners(
        num_env_runners=ppo.n_env_runners,
        num_envs_per_env_runner=ppo.envs_per_runner,
        num_cpus_per_env_runner=ppo.cpus_per_env_runner,  # type: ignore[arg-type]  # fractions are allowed
        gym_env_vectorize_mode="vector_entry_point",
        rollout_fragment_length=ppo.fragment_length,
        sample_timeout_s=600,  # a slower sample would be dropped with nothing but a warning
    )
    config.learners(num_learners=0, learner_class=FTLearner)
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
        vf_clip_param=math.inf,  # RLlib clips the squared error, which silences the critic on large returns
        use_kl_loss=False,
        grad_clip=ppo.grad_clip or None,
        grad_clip_by="global_norm",
    )
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=FTPolicy, model_config=model_config))
    config.debugging(seed=seed, log_level="ERROR")
    return config


def learner_module(algorithm: PPO) -> FTPolicy:
    """The module that trains (`algorithm.get_module()` is an env runner's copy, without the value head)."""
    return algorithm.learner_group._learner.module[POLICY].unwrapped()  # type: ignore[union-attr,return-value]


def check_weights_arrived(algorithm: PPO, weights: Path) -> str:
    """Proves that learner and every env runner hold the pre-trained market tower; its fingerprint.

    Raises: WeightsError naming who holds something else.
    """
    expected = weights_fingerprint(read_checkpoint(weights)["encoder_state_dict"])
    group = algorithm.env_runner_group
    assert group is not None
    group.sync_weights(from_worker_or_learner_group=algorithm.learner_group, inference_only=True)
    held = {"learner": market_fingerprint(learner_module(algorithm))}
    runners = group.foreach_env_runner(
        lambda runner: market_fingerprint(runner.module),  # type: ignore[attr-defined]
        local_env_runner=group.num_remote_env_runners() == 0,
    )
    held |= {f"env runner {number}": found for number, found in enumerate(runners, start=1)}
    wrong = [who for who, found in held.items() if found != expected]
    if wrong or not runners:
        raise WeightsError(
            f"the pre-trained weights of {weights} (fingerprint {expected[:12]}) did not arrive in: "
            f"{', '.join(wrong) or 'any env runner'}. Training on would compare something else than asked for."
        )
    return expected


def market_fingerprint(module: FTPolicy) -> str:
    """The fingerprint of the market tower that a module holds."""
    return weights_fingerprint(market_state_dict(module.encoder))


def iterate(algorithm: PPO) -> dict[str, float]:
    """One PPO iteration; its metrics under flat names.

    Raises: TrainingError if no samples came or a loss is not finite; RLlib itself would go on without a word.
    """
    result = algorithm.train()
    learners = result.get("learners", {}).get(POLICY)
    if not learners:
        raise TrainingError(
            "an iteration brought no samples: every env runner is dead or timed out. "
            "Look for their errors in Ray's logs (/tmp/ray/session_latest/logs), or try n_env_runners: 0."
        )
    runners = result.get("env_runners", {})
    metrics = {
        "env_steps": int(result.get("num_env_steps_sampled_lifetime", 0)),
        "iteration": int(result["training_iteration"]),
        "loss/policy": float(learners["policy_loss"]),
        "loss/value": float(learners["vf_loss"]),
        "entropy": float(learners["entropy"]),
        "explained_variance": float(learners["vf_explained_var"]),
        "seconds/sampling": float(result["timers"].get("env_runner_sampling_timer", math.nan)),
        "seconds/learning": float(result["timers"].get("learner_update_timer", math.nan)),
    }
    for name in ("loss/policy", "loss/value", "entropy"):
        if not math.isfinite(metrics[name]):
            raise TrainingError(
                f"{name} is {metrics[name]} in iteration {metrics['iteration']}: lower trial.ppo.learning_rate "
                "or trial.ppo.grad_clip; the last checkpoint is kept."
            )
    reward = float(runners.get("episode_return_mean", math.nan))
    if math.isfinite(reward):  # NaN in every iteration in which no episode ended
        metrics["reward"] = reward
    return metrics
