"""A backtest goes through a window in time order and over no hole in it, and benchmarks pay the same costs."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import DataError, SpecError, TrainingError
from ftray.features import Dataset
from ftray.trading import MarketRules, backtest, benchmarks, buy_and_hold, cannot_trade, cash, equal_weight
from ftray.trading.prices import tradable_segments
from tests.trading.conftest import PIECES

FREE = MarketRules(fee=0, slippage=0, min_order=0, fill="close")


def everything(symbol: int, n_assets: int = 3):
    return lambda bars, _: np.tile(np.eye(n_assets)[symbol], (len(bars), 1))


def test_bars_are_all_the_tradable_ones_in_time_order(broken_dataset: Dataset):
    window = broken_dataset.windows.train
    result = backtest(everything(0), broken_dataset, window, FREE)
    expected = [bar for s in tradable_segments(broken_dataset, window) for bar in range(s.start, s.stop - 1)]
    assert result.bars.tolist() == expected
    assert len(result) == len(result.returns) == len(result.equity) == len(result.weights) == len(expected)


def test_orders_fill_at_the_next_bars_opening_and_equity_is_marked_at_its_close(broken_dataset: Dataset):
    """Candles are named by their opening times, and a bar lasts an interval."""
    window, candles = broken_dataset.windows.train, broken_dataset.candles
    for fill in ("open", "close"):
        result = backtest(everything(0), broken_dataset, window, dataclasses.replace(FREE, fill=fill))
        np.testing.assert_array_equal(result.filled_at, candles.times[result.bars + 1])
        np.testing.assert_array_equal(result.times, candles.times[result.bars + 1] + candles.interval)
        known = candles.column(fill)[result.bars + (fill == "open")]
        np.testing.assert_array_equal(result.prices, known)
        np.testing.assert_array_equal(result.closes, candles.column("close")[result.bars + 1])


def test_a_free_account_in_one_asset_returns_what_the_asset_returns(broken_dataset: Dataset):
    result = backtest(everything(1), broken_dataset, broken_dataset.windows.train, FREE)
    closes = broken_dataset.candles.column("close")[:, 1]
    np.testing.assert_allclose(result.returns, closes[result.bars + 1] / closes[result.bars] - 1, atol=1e-12)
    np.testing.assert_allclose(result.equity, FREE.initial_cash * np.cumprod(1 + result.returns), rtol=1e-9)


def test_each_segment_starts_in_cash_and_pays_to_get_in_again(broken_dataset: Dataset):
    rules = MarketRules()
    result = buy_and_hold(broken_dataset, broken_dataset.windows.train, rules, broken_dataset.layout.symbols[0])
    assert len(result.segment_starts) > 1
    np.testing.assert_array_equal(np.flatnonzero(result.turnover), result.segment_starts)
    np.testing.assert_allclose(result.weights[:, 0], 1, atol=1e-9)


def test_a_policy_sees_its_bar_and_its_own_account(dataset: Dataset):
    seen = []

    def policy(bars, accounts):
        seen.append((bars.copy(), accounts.copy()))
        return np.full((len(bars), 3), 0.25)

    result = backtest(policy, dataset, dataset.windows.validation, MarketRules())
    assert [bars[0] for bars, _ in seen] == result.bars.tolist()
    first, second = seen[0][1], seen[1][1]
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, [[1, 0, 0, 0]])
    np.testing.assert_allclose(second[0, 1:], result.weights[0], rtol=1e-6)


def test_cash_earns_nothing_and_costs_nothing(dataset: Dataset):
    window, rules = dataset.windows.validation, MarketRules()
    never = backtest(lambda bars, _: np.zeros((len(bars), 3)), dataset, window, rules)
    for result in (never, cash(dataset, window, rules)):
        performance = result.performance()
        assert (result.equity == rules.initial_cash).all() and not result.notional.any()
        for name in ("total_return", "sharpe", "max_drawdown", "turnover", "fees", "exposure"):
            assert performance[name] == 0.0, name


def test_the_performance_is_that_of_the_equity(dataset: Dataset):
    result = backtest(everything(2), dataset, dataset.windows.validation, MarketRules())
    performance = result.performance()
    assert performance["total_return"] == pytest.approx(result.equity[-1] / result.initial_cash - 1)
    assert performance["exposure"] == pytest.approx(result.weights.sum(axis=1).mean())
    assert performance["n_bars"] == len(result)


def test_equal_weight_has_no_active_return_and_cash_has_none_that_is_defined(dataset: Dataset):
    window, rules = dataset.windows.validation, MarketRules()
    held = benchmarks(dataset, window, rules)
    even = held["equal_weight"].performance(held["equal_weight"])
    zeros = ("active_sharpe", "active_skewness", "information_ratio", "alpha", "alpha_error")
    assert [even[name] for name in zeros] == [0.0] * 5 and even["beta"] == 1.0
    one = held[f"hold_{dataset.layout.symbols[0]}"].performance(held["equal_weight"])
    assert np.isfinite(list(one.values())).all() and one["active_sharpe"] != 0.0
    cash = backtest(lambda bars, _: np.zeros((len(bars), 3)), dataset, window, rules)
    assert all(np.isnan(cash.performance(held["equal_weight"])[name]) for name in (*zeros, "beta"))


def test_half_of_equal_weight_has_hardly_any_active_return(dataset: Dataset):
    """It earns half of what equal weight does, with its costs: what is left comes from rebalancing against cash."""
    window = dataset.windows.validation
    even = equal_weight(dataset, window, FREE, every=1)
    half = backtest(lambda bars, _: np.full((len(bars), 3), 1 / 6), dataset, window, FREE)
    performance = half.performance(even)
    assert performance["beta"] == pytest.approx(0.5, abs=1e-9) and performance["alpha"] == pytest.approx(0.0, abs=1e-9)
    assert performance["sharpe"] == pytest.approx(even.performance()["sharpe"], rel=1e-6)
    np.testing.assert_allclose(half.returns, even.returns * 0.5, atol=1e-12)


def test_round_trips_count_what_was_traded_in_units_of_the_mean_equity(dataset: Dataset):
    rules = MarketRules(min_order=0)
    result = backtest(
        lambda bars, _: np.tile((bars % 2)[:, None] / 3, (1, 3)), dataset, dataset.windows.validation, rules
    )
    before = np.concatenate(([result.initial_cash], result.equity[:-1]))
    expected = np.abs(result.notional).sum() / (2 * before.mean())
    assert result.performance()["round_trips"] == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(len(result) / 2, rel=0.05)  # all in at one bar, all out at the next
    held = buy_and_hold(dataset, dataset.windows.validation, rules, dataset.layout.symbols[0])
    assert 0.2 < held.performance()["round_trips"] < 1.0  # bought once, never sold


def test_equal_weight_rebalances_daily_at_the_same_costs(dataset: Dataset):
    window, rules = dataset.windows.validation, MarketRules(min_order=0)
    daily = equal_weight(dataset, window, rules)
    assert np.flatnonzero(daily.turnover).tolist() == list(range(0, len(daily), 24))
    np.testing.assert_allclose(daily.fees, rules.fee * np.abs(daily.notional))
    hourly = equal_weight(dataset, window, rules, every=1)
    assert hourly.fees.sum() > daily.fees.sum()


@pytest.mark.parametrize("run", [equal_weight, lambda *arguments: buy_and_hold(*arguments, "AVAX")])
def test_nothing_is_carried_over_the_seam_between_two_windows(jumping_dataset: Dataset, run):
    result = run(jumping_dataset, PIECES, MarketRules())
    late, early = (run(jumping_dataset, piece, MarketRules()) for piece in PIECES)
    assert result.bars.tolist() == [*early.bars, *late.bars]
    np.testing.assert_array_equal(result.returns, [*early.returns, *late.returns])
    assert np.abs(result.returns).max() < 0.2
    assert result.equity[-1] == pytest.approx(early.equity[-1] * late.equity[-1] / result.initial_cash)


def test_costs_can_only_hurt(dataset: Dataset):
    window = dataset.windows.validation
    expensive = dataclasses.replace(FREE, fee=0.01)
    assert equal_weight(dataset, window, expensive).equity[-1] < equal_weight(dataset, window, FREE).equity[-1]


def test_a_ruined_account_is_closed_and_its_metrics_stay_finite(broken_dataset: Dataset):
    """Costs of 20 % on every change of mind: ruin within 30 bars, nothing but cash from there to the segment's end."""
    window = broken_dataset.windows.train
    rules = MarketRules(fee=0.1, slippage=0.1, min_order=0)
    result = backtest(lambda bars, _: np.tile((bars % 2)[:, None], (1, 3)), broken_dataset, window, rules)
    ends = [*result.segment_starts[1:], len(result)]
    capital = rules.initial_cash
    for start, end in zip(result.segment_starts, ends, strict=True):
        equity = result.equity[start:end]
        ruined = int(np.argmax(equity < 0.01 * capital))
        assert 10 < ruined < 30
        assert (equity[ruined:] == equity[ruined]).all()
        assert not result.notional[start + ruined + 1 : end].any()
        assert not result.weights[start + ruined + 1 : end].any()
        capital = equity[-1]
    assert np.isfinite(list(result.performance().values())).all()
    assert result.performance()["total_return"] < -0.999


