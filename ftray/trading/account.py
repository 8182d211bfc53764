"""Orders of accounts: what a policy's actions want, and what trading towards it costs.

Takes: accounts, actions or target weights, prices, the market's rules. Gives: the accounts after trading, and what
trading cost. Every trade of ftray, in training, backtests and benchmarks, is made here. Money is float64.

Legend: E accounts, A assets. Rows never mix: a batch of E accounts gives what E single accounts give, to the last bit.
"""

import numpy as np
from numpy.typing import ArrayLike

from ftray.errors import DataError, TrainingError
from ftray.numeric import real_numbers
from ftray.trading.books import Account, Fills
from ftray.trading.rules import MarketRules

LARGEST = 1e300
"""An action beyond this is refused like an infinite one: the sum of two would be infinite."""
AXES = {1: "(assets,)", 2: "(accounts, assets)", 3: "(accounts, alternatives, assets)"}
"""Of actions, by how many there are."""


def check_actions(actions: ArrayLike, *shape: int) -> np.ndarray:
    """Actions as an array of that shape, which ends with A: fewer numbers would be broadcast.

    Every action that comes in is checked here; `target_weights` checks that they are finite.

    Raises: TrainingError for another shape, and for what is no array of real numbers.
    """
    found = real_numbers(actions, "actions", TrainingError)
    if found.shape != shape:
        raise TrainingError(f"actions must have the shape {AXES[len(shape)]} = {shape}, got {found.shape}")
    return found


def target_weights(actions: np.ndarray) -> np.ndarray:
    """Long-only portfolio weights (E, A) of actions (E, A); what they leave of 1 stays in cash.

    A negative action means none of that asset; actions that sum to more than 1 are scaled down to 1.

    >>> target_weights(np.array([[0.5, -1.0], [3.0, 1.0]]))
    array([[0.5 , 0.  ],
           [0.75, 0.25]])
    """
    actions = np.ascontiguousarray(actions, dtype=np.float64)
    if not np.abs(actions).max(initial=0.0) <= LARGEST:
        wrong = actions[~(np.abs(actions) <= LARGEST)][0]
        raise TrainingError(f"actions must be finite numbers, got {wrong}; have the policy's weights diverged?")
    wanted = np.maximum(actions, 0.0)
    return wanted / np.maximum(1.0, wanted.sum(axis=1, keepdims=True))


def outside_no_trade(actions: np.ndarray, held: np.ndarray, width: float) -> np.ndarray:
    """Actions that trade no further than to the edge of a zone of `width` around each wanted weight.

    An asset whose holding is within `width` of its wanted weight keeps its holding; any other is traded to the nearest
    edge of the zone. Under costs in proportion to what is traded, the best policy has this form (Davis and Norman 1990,
    Portfolio Selection with Transaction Costs, Mathematics of Operations Research 15(4)).

    Shape: actions (E, A) as `target_weights` reads them; held (E, A), holdings as fractions of equity → (E, A).

    >>> outside_no_trade(np.array([[0.5, 0.3]]), held=np.array([[0.45, 0.0]]), width=0.1)
    array([[0.45, 0.2 ]])
    """
    if width == 0.0:
        return actions
    wanted = target_weights(actions)
    traded = np.clip(held, wanted - width, wanted + width)
    return traded / np.maximum(1.0, traded.sum(axis=1, keepdims=True))


def slippage_rates(orders: np.ndarray, depth: np.ndarray | None, rules: MarketRules) -> float | np.ndarray:
    """What orders slip, as a fraction of notional: the fixed part plus impact × √(order / volume of its bar).

    Shape: orders, depth (E, A) in units of the asset → (E, A); one number without depth.
    An order in a bar without trades slips the fixed part alone: it does not fill.

    The square root is what large samples of orders show, whatever the market and the period they are counted over:
    Tóth et al. 2011, Anomalous Price Impact and the Critical Nature of Liquidity; on Bitcoin, Donier and Bonart 2015,
    A Million Metaorder Analysis of Market Impact. Almgren et al. 2005, Direct Estimation of Equity Market Impact, fit
    an exponent of 0.6.
    """
    if depth is None:
        return rules.slippage
    share = np.divide(np.abs(orders), depth, out=np.zeros_like(orders), where=depth > 0)
    return rules.slippage + rules.impact * np.sqrt(share)


def rebalance(
    account: Account, weights: np.ndarray, prices: np.ndarray, rules: MarketRules, volume: np.ndarray | None = None
) -> tuple[Account, Fills]:
    """Trade towards `weights` (E, A), fractions of the equity before costs, at `prices` (E, A).

    Sells come first; buys are scaled down by one factor per account when cash after costs does not pay for all of them.
    Equity falls by exactly the fees and slippage, and cash never goes below zero. In a market with depth
    (`impact`), no order is larger than `volume` (E, A), the units that its bar traded; the rest does not fill.
    """
    depth = _depth(volume, rules)
    # In units, not in money: a weight of zero then sells exactly what is held.
    trade = weights * account.equity(prices)[:, None] / prices - account.units
    if depth is not None:
        trade = np.clip(trade, -depth, depth)
    notional = trade * prices
    notional[np.abs(notional) < rules.min_order] = 0.0

    slippage = slippage_rates(trade, depth, rules)
    rate = rules.fee + slippage
    buys, sells = np.maximum(notional, 0.0), np.maximum(-notional, 0.0)
    available = account.cash + (sells * (1.0 - rate)).sum(axis=1)
    price_of_buys = (buys * (1.0 + rate)).sum(axis=1)
    short = price_of_buys > available
    if np.count_nonzero(short):  # as in `advance`
        affordable = np.divide(available, price_of_buys, out=np.ones_like(available), where=short)[:, None]
        buys *= affordable
        buys[buys < rules.min_order] = 0.0
        trade = np.where(notional > 0.0, trade * affordable, trade)
        notional = buys - sells
        slippage = slippage_rates(trade, depth, rules)  # smaller orders slip less: what that saves stays in cash
        price_of_buys = (buys * (1.0 + (rules.fee + slippage))).sum(axis=1)

    traded = np.abs(notional)
    after = Account(
        np.maximum(available - price_of_buys, 0.0),  # the last bit of a subtraction must not become a debt
        np.maximum(account.units + np.where(traded > 0.0, trade, 0.0), 0.0),
    )
    return after, Fills(notional, traded * rules.fee, traded * slippage)


def _depth(volume: np.ndarray | None, rules: MarketRules) -> np.ndarray | None:
    """Units (E, A) that a bar can fill; None where orders of any size fill."""
    if rules.impact == 0:
        return None
    if volume is None:
        raise DataError(f"impact = {rules.impact:g} needs the volume (E, A) of the bars that orders fill in, got None")
    return volume
