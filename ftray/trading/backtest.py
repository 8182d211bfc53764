"""Backtests: a policy over a whole window, bar by bar, and the benchmarks that every policy must be compared with.

Takes: a policy (a function of bars and accounts), a dataset, a window of it or the windows of a fold, `MarketRules`.
Gives: a `Backtest`.

Nothing spans a gap in time or a seam between windows: each segment starts all in cash with `initial_cash` and is
marked, not sold, at its last close; the segments' growth is chained. All segments run as one batch of accounts. What a
ruined account has left stays in cash to the end of its segment (see `advance`).

Legend: N steps in time order, G segments, E accounts, A assets.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ftray import stats
from ftray.errors import DataError
from ftray.features import Dataset
from ftray.market import Pieces
from ftray.metrics import CASH, EQUAL_WEIGHT
from ftray.spec import nearest
from ftray.trading.account import target_weights
from ftray.trading.advance import advance
from ftray.trading.books import Account, Step
from ftray.trading.prices import PriceTape, tradable_segments
from ftray.trading.rules import MarketRules

PolicyFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(bars (E,) int64, accounts (E, 1 + A) float32) → actions (E, A)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What happened at each of N steps; money in quote currency, of the account whose growth is chained.

    bars: (N,) the deciding bars.
    times: (N,) datetime64, their opening times.
    segment_starts: (G,) index of each segment's first step.
    returns: (N,) of equity, close to close.
    equity: (N,) at the close after each step; before the first it is `initial_cash`.
    weights: (N, A) holdings as fractions of equity at that close.
    notional: (N, A) bought (+) or sold (−).
    turnover: (N,) traded notional as a fraction of equity.
    fees, slippage: (N,) what trading cost.
    initial_cash: what the account started with.
    bars_per_year: what ratios are annualised by.
    symbols: the A assets.
    """

    bars: np.ndarray
    times: np.ndarray
    segment_starts: np.ndarray
    returns: np.ndarray
    equity: np.ndarray
    weights: np.ndarray
    notional: np.ndarray
    turnover: np.ndarray
    fees: np.ndarray
    slippage: np.ndarray
    initial_cash: float
    bars_per_year: float
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.bars)

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
            fees=self.fees / np.concatenate(([self.initial_cash], self.equity[:-1])),
            exposure=self.weights.sum(axis=1),
            orders=np.count_nonzero(self.notional, axis=1),
            segment_starts=self.segment_starts,
        )


def backtest(policy: PolicyFn, dataset: Dataset, window: Pieces, rules: MarketRules) -> Backtest:
    """Lets a policy decide at every tradable bar of a window, or of several.

    Each run of bars without a gap in time starts all in cash; the growth of the runs is chained.

    policy: bars (E,) int64 and accounts (E, 1 + A) float32 (cash and holdings as fractions of equity) → actions (E, A);
        E is how many such runs are at once on their way. For one of `load_policy`:
        `lambda bars, accounts: policy(dataset.table.observation(bars, accounts))`.
    window: `dataset.windows.validation`, or any other window of the dataset.

    Raises: DataError if no bar is tradable; RefusedError for a bar of the test window, which `ftray promote` alone
        reads; TrainingError for actions that are not finite.

    >>> import ftray, numpy as np
    >>> market = ftray.SimulatorSpec(n_assets=2, n_bars=3_000)
    >>> dataset = ftray.build_dataset(market, ftray.WindowsSpec(), ftray.FeatureSpec())
    >>> half_in_cash = lambda bars, accounts: np.full((len(bars), 2), 0.25)
    >>> result = ftray.backtest(half_in_cash, dataset, dataset.windows.validation, ftray.MarketRules())
    >>> len(result), result.weights[0].round(2).tolist(), sorted(result.performance())[:3]
    (390, [0.25, 0.25], ['annual_return', 'best_bar', 'break_even_fee'])
    """
    return _run(lambda _, bars, accounts: policy(bars, accounts), dataset, window, rules)


def equal_weight(dataset: Dataset, window: Pieces, rules: MarketRules, *, every: int | None = None) -> Backtest:
    """The same fraction of equity in each asset, rebalanced every so many bars; None: once a day."""
    every = max(1, round(dataset.candles.bars_per_day)) if every is None else every
    weight = 1.0 / dataset.layout.n_assets

    def decide(k: int, bars: np.ndarray, _: np.ndarray) -> np.ndarray | None:
        return np.full((len(bars), dataset.layout.n_assets), weight) if k % every == 0 else None

    return _run(decide, dataset, window, rules)