def test_a_ruined_account_shows_its_policy_nothing_but_cash(dataset: Dataset):
    seen = []

    def spendthrift(bars, accounts):
        seen.append(accounts[0])
        return np.tile((bars % 2)[:, None], (1, 3))

    rules = MarketRules(fee=0.1, slippage=0.1, min_order=0)
    result = backtest(spendthrift, dataset, dataset.windows.validation, rules)
    ruined = int(np.argmax(result.equity < rules.ruin))
    np.testing.assert_array_equal(seen[ruined + 1 :], np.tile([1, 0, 0, 0], (len(seen) - ruined - 1, 1)))


def test_large_orders_leave_a_market_with_depth_at_worse_prices(dataset: Dataset):
    """The same policy with more money grows less, and one without impact grows alike whatever its size."""
    window = dataset.windows.validation

    def growth(impact: float, cash: float) -> float:
        rules = MarketRules(impact=impact, initial_cash=cash, min_order=0)
        result = equal_weight(dataset, window, rules, every=1)
        return result.equity[-1] / cash

    assert growth(0.01, 1e7) < growth(0.01, 1e4) < growth(0.0, 1e4) == pytest.approx(growth(0.0, 1e7))


def test_buy_and_hold_buys_once(dataset: Dataset):
    result = buy_and_hold(dataset, dataset.windows.validation, MarketRules(), dataset.layout.symbols[1])
    assert np.count_nonzero(result.notional) == 1
    assert result.notional[0, 1] > 0


