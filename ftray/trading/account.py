"""Accounts and the one step they take: every trade of ftray, in training and backtests, is made here.

Takes: accounts, target weights, prices. Gives: the accounts after trading, and what trading cost. Money is float64.

A step is decided after the close of bar t. Its orders fill at the open of t+1 (or at the close of t itself, as
`TradingSpec.fill` says), and its equity is marked at the close of t+1.

Legend: E accounts, A assets. Rows never mix: a batch of E accounts gives what E single accounts give, to the last bit.
"""

import dataclasses
import functools

import numpy as np

from ftray.errors import DataError, TrainingError
from ftray.trading.prices import StepPrices
from ftray.trading.spec import TradingSpec


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
class Fills:
    """What was traded, each array (E, A) in quote currency.

    notional: bought (+) or sold (−), at the fill price before slippage. fees, slippage: what it cost, ≥ 0.
    """

    notional: np.ndarray
    fees: np.ndarray
    slippage: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What a step did: the accounts after it, its fills, and equity (E,) at the two closes it lies between."""

    account: Account
    fills: Fills
    equity_before: np.ndarray
    equity: np.ndarray
    prices: StepPrices

    @functools.cached_property
    def turnover(self) -> np.ndarray:
        """Traded notional as a fraction of equity before. Shape: (E,)."""
        return np.abs(self.fills.notional).sum(axis=1) / self.equity_before


def target_weights(actions: np.ndarray) -> np.ndarray:
    """Long-only portfolio weights (E, A) of actions (E, A); what they leave of 1 stays in cash.

    A negative action means none of that asset; actions that sum to more than 1 are scaled down to 1.

    >>> target_weights(np.array([[0.5, -1.0], [3.0, 1.0]]))
    array([[0.5 , 0.  ],
           [0.75, 0.25]])
    """
    actions = np.ascontiguousarray(actions, dtype=np.float64)
    if not np.isfinite(actions).all():
        wrong = actions[~np.isfinite(actions)][0]
        raise TrainingError(f"actions must be finite numbers, got {wrong}; have the policy's weights diverged?")
    wanted = np.maximum(actions, 0.0)
    return wanted / np.maximum(1.0, wanted.sum(axis=1, keepdims=True))


def slippage_rates(orders: np.ndarray, depth: np.ndarray | None, spec: TradingSpec) -> float | np.ndarray:
    """What orders slip, as a fraction of notional: the fixed part plus impact × √(order / volume of its bar).

    Shape: orders, depth (E, A) in units of the asset → (E, A); one number without depth.
    An order in a bar without trades slips the fixed part alone: it does not fill.

    The square root is what large samples of orders show, whatever the market and the period they are counted over:
    Tóth et al. 2011, Anomalous Price Impact and the Critical Nature of Liquidity; on Bitcoin, Donier and Bonart 2015,
    A Million Metaorder Analysis of Market Impact. Almgren et al. 2005, Direct Estimation of Equity Market Impact, fit
    an exponent of 0.6.
    """
    if depth is None:
        return spec.slippage
    share = np.divide(np.abs(orders), depth, out=np.zeros_like(orders), where=depth > 0)
    return spec.slippage + spec.impact * np.sqrt(share)


def rebalance(
    account: Account, weights: np.ndarray, prices: np.ndarray, spec: TradingSpec, volume: np.ndarray | None = None
) -> tuple[Account, Fills]:
    """Trade towards `weights` (E, A), fractions of the equity before costs, at `prices` (E, A).

    Sells come first; buys are scaled down by one factor per account when cash after costs does not pay for all of them.
    Equity falls by exactly the fees and slippage, and cash never goes below zero. In a market with depth
    (`spec.impact`), no order is larger than `volume` (E, A), the units that its bar traded; the rest does not fill.
    """
    depth = _depth(volume, spec)
    # In units, not in money: a weight of zero then sells exactly what is held.
    trade = weights * account.equity(prices)[:, None] / prices - account.units
    if depth is not None:
        trade = np.clip(trade, -depth, depth)
    notional = trade * prices
    notional[np.abs(notional) < spec.min_order] = 0.0

    slippage = slippage_rates(trade, depth, spec)
    rate = spec.fee + slippage
    buys, sells = np.maximum(notional, 0.0), np.maximum(-notional, 0.0)
    available = account.cash + (sells * (1.0 - rate)).sum(axis=1)
    price_of_buys = (buys * (1.0 + rate)).sum(axis=1)
    short = price_of_buys > available
    if short.any():
        affordable = np.divide(available, price_of_buys, out=np.ones_like(available), where=short)[:, None]
        buys *= affordable
        buys[buys < spec.min_order] = 0.0
        trade = np.where(notional > 0.0, trade * affordable, trade)
        notional = buys - sells
        slippage = slippage_rates(trade, depth, spec)  # smaller orders slip less: what that saves stays in cash
        price_of_buys = (buys * (1.0 + (spec.fee + slippage))).sum(axis=1)

    traded = np.abs(notional)
    after = Account(
        np.maximum(available - price_of_buys, 0.0),  # the last bit of a subtraction must not become a debt
        np.maximum(account.units + np.where(traded > 0.0, trade, 0.0), 0.0),
    )
    return after, Fills(notional, traded * spec.fee, traded * slippage)


def _depth(volume: np.ndarray | None, spec: TradingSpec) -> np.ndarray | None:
    """Units (E, A) that a bar can fill; None where orders of any size fill."""
    if spec.impact == 0:
        return None
    if volume is None:
        raise DataError(f"impact = {spec.impact:g} needs the volume (E, A) of the bars that orders fill in, got None")
    return volume


def step(account: Account, weights: np.ndarray | None, prices: StepPrices, spec: TradingSpec) -> Step:
    """One bar in the life of the accounts: trade towards `weights` (E, A), or hold everything (None), then mark."""
    if weights is None:
        nothing = np.zeros_like(account.units)
        after, fills = account, Fills(nothing, nothing, nothing)
    else:
        after, fills = rebalance(account, weights, prices.fill, spec, prices.volume)
    return Step(after, fills, account.equity(prices.close), after.equity(prices.next_close), prices)