def buy_and_hold(dataset: Dataset, window: Pieces, rules: MarketRules, symbol: str) -> Backtest:
    """Everything into one asset at each segment's first bar, and nothing after."""
    symbols = dataset.layout.symbols
    if symbol not in symbols:
        raise DataError(f"no asset {symbol!r}; {nearest(symbol, symbols)}")
    everything = np.eye(len(symbols))[symbols.index(symbol)]

    def decide(k: int, bars: np.ndarray, _: np.ndarray) -> np.ndarray | None:
        return np.tile(everything, (len(bars), 1)) if k == 0 else None

    return _run(decide, dataset, window, rules)


def cash(dataset: Dataset, window: Pieces, rules: MarketRules) -> Backtest:
    """Nothing but cash: what a policy has that never trades."""
    return _run(lambda k, bars, accounts: None, dataset, window, rules)


def benchmarks(dataset: Dataset, window: Pieces, rules: MarketRules) -> dict[str, Backtest]:
    """What everyone could have had on a window: `equal_weight`, `cash`, and `hold_BTC` and so on for each asset.

    The names are the same wherever a benchmark is stored or printed. `cannot_trade` says which of them stay in cash.
    """
    held = {hold_name(symbol): buy_and_hold(dataset, window, rules, symbol) for symbol in dataset.layout.symbols}
    return {EQUAL_WEIGHT: equal_weight(dataset, window, rules), CASH: cash(dataset, window, rules), **held}


def hold_name(symbol: str) -> str:
    """The name of the benchmark that buys one asset: `hold_BTC`."""
    return f"hold_{symbol}"


def cannot_trade(rules: MarketRules, symbols: Sequence[str]) -> dict[str, str]:
    """The benchmarks whose orders would all be below `min_order`, and so are dropped: name → why.

    They would show the return of cash, as if the market had not moved.

    >>> cannot_trade(MarketRules(min_order=2_000), ["AAVE", "AVAX", "BTC", "LINK", "ETH", "LTC"])
    {'equal_weight': 'orders of 1,661.68 after costs are below min_order 2,000'}
    """
    parts = {EQUAL_WEIGHT: len(symbols), **{hold_name(symbol): 1 for symbol in symbols}}
    orders = {name: rules.initial_cash / n / (1.0 + rules.cost) for name, n in parts.items()}
    return {
        name: f"orders of {order:,.2f} after costs are below min_order {rules.min_order:,g}"
        for name, order in orders.items()
        if order < rules.min_order
    }


Decision = Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]
"""(steps since the segment's start, bars, accounts) → actions, or None to hold everything as it is."""


def _run(decide: Decision, dataset: Dataset, window: Pieces, rules: MarketRules) -> Backtest:
    segments = tradable_segments(dataset, window)
    lengths = np.array([len(segment) - 1 for segment in segments])
    starts = np.cumsum(lengths) - lengths
    bars = np.concatenate([segment.start + np.arange(n) for segment, n in zip(segments, lengths, strict=True)])
    before, after, turnover = np.empty((3, len(bars)))
    weights, notional, fees, slippage = np.empty((4, len(bars), dataset.layout.n_assets))
    for at, result in _steps(decide, PriceTape(dataset.candles, rules), bars, starts, lengths, rules):
        before[at], after[at], turnover[at] = result.equity_before, result.equity, result.turnover
        weights[at] = result.account.units * result.prices.next_close / result.equity[:, None]
        notional[at], fees[at], slippage[at] = result.fills.notional, result.fills.fees, result.fills.slippage

    growth = after[starts + lengths - 1] / rules.initial_cash
    chained = np.repeat(np.concatenate(([1.0], np.cumprod(growth)[:-1])), lengths)
    return Backtest(
        bars=bars,
        times=dataset.candles.times[bars],
        segment_starts=starts,
        returns=after / before - 1.0,
        equity=after * chained,
        weights=weights,
        notional=notional * chained[:, None],
        turnover=turnover,
        fees=fees.sum(axis=1) * chained,
        slippage=slippage.sum(axis=1) * chained,
        initial_cash=rules.initial_cash,
        bars_per_year=dataset.candles.bars_per_year,
        symbols=dataset.candles.symbols,
    )


def _steps(
    decide: Decision, tape: PriceTape, bars: np.ndarray, starts: np.ndarray, lengths: np.ndarray, rules: MarketRules
) -> Iterator[tuple[np.ndarray, Step]]:
    """The k-th steps of all segments that are that long, made at once; with their indices (E,) among the N steps."""
    longest_first = np.argsort(-lengths, kind="stable")  # the segments still running are then the first rows
    account = Account.all_cash(len(lengths), tape.n_assets, rules.initial_cash)
    for k in range(int(lengths.max())):
        running = int((lengths > k).sum())
        account = Account(account.cash[:running], account.units[:running])
        at = starts[longest_first[:running]] + k
        prices = tape.step(bars[at])
        actions = decide(k, bars[at], account.fractions(prices.close))
        result = advance(account, None if actions is None else target_weights(actions), prices, rules)
        yield at, result
        account = result.next_account