def test_benchmarks_are_named_alike_wherever_they_come_from(dataset: Dataset):
    window, rules = dataset.windows.validation, MarketRules(fee=0.001)
    found = benchmarks(dataset, window, rules)
    assert list(found) == ["equal_weight", "cash", "hold_AAVE", "hold_AVAX", "hold_BTC"]
    np.testing.assert_array_equal(found["equal_weight"].equity, equal_weight(dataset, window, rules).equity)
    np.testing.assert_array_equal(found["hold_BTC"].equity, buy_and_hold(dataset, window, rules, "BTC").equity)


@pytest.mark.parametrize("min_order", [10.0, 3_320.0, 3_325.0, 9_960.0, 9_980.0, 10_000.0])
@pytest.mark.parametrize("fee", [0.0, 0.0025])
def test_the_benchmarks_that_cannot_trade_are_those_that_never_do(dataset: Dataset, min_order, fee):
    rules = MarketRules(min_order=min_order, fee=fee)
    found = benchmarks(dataset, dataset.windows.validation, rules)
    idle = {name for name, one in found.items() if not one.notional.any()}
    assert set(cannot_trade(rules, dataset.layout.symbols)) | {"cash"} == idle


def test_a_benchmark_that_cannot_trade_says_by_how_much_its_orders_are_too_small():
    rules = MarketRules(min_order=2_000, fee=0.0, slippage=0.0)
    assert cannot_trade(rules, "ABCDEFG") == {
        "equal_weight": "orders of 1,428.57 after costs are below min_order 2,000"
    }
    assert cannot_trade(MarketRules(), "ABCDEFG") == {}


def test_a_smallest_order_above_the_initial_cash_is_refused_with_both():
    with pytest.raises(SpecError, match=r"min_order: must be at most initial_cash = 500, .* got 600"):
        MarketRules(initial_cash=500, min_order=600)
    assert MarketRules(initial_cash=500, min_order=500)


def test_an_unknown_symbol_is_refused_with_the_nearest_one(dataset: Dataset):
    symbol = dataset.layout.symbols[0]
    with pytest.raises(DataError, match=f"did you mean '{symbol}'"):
        buy_and_hold(dataset, dataset.windows.validation, MarketRules(), symbol + "X")


def test_a_policy_that_diverged_is_refused(dataset: Dataset):
    with pytest.raises(TrainingError, match="finite"):
        backtest(lambda bars, _: np.full((len(bars), 3), np.nan), dataset, dataset.windows.validation, MarketRules())


def test_the_future_changes_nothing_before_it(dataset: Dataset):
    """Prices after a bar have no say in what happened up to it."""
    (window,) = dataset.windows.validation
    middle = window.start + 100
    values = dataset.candles.values.copy()
    values[middle + 1 :] *= 3.0
    changed = dataclasses.replace(dataset, candles=dataclasses.replace(dataset.candles, values=values))
    policy = lambda bars, accounts: accounts[:, ::-1][:, :3] + np.sin(bars)[:, None]  # noqa: E731
    one, other = (backtest(policy, which, window, MarketRules()) for which in (dataset, changed))
    known = one.bars < middle
    np.testing.assert_array_equal(one.equity[known], other.equity[known])
    assert one.equity[-1] != other.equity[-1]


