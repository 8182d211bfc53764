"""A backtest is an honest account of a window: in time order, without holes, with the benchmarks at the same costs."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import DataError, TrainingError
from ftray.features import Dataset
from ftray.trading import TradingSpec, backtest, buy_and_hold, equal_weight
from ftray.trading.prices import tradable_segments

FREE = TradingSpec(fee=0, slippage=0, min_order=0, fill="close")


def everything(symbol: int, n_assets: int = 3):
    return lambda bars, _: np.tile(np.eye(n_assets)[symbol], (len(bars), 1))


def test_bars_are_all_the_tradable_ones_in_time_order(broken_dataset: Dataset):
    window = broken_dataset.windows.train
    result = backtest(everything(0), broken_dataset, window, FREE)
    expected = [bar for s in tradable_segments(broken_dataset, window) for bar in range(s.start, s.stop - 1)]
    assert result.bars.tolist() == expected
    assert len(result) == len(result.returns) == len(result.equity) == len(result.weights) == len(expected)
    np.testing.assert_array_equal(result.times, broken_dataset.candles.times[expected])


def test_a_free_account_in_one_asset_returns_what_the_asset_returns(broken_dataset: Dataset):
    result = backtest(everything(1), broken_dataset, broken_dataset.windows.train, FREE)
    closes = broken_dataset.candles.column("close")[:, 1]
    np.testing.assert_allclose(result.returns, closes[result.bars + 1] / closes[result.bars] - 1, atol=1e-12)
    np.testing.assert_allclose(result.equity, FREE.initial_cash * np.cumprod(1 + result.returns), rtol=1e-9)


def test_each_segment_starts_in_cash_and_pays_to_get_in_again(broken_dataset: Dataset):
    spec = TradingSpec()
    result = buy_and_hold(broken_dataset, broken_dataset.windows.train, spec, broken_dataset.layout.symbols[0])
    assert len(result.segment_starts) > 1
    np.testing.assert_array_equal(np.flatnonzero(result.turnover), result.segment_starts)
    np.testing.assert_allclose(result.weights[:, 0], 1, atol=1e-9)


def test_a_policy_sees_its_bar_and_its_own_account(dataset: Dataset):
    seen = []

    def policy(bars, accounts):
        seen.append((bars.copy(), accounts.copy()))
        return np.full((len(bars), 3), 0.25)

    result = backtest(policy, dataset, dataset.windows.validation, TradingSpec())
    assert [bars[0] for bars, _ in seen] == result.bars.tolist()
    first, second = seen[0][1], seen[1][1]
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, [[1, 0, 0, 0]])
    np.testing.assert_allclose(second[0, 1:], result.weights[0], rtol=1e-6)


def test_cash_earns_nothing_and_costs_nothing(dataset: Dataset):
    result = backtest(lambda bars, _: np.zeros((len(bars), 3)), dataset, dataset.windows.test, TradingSpec())
    performance = result.performance()
    for name in ("total_return", "sharpe", "max_drawdown", "turnover", "fees", "exposure"):
        assert performance[name] == 0.0, name


def test_the_performance_is_that_of_the_equity(dataset: Dataset):
    result = backtest(everything(2), dataset, dataset.windows.validation, TradingSpec())
    performance = result.performance()
    assert performance["total_return"] == pytest.approx(result.equity[-1] / result.initial_cash - 1)
    assert performance["exposure"] == pytest.approx(result.weights.sum(axis=1).mean())
    assert performance["n_bars"] == len(result)


def test_equal_weight_rebalances_daily_at_the_same_costs(dataset: Dataset):
    window, spec = dataset.windows.validation, TradingSpec(min_order=0)
    daily = equal_weight(dataset, window, spec)
    assert np.flatnonzero(daily.turnover).tolist() == list(range(0, len(daily), 24))
    np.testing.assert_allclose(daily.fees, spec.fee * np.abs(daily.notional).sum(axis=1))
    hourly = equal_weight(dataset, window, spec, every=1)
    assert hourly.fees.sum() > daily.fees.sum()


def test_costs_can_only_hurt(dataset: Dataset):
    window = dataset.windows.validation
    dear = dataclasses.replace(FREE, fee=0.01)
    assert equal_weight(dataset, window, dear).equity[-1] < equal_weight(dataset, window, FREE).equity[-1]


def test_buy_and_hold_buys_once(dataset: Dataset):
    result = buy_and_hold(dataset, dataset.windows.validation, TradingSpec(), dataset.layout.symbols[1])
    assert np.count_nonzero(result.notional) == 1
    assert result.notional[0, 1] > 0


def test_an_unknown_symbol_is_refused_with_the_nearest_one(dataset: Dataset):
    symbol = dataset.layout.symbols[0]
    with pytest.raises(DataError, match=f"did you mean '{symbol}'"):
        buy_and_hold(dataset, dataset.windows.validation, TradingSpec(), symbol + "X")


def test_a_policy_that_diverged_is_refused(dataset: Dataset):
    with pytest.raises(TrainingError, match="finite"):
        backtest(lambda bars, _: np.full((len(bars), 3), np.nan), dataset, dataset.windows.validation, TradingSpec())


def test_the_future_changes_nothing_before_it(dataset: Dataset):
    """Prices after a bar have no say in what happened up to it."""
    window, middle = dataset.windows.validation, dataset.windows.validation.start + 100
    values = dataset.candles.values.copy()
    values[middle + 1 :] *= 3.0
    changed = dataclasses.replace(dataset, candles=dataclasses.replace(dataset.candles, values=values))
    policy = lambda bars, accounts: accounts[:, ::-1][:, :3] + np.sin(bars)[:, None]  # noqa: E731
    one, other = (backtest(policy, which, window, TradingSpec()) for which in (dataset, changed))
    known = one.bars < middle
    np.testing.assert_array_equal(one.equity[known], other.equity[known])
    assert one.equity[-1] != other.equity[-1]
