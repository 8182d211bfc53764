"""`MarketRules`: what trading costs, when orders fill and when an account is ruined, whoever trades."""

from typing import Annotated, Literal

from ftray.errors import SpecError
from ftray.spec import Between, NonNegative, spec

CostRate = Annotated[float, Between(0.0, 0.1)]

RUIN = 0.01
"""Fraction of the initial cash below which an account is ruined."""


@spec
class MarketRules:
    """The market's rules: the same for every policy and benchmark that is compared.

    fee: fraction of an order's notional, taken at the fill price.
    slippage: fraction of an order's notional, taken at the fill price, whatever the order's size.
    impact: what an order of its bar's whole volume slips further, as a fraction of notional; an order for a share q of
        that volume slips impact × √q. About one bar's volatility is realistic: 0.01 for hourly crypto. Above 0 the
        market has depth, and no order is larger than what its bar traded; at 0 any order fills, whatever its size.
    min_order: smallest order that is sent, in quote currency, at most the initial cash; smaller ones are dropped.
    initial_cash: what an account starts with, in quote currency.
    fill: the price orders fill at, next bar's open or the deciding bar's close.

    >>> import ftray
    >>> rules = ftray.MarketRules(fee=0.001, slippage=0.0005)
    >>> round(1_000 * rules.cost, 2), rules.ruin  # an order of 1,000 costs 1.50; an account below 100 is ruined
    (1.5, 100.0)
    """

    fee: CostRate = 0.0025
    slippage: CostRate = 0.0005
    impact: CostRate = 0.0
    min_order: NonNegative = 10.0
    initial_cash: Annotated[float, Between(1e-2)] = 10_000.0
    fill: Literal["open", "close"] = "open"

    def check(self) -> None:
        if self.min_order > self.initial_cash:
            raise SpecError(
                f"must be at most initial_cash = {self.initial_cash:g}, or no account ever trades, got "
                f"{self.min_order:g}: lower it, or start with more cash",
                ("min_order",),
            )

    @property
    def cost(self) -> float:
        """What an order costs without its impact, as a fraction of its notional."""
        return self.fee + self.slippage

    @property
    def ruin(self) -> float:
        """Equity below which an account is ruined, in quote currency."""
        return RUIN * self.initial_cash