def restless(bars: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Another mix of the assets at every bar."""
    return np.abs(np.sin(np.arange(1, 4) * bars[:, None] / 7.0)) / 4.0


@pytest.mark.parametrize("rules", [MarketRules(), MarketRules(fill="close", impact=0.01)])
def test_the_profits_of_the_assets_add_up_to_that_of_the_account(broken_dataset: Dataset, rules):
    result = backtest(restless, broken_dataset, broken_dataset.windows.train, rules)
    assert len(result.segment_starts) > 1
    np.testing.assert_allclose(result.profit.sum(axis=1), result.equity - result.equity_before, atol=1e-7)
    fills = result.fills()
    by_asset = -fills.eval("notional + fee + slippage").groupby(fills["symbol"]).sum()
    np.testing.assert_allclose(by_asset[list(result.symbols)], result.profit.sum(axis=0), atol=1e-6)
    assert by_asset.sum() == pytest.approx(result.equity[-1] - result.initial_cash, abs=0.005)


def test_fills_say_when_at_what_price_and_at_what_cost(broken_dataset: Dataset):
    rules = MarketRules(fee=0.002, slippage=0.001)
    result = backtest(restless, broken_dataset, broken_dataset.windows.train, rules)
    fills, candles = result.fills(), broken_dataset.candles
    orders = fills[fills["cause"] == "order"]
    assert len(orders) == np.count_nonzero(result.notional)
    opening = candles.column("open")[np.searchsorted(candles.times, orders["time"].to_numpy())]
    assets = [result.symbols.index(symbol) for symbol in orders["symbol"]]
    np.testing.assert_array_equal(orders["price"], opening[np.arange(len(orders)), assets])
    np.testing.assert_allclose(orders["notional"], orders["units"] * orders["price"], rtol=1e-12)
    np.testing.assert_allclose(orders["fee"], 0.002 * orders["notional"].abs())
    np.testing.assert_allclose(orders["slippage"], 0.001 * orders["notional"].abs())
    assert fills["time"].is_monotonic_increasing


def test_what_a_segment_leaves_is_closed_at_its_last_close_without_cost(broken_dataset: Dataset):
    symbol = broken_dataset.layout.symbols[0]
    result = buy_and_hold(broken_dataset, broken_dataset.windows.train, MarketRules(), symbol)
    fills = result.fills()
    assert fills["cause"].tolist() == ["order", "end"] * len(result.segment_starts)
    ends = fills[fills["cause"] == "end"]
    lasts = [*(result.segment_starts[1:] - 1), len(result) - 1]
    np.testing.assert_array_equal(ends["time"], result.times[lasts])
    np.testing.assert_allclose(-ends["notional"], result.equity[lasts], rtol=1e-12)
    assert not ends[["fee", "slippage"]].to_numpy().any()
    np.testing.assert_allclose(fills["units"].to_numpy().reshape(-1, 2).sum(axis=1), 0.0, atol=1e-9)


def test_the_profits_of_a_ruined_account_still_add_up(broken_dataset: Dataset):
    rules = MarketRules(fee=0.1, slippage=0.1, min_order=0)
    policy = lambda bars, _: np.tile((bars % 2)[:, None], (1, 3))  # noqa: E731
    result = backtest(policy, broken_dataset, broken_dataset.windows.train, rules)
    assert "ruin" in set(result.fills()["cause"])
    assert result.profit.sum() == pytest.approx(result.equity[-1] - result.initial_cash, abs=0.005)


def test_gross_returns_are_those_of_the_same_trades_without_costs(dataset: Dataset):
    """An account that never runs out of cash trades the same fractions of its equity, whatever they cost."""
    window = dataset.windows.validation
    paid = backtest(restless, dataset, window, MarketRules(fee=0.002, slippage=0.001, fill="close", min_order=0))
    free = backtest(restless, dataset, window, FREE)
    assert paid.equity[-1] < 0.95 * free.equity[-1]
    np.testing.assert_allclose(paid.gross_returns, free.returns, atol=1e-12)
    cost = (paid.fees + paid.slippage).sum(axis=1)
    np.testing.assert_allclose(paid.gross_returns, (paid.equity + cost) / paid.equity_before - 1.0, atol=1e-12)
