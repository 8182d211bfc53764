"""`TradingSpec`: the rules of trading, for training and backtests alike."""

from typing import Annotated, Literal

from ftray.errors import SpecError
from ftray.spec import Between, Count, NonNegative, nearest, spec
from ftray.trading.rewards import REWARDS

CostRate = Annotated[float, Between(0.0, 0.1)]

RUIN = 0.01
"""Fraction of the initial cash below which an account is ruined."""


@spec
class TradingSpec:
    """What trading costs, when orders fill, what is rewarded, and what an episode is.

    fee, slippage: fractions of an order's notional, taken at the fill price.
    impact: what an order of its bar's whole volume slips further, as a fraction of notional; an order for a share q of
        that volume slips impact × √q. About one bar's volatility is realistic: 0.01 for hourly crypto. Above 0 the
        market has depth, and no order is larger than what its bar traded; at 0 any order fills, whatever its size.
    min_order: smallest order that is sent, in quote currency; smaller ones are dropped.
    initial_cash: in quote currency.
    fill: the price orders fill at, next bar's open or the deciding bar's close.
    episode_bars: steps after which an episode ends at the latest.
    reward: a name in `REWARDS`.
    turnover_penalty: taken off the reward per unit of turnover (traded notional as a fraction of equity). Beside log
        growth, 0.001 teaches as a further fee of 0.1 % would, and the books know nothing of it.
    accounts_per_bar: accounts of a vector environment that share one timeline.
    """

    fee: CostRate = 0.0025
    slippage: CostRate = 0.0005
    impact: CostRate = 0.0
    min_order: NonNegative = 10.0
    initial_cash: Annotated[float, Between(1e-2)] = 10_000.0
    fill: Literal["open", "close"] = "open"
    episode_bars: Count = 500
    reward: str = "log_growth"
    turnover_penalty: NonNegative = 0.0
    accounts_per_bar: Count = 1

    def check(self) -> None:
        if self.reward not in REWARDS:
            raise SpecError(f"no reward {self.reward!r}; {nearest(self.reward, REWARDS)}", ("reward",))

    @property
    def cost(self) -> float:
        """What an order costs without its impact, as a fraction of its notional."""
        return self.fee + self.slippage

    @property
    def ruin(self) -> float:
        """Equity below which an account is ruined, in quote currency."""
        return RUIN * self.initial_cash
