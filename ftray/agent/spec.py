"""`PPOSpec`: how a policy is trained, and the sizes that follow from it."""

from typing import Annotated

from ftray.errors import SpecError
from ftray.spec import Between, Count, Fraction, Index, NonNegative, spec

LOG_STD_RANGE = (-5.0, 1.0)
"""RLlib's Gaussian does not clamp its log standard deviation; without a clamp one bad batch ends a run."""


@spec
class PPOSpec:
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) over parallel env runners.

    Fragment, batch and minibatch sizes are derived (`fragment_length`, `batch_size`, `minibatch`), so every combination
    of the fields below is valid, but for a `log_std` below `min_log_std`.

    env_steps: env steps of one training, over all its accounts; one step is one account over one bar.
    train_batch_size: env steps per iteration, rounded to whole fragments.
    minibatch_size: samples per gradient step, at most the whole batch.
    epochs: passes over the batch of an iteration.
    learning_rate: Adam's.
    weight_decay: AdamW's (Loshchilov and Hutter 2019, arXiv:1711.05101): each step takes the fraction `learning_rate` ×
        `weight_decay` off every matrix that learns at `learning_rate`, and nothing off biases and normalisations. A
        pre-trained market tower has none: what it knows is not near zero. 0 is Adam.
    fine_tune_factor: learning rate of a pre-trained market tower, as a fraction of `learning_rate`.
    fine_tune_warm_up: fraction of `env_steps` over which that rate rises from 0: heads that still know nothing would
        wreck what the tower knows.
    gamma: discount of a reward one bar later.
    gae_lambda: λ of generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438).
    alternatives: further actions of every account at every bar that the environment prices without taking them, since
        prices do not answer them; each action's advantage is then over the mean of the others
        (`ftray.agent.alternatives`). They are no env steps. 0 is plain PPO.
    clip: how far the ratio of new to old action probabilities may leave 1 before its gradient is cut.
    entropy: weight of the action distribution's entropy in the loss.
    value_weight: weight of the value function's squared error in the loss.
    dropout: share of the encoding that policy and value head do not see in the learner's passes (Srivastava et al.
        2014); everywhere else they see the whole. Of an action, the old probability comes from the whole network and
        the new one from a thinned one: their ratio scatters around 1 from the first step of an iteration on, the more
        the smaller the actions' standard deviation is; `kl` and `clip_fraction` rise, and `clip` cuts some samples off
        at once (Hausknecht and Wagener 2022, arXiv:2202.11818). On a GPU it learns kernel by kernel.
    log_std: log standard deviation of the actions that training begins with, per asset; 0 is a standard deviation of 1.
        Evaluation and deployed policies act by the mean.
    min_log_std: floor of the log standard deviation in training, and so of the entropy, without a weight to choose. The
        default is for stability alone, as is the ceiling of 1.
    grad_clip: largest norm of a gradient, over all parameters; 0 does not clip.
    reward_scale: factor on the environment's rewards, above 0; log growth per bar is about 1e-3.
    n_env_runners: processes that sample; 0 samples in the learner's own process.
    envs_per_runner: accounts that each env runner steps at once.
    cpus_per_env_runner: cores that each env runner books.
    env_runners_on_gpu: whether env runners, too, hold the model on a GPU; each books a share of its own.
    evaluate_every: iterations between two backtests on the validation windows; a checkpoint is kept each time.
    evaluation_cpus: cores of a second process that runs those backtests while the trial trains; 0 runs them in the
        trial's own process, between two iterations. The metrics are the same, up to a GPU's rounding.

    >>> import ftray
    >>> ppo = ftray.PPOSpec(train_batch_size=1_000, n_env_runners=2, envs_per_runner=16)
    >>> ppo.n_envs, ppo.fragment_length, ppo.batch_size
    (32, 31, 992)
    """

    env_steps: Count = 20_000
    train_batch_size: Count = 2_048
    minibatch_size: Count = 256
    epochs: Count = 4
    learning_rate: Annotated[float, Between(1e-7, 1.0)] = 3e-4
    weight_decay: NonNegative = 0.0
    fine_tune_factor: Annotated[float, Between(0.0, 10.0)] = 0.3
    fine_tune_warm_up: Fraction = 0.1
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    alternatives: Index = 0
    clip: Annotated[float, Between(0.01, 1.0)] = 0.2
    entropy: NonNegative = 0.0
    value_weight: NonNegative = 0.5
    dropout: Annotated[float, Between(0.0, below=1.0)] = 0.0
    log_std: Annotated[float, Between(*LOG_STD_RANGE)] = 0.0
    min_log_std: Annotated[float, Between(*LOG_STD_RANGE)] = LOG_STD_RANGE[0]
    grad_clip: NonNegative = 0.5
    reward_scale: Annotated[float, Between(above=0.0)] = 100.0
    n_env_runners: Index = 2
    envs_per_runner: Count = 16
    cpus_per_env_runner: Annotated[float, Between(0.1)] = 1.0
    env_runners_on_gpu: bool = False
    evaluate_every: Count = 5
    evaluation_cpus: Index = 0

    def check(self) -> None:
        if self.log_std < self.min_log_std:
            raise SpecError(
                f"log_std must be at least min_log_std, got log_std {self.log_std:g} and min_log_std "
                f"{self.min_log_std:g}; raise the one or lower the other"
            )

    @property
    def n_envs(self) -> int:
        """Accounts that step in parallel, over all env runners."""
        return self.envs_per_runner * max(1, self.n_env_runners)

    @property
    def fragment_length(self) -> int:
        """Env steps that each account takes per iteration."""
        return max(1, round(self.train_batch_size / self.n_envs))

    @property
    def batch_size(self) -> int:
        """Env steps per iteration, in whole fragments."""
        return self.fragment_length * self.n_envs

    @property
    def minibatch(self) -> int:
        """Samples per gradient step."""
        return min(self.minibatch_size, self.batch_size)
