"""Contracts: the tests that every built-in indicator, reward, market, encoder and sampler passes, for your own ones.

Takes: an indicator, a reward, a market, an encoder or a sampler, registered or not. Gives: an AssertionError for each
promise that it breaks, with what must hold, what was found and how to mend it. Needs neither pytest nor Ray; encoders
need torch.

    check_indicator(SPREAD)                  # all promises at once

    class TestSpread(IndicatorContract):     # or one test for each, collected by pytest
        indicator = SPREAD
"""

from typing import TYPE_CHECKING, Any

from ftray.testing.candles import extreme_ohlcv, ohlcv
from ftray.testing.indicators import IndicatorContract, check_indicator
from ftray.testing.look_ahead import assert_no_look_ahead
from ftray.testing.markets import MarketContract, check_market
from ftray.testing.rewards import RewardContract, check_reward
from ftray.testing.samplers import SamplerContract, check_sampler

if TYPE_CHECKING:
    from ftray.testing.encoders import EncoderContract, check_encoder

__all__ = [
    "EncoderContract",
    "IndicatorContract",
    "MarketContract",
    "RewardContract",
    "SamplerContract",
    "assert_no_look_ahead",
    "check_encoder",
    "check_indicator",
    "check_market",
    "check_reward",
    "check_sampler",
    "extreme_ohlcv",
    "ohlcv",
]


def __getattr__(name: str) -> Any:
    if name not in ("EncoderContract", "check_encoder"):
        raise AttributeError(f"module 'ftray.testing' has no attribute {name!r}")
    from ftray.testing import encoders  # when it is asked for: it needs torch

    return getattr(encoders, name)
