"""What came out of a backtest: a `Backtest`, step by step, and everything that derives from its steps.

Takes: arrays of N steps, made by `ftray.trading.backtest`. Gives: weights, costs, profit per asset, fills, measures.

Legend: N steps in time order, G segments, A assets.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from ftray import stats

if TYPE_CHECKING:
    import pandas as pd

ORDER, END, RUINED = "order", "end", "ruin"
"""Causes of a fill: an order, the end of a segment, ruin."""


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What happened at each of N steps; money in quote currency, of the account whose growth is chained.

    A step begins at the close of its deciding bar, which is the next bar's opening: then its orders fill. It ends at
    that next bar's close: then its equity is marked. So `filled_at` is one bar after the deciding bar's opening time,
    and `times` are two. Chained money and units are those of an account that takes what a segment left into the next.

    bars: (N,) the deciding bars.
    filled_at: (N,) datetime64, when orders were decided and filled.
    times: (N,) datetime64, when equity was marked.
    segment_starts: (G,) index of each segment's first step.
    returns: (N,) of equity, close to close, net of fees and slippage.
    equity: (N,) at the close after each step; before the first it is `initial_cash`.
    units: (N, A) held at that close.
    closes: (N, A) prices of that close.
    notional: (N, A) bought (+) or sold (−), at the fill price before slippage.
    prices: (N, A) at which orders filled, before slippage.
    fees, slippage: (N, A) what orders cost.
    ruined: (N,) bool, whether the account is below `MarketRules.ruin` at that close; it is then closed into cash.
    initial_cash: what the account started with.
    bars_per_year: what ratios are annualised by.
    symbols: the A assets.
    """

    bars: np.ndarray
    filled_at: np.ndarray
    times: np.ndarray
    segment_starts: np.ndarray
    returns: np.ndarray
    equity: np.ndarray
    units: np.ndarray
    closes: np.ndarray
    notional: np.ndarray
    prices: np.ndarray
    fees: np.ndarray
    slippage: np.ndarray
    ruined: np.ndarray
    initial_cash: float
    bars_per_year: float
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.bars)

    @functools.cached_property
    def equity_before(self) -> np.ndarray:
        """Equity at the close that each step begins at. Shape: (N,)."""
        return np.concatenate(([self.initial_cash], self.equity[:-1]))

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Holdings at each step's end, as fractions of equity. Shape: (N, A)."""
        return self.units * self.closes / self.equity[:, None]

    @functools.cached_property
    def turnover(self) -> np.ndarray:
        """Traded notional as a fraction of the equity before. Shape: (N,)."""
        return np.abs(self.notional).sum(axis=1) / self.equity_before

    @functools.cached_property
    def costs(self) -> np.ndarray:
        """Fees and slippage as a fraction of the equity before. Shape: (N,)."""
        return (self.fees + self.slippage).sum(axis=1) / self.equity_before

    @functools.cached_property
    def gross_returns(self) -> np.ndarray:
        """What the same trades would have returned without fees and slippage. Shape: (N,).

        Costs lower equity by exactly their amount, so a step's gross return is its net return plus `costs`. Trades stay
        the same fractions of equity: what a step saves is in the equity that the next one begins with.
        """
        return self.returns + self.costs

    @functools.cached_property
    def closed(self) -> np.ndarray:
        """Whether a step's end closes all holdings into cash: by its segment's end or by ruin. Shape: (N,)."""
        ends = self.ruined.copy()
        ends[[*(self.segment_starts[1:] - 1), -1]] = True
        return ends

    @functools.cached_property
    def profit(self) -> np.ndarray:
        """What each asset gained in each step, net of its costs. Shape: (N, A); the sum is the equity's change."""
        value = self.units * self.closes
        carried = np.zeros_like(value)
        carried[1:] = np.where(self.closed[:-1, None], 0.0, value[:-1])
        return value - carried - self.notional - self.fees - self.slippage

    def fills(self) -> "pd.DataFrame":
        """Everything that was bought or sold, a row each, in time order: an asset's rows add up to its profit.

        Columns: time (when it filled), symbol, cause, notional, units, price (before slippage), fee and slippage. A
        sale's notional and units are negative. The cause of an order is `order`. A holding that a segment's `end` or
        `ruin` closed into cash, at that step's close and without cost, is a row, too, and no order.
        """
        import pandas as pd

        ordered, left = np.nonzero(self.notional), np.nonzero(self.closed[:, None] & (self.units > 0))
        nothing = np.zeros(len(left[0]))
        symbols = np.asarray(self.symbols, dtype=object)
        orders = {
            "time": self.filled_at[ordered[0]],
            "symbol": symbols[ordered[1]],
            "cause": np.full(len(ordered[0]), ORDER, dtype=object),
            "notional": self.notional[ordered],
            "units": self.notional[ordered] / self.prices[ordered],
            "price": self.prices[ordered],
            "fee": self.fees[ordered],
            "slippage": self.slippage[ordered],
        }
        closings = {
            "time": self.times[left[0]],
            "symbol": symbols[left[1]],
            "cause": np.where(self.ruined[left[0]], RUINED, END).astype(object),
            "notional": -(self.units * self.closes)[left],
            "units": -self.units[left],
            "price": self.closes[left],
            "fee": nothing,
            "slippage": nothing,
        }
        in_order = np.argsort(np.concatenate([2 * ordered[0], 2 * left[0] + 1]), kind="stable")
        return pd.DataFrame({name: np.concatenate([orders[name], closings[name]])[in_order] for name in orders})

    def performance(self, benchmark: "Backtest | None" = None) -> dict[str, float]:
        """Its measures by name: total_return, annual_return, volatility, sharpe, max_drawdown, turnover and more.

        Ratios are annualised, drawdowns are fractions, `n_bars` and `drawdown_length` count bars. The fees are a sum of
        fractions of the equity that they were paid from. See `ftray.stats.performance` for all of them.

        benchmark: equal weight on the same bars; with it come the measures relative to it, like `active_sharpe`: see
            `ftray.stats.active_performance`.
        """
        return self._own_performance() | ({} if benchmark is None else self._active_performance(benchmark))

    def _active_performance(self, benchmark: "Backtest") -> dict[str, float]:
        return stats.active_performance(
            self.returns,
            benchmark.returns,
            self.bars_per_year,
            exposure=self.weights.sum(axis=1),
            benchmark_exposure=benchmark.weights.sum(axis=1),
            segment_starts=self.segment_starts,
        )

    def _own_performance(self) -> dict[str, float]:
        return stats.performance(
            self.returns,
            self.bars_per_year,
            turnover=self.turnover,
            fees=self.fees.sum(axis=1) / self.equity_before,
            exposure=self.weights.sum(axis=1),
            orders=np.count_nonzero(self.notional, axis=1),
            segment_starts=self.segment_starts,
        )
