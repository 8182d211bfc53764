"""One bar of an account: orders, marks and ruin. Training, backtests and benchmarks all advance their accounts here.

Takes: accounts, target weights, prices, the market's rules; no dataset. Gives: a `Step`. Money is float64.

A step is decided after the close of bar t. Its orders fill at the open of t+1 (or at the close of t itself, as
`MarketRules.fill` says), and its equity is marked at the close of t+1. An account whose equity is then below
`MarketRules.ruin` is ruined: it is closed into cash at that close, and none of its later orders is sent.

Legend: E accounts, A assets.
"""

import numpy as np

from ftray.trading.account import rebalance
from ftray.trading.books import Account, Fills, Step, StepPrices
from ftray.trading.rules import MarketRules


def advance(account: Account, weights: np.ndarray | None, prices: StepPrices, rules: MarketRules) -> Step:
    """The next bar of E accounts, which trade towards `weights` (E, A), or hold what they have (None)."""
    equity_before = account.equity(prices.close)
    if weights is None:
        nothing = np.zeros_like(account.units)
        after, fills = account, Fills(nothing, nothing, nothing)
    else:
        was_ruined = equity_before < rules.ruin
        if np.count_nonzero(was_ruined):  # a fraction of what any() takes, at every bar of every account
            weights = np.where(was_ruined[:, None], 0.0, weights)
        after, fills = rebalance(account, weights, prices.fill, rules, prices.volume)
    equity = after.equity(prices.next_close)
    return Step(after, fills, equity_before, equity, prices, equity < rules.ruin)
