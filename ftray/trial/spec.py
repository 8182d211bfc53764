"""`TrialSpec`: everything that decides what one trial does."""

from typing import Annotated, Literal

from ftray.agent.spec import PPOSpec
from ftray.errors import SpecError
from ftray.features import FeatureSpec, reach_of
from ftray.market import MARKETS, FoldsSpec, MarketSpec, SimulatorSpec, WindowsSpec, n_folds, purge_gap
from ftray.nets import ENCODERS, EncoderSpec, FTSpec
from ftray.pretraining import PretrainingSpec
from ftray.pretraining.spec import check_foresight
from ftray.spec import Between, Seed, spec
from ftray.trading import REWARDS, TradingSpec

Select = Literal["last", "best_validation"]
"""Which evaluation of a training is its result."""


@spec
class TrialSpec:
    """Everything that decides what one trial does.

    Each fold of `windows` is trained and validated with each seed: a training of `ppo.env_steps` env steps.

    market: where candles come from.
    windows: one split of the bars, or several folds.
    features: what is observed of the market.
    encoder: the network that policy and value head read.
    pretraining: the job behind `encoder.pretrained: auto`; idle otherwise.
    trading: the market's rules, rewards and episodes.
    ppo: how each policy is trained.
    seed: the first training's; the others count on from it.
    seeds: trainings per fold.
    select: which evaluation of each training is its result: its policy is exported, and its metrics and bars are the
        training's. `last`, or `best_validation`: the one that grew most on the validation windows. The luck line then
        counts every evaluation as a look.
    onnx: whether the policy is also written as an ONNX file, if the extra `onnx` is installed; it takes seconds.

    >>> import ftray
    >>> spec = ftray.TrialSpec(windows=ftray.WalkForwardSpec(n_folds=4), seeds=3, ppo=ftray.PPOSpec(env_steps=20_000))
    >>> spec.n_trainings, spec.env_steps
    (12, 240000)
    """

    market: MarketSpec = SimulatorSpec()
    windows: FoldsSpec = WindowsSpec()
    features: FeatureSpec = FeatureSpec()
    encoder: EncoderSpec = FTSpec()
    pretraining: PretrainingSpec = PretrainingSpec()
    trading: TradingSpec = TradingSpec()
    ppo: PPOSpec = PPOSpec()
    seed: Seed = 0
    seeds: Annotated[int, Between(1, 1_000)] = 1
    select: Select = "last"
    onnx: bool = True

    def check(self) -> None:
        try:
            reach = reach_of(self.windows, self.features)
            purge_gap(self.windows.purge, self.windows.holding, reach.lookback)
        except SpecError as error:
            raise error.within("windows") from None
        if self.encoder_to_pretrain is not None:
            try:
                check_foresight(self.encoder_to_pretrain, self.pretraining)
            except SpecError as error:
                raise error.within("pretraining") from None

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that it uses → hash of their source."""
        used = MARKETS.sources([self.market.kind]) | ENCODERS.sources([self.encoder.kind])
        return used | REWARDS.sources([self.trading.reward]) | self.features.plugins

    @property
    def n_folds(self) -> int:
        """How many folds `windows` makes."""
        return n_folds(self.windows)

    @property
    def n_trainings(self) -> int:
        """Folds × seeds."""
        return self.n_folds * self.seeds

    @property
    def env_steps(self) -> int:
        """Env steps of all trainings together."""
        return self.n_trainings * self.ppo.env_steps

    @property
    def encoder_to_pretrain(self) -> FTSpec | None:
        """The encoder, if its weights come from a pre-training job."""
        return self.encoder if isinstance(self.encoder, FTSpec) and self.encoder.pretrained == "auto" else None
