"""`TrialSpec`: everything that decides what one trial does."""

from ftray.agent.spec import PPOSpec
from ftray.features import FeatureSpec
from ftray.market import MARKETS, FoldsSpec, MarketSpec, SimulatorSpec, WindowsSpec, n_folds
from ftray.nets import ENCODERS, EncoderSpec, FTSpec
from ftray.pretraining import PretrainingSpec
from ftray.spec import Count, Index, spec
from ftray.trading import REWARDS, TradingSpec


@spec
class TrialSpec:
    """One trial: a market, its folds, what is seen of it, an encoder, its pre-training, the rules, the training.

    windows: one split, or several folds; seeds: how many, from `seed` on. Each fold is trained and validated with each
    seed: a training of `ppo.env_steps` env steps.
    onnx: whether the policy is also written as an ONNX file, if the extra `onnx` is installed; it takes seconds.
    `pretraining` describes the job behind `encoder.pretrained: auto`, and is idle otherwise.
    """

    market: MarketSpec = SimulatorSpec()
    windows: FoldsSpec = WindowsSpec()
    features: FeatureSpec = FeatureSpec()
    encoder: EncoderSpec = FTSpec()
    pretraining: PretrainingSpec = PretrainingSpec()
    trading: TradingSpec = TradingSpec()
    ppo: PPOSpec = PPOSpec()
    seed: Index = 0
    seeds: Count = 1
    onnx: bool = True

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that it uses → hash of their source."""
        used = MARKETS.sources([self.market.kind]) | ENCODERS.sources([self.encoder.kind])
        return used | REWARDS.sources([self.trading.reward]) | self.features.plugins

    @property
    def n_folds(self) -> int:
        return n_folds(self.windows)

    @property
    def n_trainings(self) -> int:
        return self.n_folds * self.seeds

    @property
    def env_steps(self) -> int:
        """Of all trainings together."""
        return self.n_trainings * self.ppo.env_steps

    @property
    def encoder_to_pretrain(self) -> FTSpec | None:
        """The encoder, if its weights come from a pre-training job."""
        return self.encoder if isinstance(self.encoder, FTSpec) and self.encoder.pretrained == "auto" else None
