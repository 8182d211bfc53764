"""Performance measures against values worked out by hand and formulas written another way."""

import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftray import stats

HOURS = 8_760.0
RATIOS = [stats.sharpe, stats.sortino, stats.calmar]
OF_RETURNS = [stats.annual_return, stats.volatility, *RATIOS, stats.performance]
OF_EQUITY = [stats.total_return, stats.drawdowns, stats.max_drawdown, stats.drawdown_length]


@pytest.fixture
def returns():
    return np.random.default_rng(0).normal(2e-4, 0.01, 3_000)


def test_sharpe_by_hand():
    # mean 0.01, deviations ±0.02 and 0: s = √(0.0008 / 2) = 0.02, so 0.5 per period and 0.5 · √16 = 2 per year
    assert stats.sharpe([0.03, -0.01, 0.01], 16) == pytest.approx(2.0)


def test_sortino_by_hand():
    # mean 0.01; squared losses 0.0004 over 4 returns: 0.01 per period; the ratio is 1 · √4
    assert stats.sortino([0.03, -0.02, 0.02, 0.01], 4) == pytest.approx(2.0)


def test_calmar_by_hand():
    # 1 → 1.5 → 0.75 → 1.5: up 50 % in one year of three periods, after a drawdown of one half
    assert stats.calmar([0.5, -0.5, 1.0], 3) == pytest.approx(1.0)


def test_annual_return_compounds():
    assert stats.annual_return([0.1, 0.1], 4) == pytest.approx(1.1**4 - 1)
    assert stats.annual_return([0.5, -0.5], 2) == pytest.approx(-0.25)


def test_volatility_is_that_of_the_sample(returns):
    assert stats.volatility(returns, HOURS) == pytest.approx(statistics.stdev(returns.tolist()) * math.sqrt(HOURS))


def test_sharpe_and_sortino_agree_with_formulas_written_in_plain_python(returns):
    plain = returns.tolist()
    mean = statistics.fmean(plain)
    downside = math.sqrt(sum(r * r for r in plain if r < 0) / len(plain))
    assert stats.sharpe(returns, HOURS) == pytest.approx(mean / statistics.stdev(plain) * math.sqrt(HOURS))
    assert stats.sortino(returns, HOURS) == pytest.approx(mean / downside * math.sqrt(HOURS))


def test_drawdown_by_hand():
    equity = [100.0, 120.0, 90.0, 96.0, 120.0, 150.0, 75.0, 80.0, 149.0]
    assert stats.max_drawdown(equity) == pytest.approx(0.5)
    assert stats.drawdown_length(equity) == 3
    assert stats.total_return(equity) == pytest.approx(0.49)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60))
def test_max_drawdown_is_the_worst_of_all_pairs(equity):
    worst = max(1 - low / high for i, high in enumerate(equity) for low in equity[i:])
    assert stats.max_drawdown(equity) == pytest.approx(worst, abs=1e-12)


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=40))
def test_drawdown_length_is_the_longest_stretch_below_a_peak(equity):
    longest = current = 0
    for bar, value in enumerate(equity):
        current = current + 1 if value < max(equity[: bar + 1]) else 0
        longest = max(longest, current)
    assert stats.drawdown_length(equity) == longest


def test_measures_are_of_returns_and_not_of_money(returns):
    small, large = (stats.equity_curve(returns, initial) for initial in (1.0, 1e7))
    assert stats.max_drawdown(large) == pytest.approx(stats.max_drawdown(small))
    assert stats.total_return(large) == pytest.approx(stats.total_return(small))


def test_sharpe_and_sortino_ignore_leverage(returns):
    for measure in (stats.sharpe, stats.sortino):
        assert measure(3 * returns, HOURS) == pytest.approx(measure(returns, HOURS))


@pytest.mark.parametrize("measure", RATIOS)
def test_a_flat_equity_has_the_ratio_zero(measure):
    assert measure(np.zeros(50), HOURS) == 0.0


@pytest.mark.parametrize("measure", RATIOS)
def test_rounding_noise_of_a_steady_growth_makes_no_ratio(measure):
    equity = 1.001 ** np.arange(200)
    assert measure(equity[1:] / equity[:-1] - 1, HOURS) == 0.0


def test_a_single_return_has_no_volatility():
    assert stats.volatility([0.1], HOURS) == stats.sharpe([0.1], HOURS) == 0.0


def test_losing_everything_is_a_return_and_a_drawdown_of_one():
    measures = stats.performance([0.1, -1.0, 0.0], HOURS)
    assert (measures["total_return"], measures["annual_return"], measures["max_drawdown"]) == (-1.0, -1.0, 1.0)


def test_a_short_lucky_run_stays_finite_when_annualised():
    assert all(math.isfinite(value) for value in stats.performance([0.5, -1e-9, 0.5], 105_120).values())


@pytest.mark.parametrize("measure", OF_RETURNS)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "at least one bar"),
        ([[0.1, 0.2]], "shape"),
        ([0.1, math.nan], "must be finite, got nan at bar 1"),
        ([0.1, math.inf], "must be finite, got inf at bar 1"),
        ([0.1, -1.5], "must be at least -1 .* got -1.5 at bar 1"),
    ],
)
def test_returns_that_are_none_are_refused(measure, bad, words):
    with pytest.raises(ValueError, match=words):
        measure(bad, HOURS)


@pytest.mark.parametrize("measure", OF_EQUITY)
@pytest.mark.parametrize(
    ("bad", "words"),
    [([], "at least one bar"), ([1.0, math.nan], "got nan at bar 1"), ([0.0, 1.0], "above 0"), ([1.0, -1.0], "below")],
)
def test_equity_that_is_none_is_refused(measure, bad, words):
    with pytest.raises(ValueError, match=words):
        measure(bad)


@pytest.mark.parametrize("measure", OF_RETURNS)
@pytest.mark.parametrize("periods", [0, -1, math.nan])
def test_periods_per_year_must_be_positive(measure, periods):
    with pytest.raises(ValueError, match="periods_per_year must be a positive number"):
        measure([0.1, 0.2], periods)


def test_performance_holds_every_measure_as_a_plain_float(returns):
    measures = stats.performance(returns, HOURS)
    equity = stats.equity_curve(returns)
    assert measures["sharpe"] == stats.sharpe(returns, HOURS)
    assert measures["calmar"] == stats.calmar(returns, HOURS)
    assert measures["max_drawdown"] == stats.max_drawdown(equity)
    assert measures["total_return"] == pytest.approx(np.prod(1 + returns) - 1)
    assert measures["win_rate"] == np.mean(returns > 0)
    assert {type(value) for value in measures.values()} == {float}
    assert json.loads(json.dumps(measures, allow_nan=False)) == measures


def test_performance_adds_costs_and_exposure_where_given():
    measures = stats.performance([0.1, -0.1], 10, turnover=[1.0, 0.5], fees=[25.0, 12.5], exposure=[1.0, 0.5])
    assert (measures["turnover"], measures["fees"], measures["exposure"]) == (7.5, 37.5, 0.75)
    assert not {"turnover", "fees", "exposure"} & stats.performance([0.1, -0.1], 10).keys()
    with pytest.raises(ValueError, match="turnover must have one value per return: 2, got 1"):
        stats.performance([0.1, -0.1], 10, turnover=[1.0])
