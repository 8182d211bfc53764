"""`TrialSpec`: everything that decides what one trial does."""

from ftray.agent.spec import PPOSpec
from ftray.features import FeatureSpec
from ftray.market import MarketSpec, SimulatorSpec, WindowsSpec
from ftray.nets import EncoderSpec, FTSpec
from ftray.pretraining import PretrainingSpec
from ftray.spec import Index, spec
from ftray.trading import TradingSpec


@spec
class TrialSpec:
    """One trial: a market, its windows, what is seen of it, an encoder, its pre-training, the rules, the training.

    `pretraining` describes the job behind `encoder.pretrained: auto`, and is idle otherwise.
    """

    market: MarketSpec = SimulatorSpec()
    windows: WindowsSpec = WindowsSpec()
    features: FeatureSpec = FeatureSpec()
    encoder: EncoderSpec = FTSpec()
    pretraining: PretrainingSpec = PretrainingSpec()
    trading: TradingSpec = TradingSpec()
    ppo: PPOSpec = PPOSpec()
    seed: Index = 0

    @property
    def encoder_to_pretrain(self) -> FTSpec | None:
        """The encoder, if its weights come from a pre-training job."""
        return self.encoder if isinstance(self.encoder, FTSpec) and self.encoder.pretrained == "auto" else None
