"""Drawdowns, rolling ratios and months against values worked out by hand and in another way."""

import itertools

import empyrical
import numpy as np
import pandas as pd
import pytest

from ftray import stats
from ftray.stats import Drawdown

HOURS = 8_760.0


@pytest.fixture
def returns():
    return np.random.default_rng(0).normal(2e-4, 0.01, 3_000)


def test_drawdowns_come_deepest_first_from_high_to_high():
    equity = [10.0, 9.0, 10.0, 12.0, 12.0, 6.0, 7.0, 13.0, 12.0, 12.5]
    first, second, third = stats.top_drawdowns(equity)
    assert first == Drawdown(peak=4, trough=5, end=7, depth=0.5)  # from the last of two equal highs
    assert second[:3] == (0, 1, 2) and second.depth == pytest.approx(0.1)
    assert third[:3] == (7, 8, None)
    assert stats.top_drawdowns(equity, 1) == [first]
    assert stats.top_drawdowns([1.0, 2.0, 2.0, 3.0]) == stats.top_drawdowns([1.0]) == []


def test_the_deepest_drawdown_is_the_maximum_drawdown_and_none_overlaps_another(returns):
    equity = stats.equity_curve(returns)
    found = stats.top_drawdowns(equity, 1_000)
    assert found[0].depth == stats.max_drawdown(equity)
    spans = sorted((one.peak, one.end or len(equity)) for one in found)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert sum(end - peak - 1 for peak, end in spans) == np.count_nonzero(stats.drawdowns(equity))


def test_a_rolling_sharpe_ratio_is_that_of_its_window_alone(returns):
    found = stats.rolling_sharpe(returns, HOURS, 720, np.arange(3_000))
    assert np.isnan(found[:719]).all() and not np.isnan(found[719:]).any()
    for end in (719, 1_500, 2_999):
        assert found[end] == stats.sharpe(returns[end - 719 : end + 1], HOURS)
    rolled = pd.Series(returns).rolling(720)
    assert found[719:] == pytest.approx((rolled.mean() / rolled.std() * HOURS**0.5).to_numpy()[719:])
    with pytest.raises(ValueError, match="at least 2 bars"):
        stats.rolling_sharpe(returns, HOURS, 1, [5])


def test_months_compound_and_multiply_to_the_whole(returns):
    times = pd.date_range(
        "2023-11-30 01:00", periods=len(returns), freq="h"
    )  # closes: the first bar opened at midnight
    months, found = stats.monthly_returns(times, returns)
    assert months.astype(str).tolist() == ["2023-11", "2023-12", "2024-01", "2024-02", "2024-03", "2024-04"]
    assert np.prod(1 + found) == pytest.approx(np.prod(1 + returns))
    assert found[0] == pytest.approx(np.prod(1 + returns[:24]) - 1)  # the close at midnight is November's
    opened = pd.Series(returns, index=times - pd.Timedelta("1h"))
    expected = empyrical.aggregate_returns(opened.resample("D").apply(lambda day: (1 + day).prod() - 1), "monthly")
    assert found == pytest.approx(expected.to_numpy())


def test_months_without_bars_are_left_out():
    times = np.array(["2024-01-05", "2024-03-05"], dtype="datetime64[s]")
    months, found = stats.monthly_returns(times, [0.1, 0.2])
    assert months.astype(str).tolist() == ["2024-01", "2024-03"] and found == pytest.approx([0.1, 0.2])
    with pytest.raises(ValueError, match="shape of returns"):
        stats.monthly_returns(times, [0.1])
