"""The books of accounts: what each of them owns, what it traded in one bar, and what that bar's market was.

Plain data, without any rule of trading. Money is float64.

Legend: E accounts, A assets.
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Account:
    """E accounts: what each of them owns.

    cash: (E,) in quote currency. units: (E, A) of each asset.
    """

    cash: np.ndarray
    units: np.ndarray

    def __post_init__(self) -> None:
        self.cash.flags.writeable = False
        self.units.flags.writeable = False

    @classmethod
    def all_cash(cls, n_accounts: int, n_assets: int, cash: float) -> "Account":
        return cls(np.full(n_accounts, float(cash)), np.zeros((n_accounts, n_assets)))

    def equity(self, prices: np.ndarray) -> np.ndarray:
        """Cash and holdings at these prices (E, A), in quote currency. Shape: (E,)."""
        return self.cash + (self.units * prices).sum(axis=1)

    def fractions(self, prices: np.ndarray) -> np.ndarray:
        """Cash, then holdings, as fractions of equity: an observation's account part. Shape: (E, 1 + A) float32."""
        parts = np.empty((len(self.cash), 1 + self.units.shape[1]))
        parts[:, 0] = self.cash
        np.multiply(self.units, prices, out=parts[:, 1:])
        return (parts / parts.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class StepPrices:
    """What a step needs of the market, each array (E, A).

    close: of the deciding bar. fill: the price orders fill at. next_close: of the bar after.
    volume: of the bar that orders fill in, in units of the asset; None where impact is 0.
    """

    close: np.ndarray
    fill: np.ndarray
    next_close: np.ndarray
    volume: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Fills:
    """What was traded, each array (E, A) in quote currency.

    notional: bought (+) or sold (−), at the fill price before slippage. fees, slippage: what it cost, ≥ 0.
    """

    notional: np.ndarray
    fees: np.ndarray
    slippage: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What one bar did to E accounts; what a reward is computed from. Money is float64, in quote currency.

    account: after the bar's orders, marked at its close: `cash` (E,) and `units` (E, A).
    fills: those orders: `notional`, `fees` and `slippage`, each (E, A).
    equity_before, equity: (E,) at the two closes that the step is between.
    prices: of the bar, each (E, A): `close` at which was decided, `fill` of the orders, `next_close`.
    ruined: (E,) bool, whether equity is below `MarketRules.ruin`.
    """

    account: Account
    fills: Fills
    equity_before: np.ndarray
    equity: np.ndarray
    prices: StepPrices
    ruined: np.ndarray

    @functools.cached_property
    def next_account(self) -> Account:
        """What the next bar begins with: the accounts, of which the ruined ones are closed into cash."""
        if not self.ruined.any():
            return self.account
        cash = np.where(self.ruined, self.equity, self.account.cash)
        return Account(cash, np.where(self.ruined[:, None], 0.0, self.account.units))

    @functools.cached_property
    def turnover(self) -> np.ndarray:
        """Traded notional as a fraction of equity before. Shape: (E,)."""
        return np.abs(self.fills.notional).sum(axis=1) / self.equity_before
