"""Performance measures against values worked out by hand and formulas written another way."""

import json
import math
import statistics

import empyrical
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ftray import stats

HOURS = 8_760.0
RATIOS = [stats.sharpe, stats.sortino, stats.calmar, stats.tail_ratio, stats.hit_rate]
MOMENTS = [stats.skewness, stats.kurtosis]
OF_RETURNS = [stats.annual_return, stats.volatility, stats.sharpe, stats.sortino, stats.calmar, stats.performance]
ALONE = [stats.hit_rate, stats.tail_ratio, *MOMENTS, stats.equity_curve]
NO_RETURNS = [
    ([], "at least one bar"),
    ([[0.1, 0.2]], "shape"),
    ([0.1, math.nan], "must be finite, got nan at bar 1"),
    ([0.1, math.inf], "must be finite, got inf at bar 1"),
    ([0.1, -1.5], "must be at least -1 .* got -1.5 at bar 1"),
]
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


@pytest.mark.parametrize(
    "name",
    [
        "total_return",
        "annual_return",
        "volatility",
        "sharpe",
        "sortino",
        "calmar",
        "max_drawdown",
        "tail_ratio",
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_measures_agree_with_empyrical(name, seed):
    returns = np.random.default_rng(seed).standard_t(4, 2_000) * 0.005
    theirs = {
        "total_return": empyrical.cum_returns_final(returns),
        "annual_return": empyrical.annual_return(returns, annualization=HOURS),
        "volatility": empyrical.annual_volatility(returns, annualization=HOURS),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=HOURS),
        "sortino": empyrical.sortino_ratio(returns, annualization=HOURS),
        "calmar": empyrical.calmar_ratio(returns, annualization=HOURS),
        "max_drawdown": -empyrical.max_drawdown(returns),
        "tail_ratio": empyrical.tail_ratio(returns),
    }
    assert stats.performance(returns, HOURS)[name] == pytest.approx(theirs[name], rel=1e-9)


def test_moments_agree_with_scipy(returns):
    skewed = returns + 2 * np.maximum(returns, 0.01)
    assert stats.skewness(skewed) == pytest.approx(scipy.stats.skew(skewed))
    assert stats.kurtosis(skewed) == pytest.approx(scipy.stats.kurtosis(skewed, fisher=False))


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=50), st.floats(0.01, 1.9))
def test_ratios_and_moments_ignore_the_scale_of_returns(returns, scale):
    returns = np.round(returns, 6)
    for measure in (*MOMENTS, stats.hit_rate, stats.tail_ratio):
        assert measure(scale * returns) == pytest.approx(measure(returns), rel=1e-6, abs=1e-6)


def test_the_hit_rate_leaves_bars_without_a_position_alone():
    assert stats.hit_rate([0.0, 0.0, 0.1, 0.2, -0.1, 0.0, 0.3]) == 0.75


def test_the_tail_ratio_by_hand():
    # 101 returns from -0.05 to 0.15: the 5th percentile is -0.04, the 95th 0.14
    assert stats.tail_ratio(np.linspace(-0.05, 0.15, 101)) == pytest.approx(3.5)


def test_an_exposure_matched_benchmark_is_as_exposed_as_the_strategy(returns):
    exposure = np.random.default_rng(1).uniform(0, 1, len(returns))
    matched = stats.exposure_matched(returns, np.full(len(returns), 0.8), exposure)
    np.testing.assert_allclose(matched, returns * exposure.mean() / 0.8)
    assert stats.sharpe(matched, HOURS) == pytest.approx(stats.sharpe(returns, HOURS))
    assert stats.volatility(matched, HOURS) < stats.volatility(returns, HOURS)


def test_a_strategy_in_cash_is_matched_by_cash_and_so_is_a_benchmark_in_cash(returns):
    ones, zeros = np.ones(len(returns)), np.zeros(len(returns))
    assert not stats.exposure_matched(returns, ones, zeros).any()
    assert not stats.exposure_matched(zeros, zeros, ones).any()
    with pytest.raises(ValueError, match="exposure must have one value per return: 3000, got 2"):
        stats.exposure_matched(returns, ones, [0.5, 0.5])


