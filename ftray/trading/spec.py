"""`TradingSpec`: the rules of a market, and what a policy is trained for under them."""

import dataclasses
from types import MappingProxyType
from typing import Annotated

from ftray.spec import Count, Fraction, NameIn, NonNegative, spec
from ftray.trading.rewards import REWARDS
from ftray.trading.rules import MarketRules


@spec
class TradingSpec:
    """What a policy is rewarded for, and what an episode is; the market's rules are the same for everyone.

    rules: the market's, which backtests and benchmarks follow, too.
    reward: a name in `ftray.trading.REWARDS`.
    turnover_penalty: taken off the reward per unit of turnover (traded notional as a fraction of equity). With log
        growth, 0.001 teaches as a further fee of 0.1 % would, but no account pays it.
    no_trade: a holding within so much of its wanted weight is left alone, and one beyond is traded to the edge of that
        zone (`ftray.trading.outside_no_trade`); a fraction of equity. Exported policies apply it themselves.
    episode_bars: bars after which an episode ends at the latest.
    accounts_per_bar: accounts of a vector environment that share one timeline.
    """

    rules: MarketRules = MarketRules()
    reward: Annotated[str, NameIn(REWARDS)] = "log_growth"
    turnover_penalty: NonNegative = 0.0
    no_trade: Fraction = 0.0
    episode_bars: Count = 500
    accounts_per_bar: Count = 1

    # Version 0.1 had the rules' fields here: a study file that still has says where they are now.
    MOVED = MappingProxyType({field.name: f"rules.{field.name}" for field in dataclasses.fields(MarketRules)})
