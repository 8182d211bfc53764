"""Episodes: where they may start, where they end, and how they went.

Takes: tradable segments, finished steps. Gives: starts with their ends, random or chosen, and an episode's metrics.

Legend: E accounts, N possible starts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftray.errors import DataError, SpecError
from ftray.market import Segment
from ftray.numeric import whole_numbers, written
from ftray.trading.books import Step


class EpisodeStarts:
    """All bars at which an episode may start: each is equally likely, so every bar of the window is trained on."""

    def __init__(self, segments: Sequence[Segment], episode_bars: int):
        self.bars = np.concatenate([np.arange(segment.start, segment.stop - 1) for segment in segments])
        last_bar = np.concatenate([np.full(len(segment) - 1, segment.stop - 1) for segment in segments])
        self.ends = np.minimum(self.bars + episode_bars, last_bar)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends (n,) of n random episodes; the bar at the end is seen, not decided on."""
        sampled = rng.integers(len(self.bars), size=n)
        return self.bars[sampled], self.ends[sampled]

    def at(self, bars: Any) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of episodes that start at given bars. Raises: DataError for a bar that is not tradable."""
        bars = whole_numbers(bars, "bars to start at")
        found = np.minimum(np.searchsorted(self.bars, bars), len(self.bars) - 1)
        if (self.bars[found] != bars).any():
            wrong = bars[self.bars[found] != bars][0]
            raise DataError(f"an episode must start at a tradable bar of its window, got bar {wrong}")
        return bars, self.ends[found]


def chosen_start(options: Mapping[str, Any] | None, name: str, meaning: str) -> Any:
    """The one option that a reset takes; None if it is not given. Raises: SpecError for any other."""
    if options is None:
        return None
    if not isinstance(options, Mapping) or set(options) - {name}:
        raise SpecError(f"reset knows the option `{name}` alone, {meaning}; got {written(options)}")
    return options.get(name)


class EpisodeStatistics:
    """Running metrics of E episodes, kept in a few sums so that no history is stored."""

    def __init__(self, n_accounts: int, initial_cash: float, bars_per_year: float):
        self._initial_cash, self._bars_per_year = initial_cash, bars_per_year
        self._n_bars = np.zeros(n_accounts, dtype=np.int64)
        self._sums = np.zeros((4, n_accounts))  # returns, squared returns, turnover, costs
        self._equity = np.full(n_accounts, initial_cash)
        self._peak = np.full(n_accounts, initial_cash)
        self._drawdown = np.zeros(n_accounts)

    def get_state(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, f"_{name}").copy() for name in ("n_bars", "sums", "equity", "peak", "drawdown")}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `get_state` gave."""
        for name in self.get_state():
            setattr(self, f"_{name}", np.array(state[name]))

    def restart(self, which: np.ndarray) -> None:
        """Forget the episodes of the accounts in the mask `which` (E,)."""
        self._n_bars[which] = 0
        self._sums[:, which] = 0.0
        self._equity[which] = self._peak[which] = self._initial_cash
        self._drawdown[which] = 0.0

    def add(self, step: Step) -> None:
        returns = step.equity / step.equity_before - 1.0
        returns_sum, squares_sum, turnover_sum, costs_sum = self._sums
        self._n_bars += 1
        returns_sum += returns
        squares_sum += returns * returns
        turnover_sum += step.turnover
        costs_sum += (step.fills.fees + step.fills.slippage).sum(axis=1) / step.equity_before
        self._equity = step.equity.copy()
        np.maximum(self._peak, step.equity, out=self._peak)
        np.maximum(self._drawdown, 1.0 - step.equity / self._peak, out=self._drawdown)

    def performance(self) -> dict[str, np.ndarray]:
        """Metrics (E,) of the episodes so far; turnover and costs are fractions of equity, summed over the episode.

        The Sharpe ratio is annualised, with the sample variance (n − 1); without movement it is 0.
        """
        returns, squares, turnover, costs = self._sums
        n = np.maximum(self._n_bars, 2)
        mean = returns / n
        variance = np.maximum(squares - n * mean * mean, 0.0) / (n - 1)
        moves = variance > np.finfo(np.float64).eps * squares
        ratio = np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=moves)
        return {
            "total_return": self._equity / self._initial_cash - 1.0,
            "sharpe": ratio * np.sqrt(self._bars_per_year),
            "max_drawdown": self._drawdown.copy(),
            "turnover": turnover.copy(),
            "costs": costs.copy(),
            "n_bars": self._n_bars.copy(),
        }
