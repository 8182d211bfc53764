"""Backtests: a policy over a whole window, bar by bar, and the benchmarks that every policy must be compared with.

Takes: a policy (a function of bars and accounts), a dataset, a window of it or the windows of a fold, `MarketRules`.
Gives: a `Backtest`.

Nothing spans a gap in time or a seam between windows: each segment starts all in cash with `initial_cash` and is
marked, not sold, at its last close; the segments' growth is chained. All segments run as one batch of accounts. What a
ruined account has left stays in cash to the end of its segment (see `advance`).

Legend: N steps in time order, G segments, E accounts, A assets.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ftray.errors import DataError
from ftray.features import Dataset
from ftray.market import Pieces
from ftray.metrics import CASH, EQUAL_WEIGHT
from ftray.numeric import whole_number
from ftray.spec import nearest
from ftray.trading.account import check_actions, target_weights
from ftray.trading.advance import advance
from ftray.trading.books import Account, Step
from ftray.trading.outcome import Backtest
from ftray.trading.prices import PriceTape, tradable_segments
from ftray.trading.rules import MarketRules

PolicyFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(bars (E,) int64, accounts (E, 1 + A) float32) → actions (E, A)."""


def backtest(policy: PolicyFn, dataset: Dataset, window: Pieces, rules: MarketRules) -> Backtest:
    """Lets a policy decide at every tradable bar of a window, or of several.

    Each run of bars without a gap in time starts all in cash; the growth of the runs is chained.

    policy: bars (E,) int64 and accounts (E, 1 + A) float32 (cash and holdings as fractions of equity) → actions (E, A);
        E is how many such runs are at once on their way. For one of `load_policy`:
        `lambda bars, accounts: policy(dataset.table.observation(bars, accounts))`.
    window: `dataset.windows.validation`, or any other window of the dataset.

    Raises: DataError if no bar is tradable; RefusedError for a bar of the test window, which `ftray promote` alone
        reads; TrainingError for actions of another shape, or that are not finite.

    >>> import ftray, numpy as np
    >>> market = ftray.SimulatorSpec(n_assets=2, n_bars=3_000)
    >>> dataset = ftray.build_dataset(market, ftray.WindowsSpec(), ftray.FeatureSpec())
    >>> half_in_cash = lambda bars, accounts: np.full((len(bars), 2), 0.25)
    >>> result = ftray.backtest(half_in_cash, dataset, dataset.windows.validation, ftray.MarketRules())
    >>> len(result), result.weights[0].round(2).tolist(), sorted(result.performance())[:3]
    (390, [0.25, 0.25], ['annual_return', 'best_bar', 'break_even_fee'])
    """
    n_assets = dataset.layout.n_assets

    def decide(_: int, bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        return check_actions(policy(bars, accounts), len(bars), n_assets)

    return _run(decide, dataset, window, rules)


def equal_weight(dataset: Dataset, window: Pieces, rules: MarketRules, *, every: int | None = None) -> Backtest:
    """The same fraction of equity in each asset, rebalanced every so many bars; None: once a day."""
    daily = max(1, round(dataset.candles.bars_per_day))
    every = daily if every is None else whole_number(every, "`every`, a number of bars,", low=1)
    weight = 1.0 / dataset.layout.n_assets

    def decide(k: int, bars: np.ndarray, _: np.ndarray) -> np.ndarray | None:
        return np.full((len(bars), dataset.layout.n_assets), weight) if k % every == 0 else None

    return _run(decide, dataset, window, rules)


def buy_and_hold(dataset: Dataset, window: Pieces, rules: MarketRules, symbol: str) -> Backtest:
    """Everything into one asset at each segment's first bar, and nothing after."""
    symbols = dataset.layout.symbols
    if symbol not in symbols:
        raise DataError(f"no asset {symbol!r}; {nearest(str(symbol), symbols)}")
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
    before, after, ruined = np.empty(len(bars)), np.empty(len(bars)), np.empty(len(bars), dtype=bool)
    units, closes, notional, prices, fees, slippage = np.empty((6, len(bars), dataset.layout.n_assets))
    for at, result in _steps(decide, PriceTape(dataset.candles, rules), bars, starts, lengths, rules):
        before[at], after[at], ruined[at] = result.equity_before, result.equity, result.ruined
        units[at], closes[at], prices[at] = result.account.units, result.prices.next_close, result.prices.fill
        notional[at], fees[at], slippage[at] = result.fills.notional, result.fills.fees, result.fills.slippage

    growth = after[starts + lengths - 1] / rules.initial_cash
    chained = np.repeat(np.concatenate(([1.0], np.cumprod(growth)[:-1])), lengths)
    candles = dataset.candles
    return Backtest(
        bars=bars,
        filled_at=candles.times[bars] + candles.interval,
        times=candles.times[bars] + 2 * candles.interval,
        segment_starts=starts,
        returns=after / before - 1.0,
        equity=after * chained,
        units=units * chained[:, None],
        closes=closes,
        notional=notional * chained[:, None],
        prices=prices,
        fees=fees * chained[:, None],
        slippage=slippage * chained[:, None],
        ruined=ruined,
        initial_cash=rules.initial_cash,
        bars_per_year=candles.bars_per_year,
        symbols=candles.symbols,
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
