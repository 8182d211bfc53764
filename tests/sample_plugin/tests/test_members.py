"""Every member of this plug-in keeps the contract of its family."""

from acme_trading.encoders import ConvEncoder, ConvSpec
from acme_trading.indicators import VWAP_GAP
from acme_trading.markets import TIDES, TidesSpec
from acme_trading.rewards import CALM_GROWTH
from acme_trading.samplers import HALTON, HaltonSpec

from ftray.testing import EncoderContract, IndicatorContract, MarketContract, RewardContract, SamplerContract


class TestVwapGap(IndicatorContract):
    indicator = VWAP_GAP


class TestCalmGrowth(RewardContract):
    reward = CALM_GROWTH


class TestTides(MarketContract):
    market = TIDES
    spec = TidesSpec(n_assets=3, n_bars=300, interval="15m")


class TestConv(EncoderContract):
    encoder = ConvEncoder
    spec = ConvSpec(channels=16, encoding_dim=32)


class TestHalton(SamplerContract):
    sampler = HALTON
    spec = HaltonSpec()