@pytest.mark.parametrize("measure", RATIOS)
def test_a_flat_equity_has_the_ratio_zero(measure):
    assert _call(measure, np.zeros(50)) == 0.0


@pytest.mark.parametrize("measure", [stats.sharpe, stats.sortino, stats.calmar])
def test_rounding_noise_of_a_steady_growth_makes_no_ratio(measure):
    equity = 1.001 ** np.arange(200)
    assert measure(equity[1:] / equity[:-1] - 1, HOURS) == 0.0


def test_without_variation_the_moments_are_those_of_a_normal():
    equity = 1.001 ** np.arange(200)
    for returns in (np.zeros(50), [0.1], equity[1:] / equity[:-1] - 1):
        assert (stats.skewness(returns), stats.kurtosis(returns)) == (0.0, 3.0)


@pytest.mark.parametrize("returns", [[0.0], [0.1], [-0.1], [-1.0], [0.0] * 9, [0.1] * 9, [1e-300, -1e-300]])
def test_every_measure_of_a_short_or_flat_run_is_finite(returns):
    ones = np.ones(len(returns))
    measures = stats.performance(returns, HOURS, turnover=ones, fees=0.01 * ones, exposure=ones, orders=ones)
    assert math.isnan(measures.pop("sharpe_newey_west")) == (len(returns) == 1)
    assert all(math.isfinite(value) for value in measures.values()), measures


def test_a_single_return_has_no_volatility():
    assert stats.volatility([0.1], HOURS) == stats.sharpe([0.1], HOURS) == 0.0


def test_losing_everything_is_a_return_and_a_drawdown_of_one():
    measures = stats.performance([0.1, -1.0, 0.0], HOURS)
    assert (measures["total_return"], measures["annual_return"], measures["max_drawdown"]) == (-1.0, -1.0, 1.0)


def test_a_short_lucky_run_stays_finite_when_annualised():
    assert all(math.isfinite(value) for value in stats.performance([0.5, -1e-9, 0.5], 105_120).values())


@pytest.mark.parametrize("measure", [*OF_RETURNS, *ALONE])
@pytest.mark.parametrize(("bad", "words"), NO_RETURNS)
def test_illegal_returns_are_refused(measure, bad, words):
    with pytest.raises(ValueError, match=words):
        _call(measure, bad)


@pytest.mark.parametrize("measure", OF_EQUITY)
@pytest.mark.parametrize(
    ("bad", "words"),
    [([], "at least one bar"), ([1.0, math.nan], "got nan at bar 1"), ([0.0, 1.0], "above 0"), ([1.0, -1.0], "below")],
)
def test_illegal_equity_is_refused(measure, bad, words):
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
    assert measures["hit_rate"] == stats.hit_rate(returns)
    assert measures["tail_ratio"] == stats.tail_ratio(returns)
    assert {type(value) for value in measures.values()} == {float}
    assert json.loads(json.dumps(measures, allow_nan=False)) == measures


def test_performance_adds_costs_exposure_and_trades_where_given():
    measures = stats.performance(
        [0.1, -0.1], 10, turnover=[1.0, 0.5], fees=[0.01, 0.005], exposure=[1.0, 0.5], orders=[2, 1]
    )
    assert (measures["turnover"], measures["fees"], measures["exposure"]) == pytest.approx((7.5, 0.015, 0.75))
    assert measures["n_trades"] == 3.0
    assert measures["break_even_fee"] == stats.break_even_fee([0.1, -0.1], [1.0, 0.5], [0.01, 0.005])
    added = {"turnover", "fees", "exposure", "n_trades", "break_even_fee"}
    assert not added & stats.performance([0.1, -0.1], 10).keys()
    with pytest.raises(ValueError, match="turnover must have one value per return: 2, got 1"):
        stats.performance([0.1, -0.1], 10, turnover=[1.0])


def _call(measure, returns):
    return measure(returns) if measure in ALONE else measure(returns, HOURS)
