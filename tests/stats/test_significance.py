"""How much of a Sharpe ratio is luck: the numbers of the papers, and what must hold whatever the numbers.

The papers' examples: Bailey and López de Prado 2014, The Deflated Sharpe Ratio ("A numerical example"); 2012, The
Sharpe Ratio Efficient Frontier; Bailey, Borwein, López de Prado and Zhu 2014, Pseudo-Mathematics and Financial
Charlatanism.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from ftray import stats

STRATEGY = {"sharpe": 2.5, "n_bars": 1_250, "periods_per_year": 250, "skewness": -3.0, "kurtosis": 10.0}
FUND = {"sharpe": 0.458 * math.sqrt(12), "n_bars": 24, "periods_per_year": 12}
SHARPES = st.floats(-4.0, 4.0)
TRIALS = st.floats(1.0, 1e6)


def moments(draw_skewness: float, above: float) -> dict[str, float]:
    return {"skewness": draw_skewness, "kurtosis": 1.0 + draw_skewness**2 + above}


SHAPES = st.builds(moments, st.floats(-3.0, 3.0), st.floats(0.1, 20.0))


@pytest.mark.parametrize(("years", "expected"), [(1, 2.53), (3, 1.46)])
def test_the_luck_line_of_a_hundred_trials(years, expected):
    assert stats.luck_line(100, years) == pytest.approx(expected, abs=0.005)


def test_ten_skill_less_trials_promise_a_sharpe_of_1_57():
    assert stats.luck_line(10, years=1) == pytest.approx(1.57, abs=0.005)


def test_five_years_carry_no_more_than_45_trials():
    assert stats.minimum_backtest_length(45) == pytest.approx(5.0, abs=0.01)
    assert stats.minimum_backtest_length(46) > 5.0


@pytest.mark.parametrize(
    ("n_trials", "shape", "expected"),
    [(100, {}, 0.9004), (46, {}, 0.9505), (88, {"skewness": 0.0, "kurtosis": 3.0}, 0.9505)],
)
def test_the_deflated_sharpe_ratio_of_the_paper(n_trials, shape, expected):
    # the trials' Sharpe ratios have a variance of 1/2 per year
    answer = stats.deflated_sharpe(**(STRATEGY | shape), n_trials=n_trials, deviation=math.sqrt(0.5))
    assert answer == pytest.approx(expected, abs=5e-5)
    per_day = stats.expected_maximum_sharpe(100, math.sqrt(0.5)) / math.sqrt(250)
    assert per_day == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [({}, 0.982), ({"skewness": -2.448, "kurtosis": 10.164}, 0.913)],
)
def test_the_probabilistic_sharpe_ratio_of_the_paper(shape, expected):
    assert stats.probabilistic_sharpe(**FUND, **shape) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("periods", "shape", "years"),
    [
        (250, {}, 2.73),
        (52, {}, 2.83),
        (12, {}, 3.24),
        (12, {"skewness": -0.72, "kurtosis": 5.78}, 4.99),
    ],
)
def test_the_minimum_track_record_of_the_paper(periods, shape, years):
    bars = stats.minimum_track_record(2.0, periods, benchmark=1.0, **shape)
    assert bars / periods == pytest.approx(years, abs=0.005)


@pytest.mark.parametrize("n_trials", [2, 3, 5, 20, 100, 1_000])
def test_the_expected_maximum_is_that_of_sampled_normals(n_trials):
    sampled = np.random.default_rng(0).standard_normal((4_000_000 // n_trials // 4, n_trials)).max(axis=1)
    error = sampled.std() / math.sqrt(len(sampled))
    assert stats.expected_maximum_sharpe(n_trials, 1.0) == pytest.approx(sampled.mean(), abs=0.05 + 3 * error)


def test_the_standard_error_is_what_repetition_shows():
    """Skewed and fat-tailed returns: the formula must see what the normal one does not."""
    rng = np.random.default_rng(0)
    samples = 0.1 - rng.standard_gamma(0.5, (8_000, 400)) * 0.1  # mean 0.05, standard deviation 0.0707
    sharpes = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    true = 0.05 / (0.1 * math.sqrt(0.5))
    shape = {"skewness": -2 / math.sqrt(0.5), "kurtosis": 3 + 6 / 0.5}
    assert stats.sharpe_error(true, 400, 1, **shape) == pytest.approx(sharpes.std(), rel=0.05)
    assert stats.sharpe_error(true, 400, 1) < 0.7 * sharpes.std()


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for sample in rng.normal(0.0005, 0.01, (1_000, 300)):
        low, high = stats.sharpe_interval(stats.sharpe(sample, 1), 300, 1, confidence=0.9)
        covered += low <= 0.05 <= high
    assert 870 <= covered <= 930


@given(SHARPES, st.integers(3, 100_000), st.sampled_from([12.0, 365.0, 8_760.0]), SHAPES, TRIALS)
def test_deflating_can_only_lower_and_one_trial_deflates_nothing(sharpe, n_bars, periods, shape, n_trials):
    plain = stats.probabilistic_sharpe(sharpe, n_bars, periods, **shape)
    assert stats.deflated_sharpe(sharpe, n_bars, periods, n_trials=1, **shape) == plain
    deflated = stats.deflated_sharpe(sharpe, n_bars, periods, n_trials=n_trials, **shape)
    assert 0.0 <= deflated <= plain <= 1.0


@given(TRIALS, TRIALS, st.floats(0.0, 3.0))
def test_more_trials_promise_more(n, m, deviation):
    fewer, more = sorted((n, m))
    assert stats.expected_maximum_sharpe(fewer, deviation) <= stats.expected_maximum_sharpe(more, deviation) + 1e-12


@given(SHARPES, SHARPES, SHAPES, st.floats(0.6, 0.99))
def test_after_the_minimum_track_record_the_probability_is_the_confidence(sharpe, benchmark, shape, confidence):
    bars = stats.minimum_track_record(sharpe, 365, benchmark=benchmark, confidence=confidence, **shape)
    if sharpe <= benchmark:
        assert bars == math.inf
    elif 2 <= bars < 1e12:
        reached = stats.probabilistic_sharpe(sharpe, bars, 365, benchmark=benchmark, **shape)
        assert reached == pytest.approx(confidence, abs=1e-6)


@given(SHARPES, st.integers(3, 10_000), SHAPES)
def test_the_probability_does_not_depend_on_the_unit_of_time(sharpe, n_bars, shape):
    hourly = stats.probabilistic_sharpe(sharpe * math.sqrt(8_760), n_bars, 8_760, **shape)
    assert hourly == pytest.approx(stats.probabilistic_sharpe(sharpe, n_bars, 1, **shape), abs=1e-9)


def test_the_sampling_deviation_is_used_where_none_is_given():
    given_ = stats.deflated_sharpe(**STRATEGY, n_trials=100, deviation=math.sqrt(250 / 1_250))
    assert stats.deflated_sharpe(**STRATEGY, n_trials=100) == given_


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stats.sharpe_error(1.0, 1, 365), "needs at least 2 bars, got 1"),
        (lambda: stats.sharpe_error(1.0, 10, 365, kurtosis=0.5), "excess"),
        (lambda: stats.sharpe_error(math.nan, 10, 365), "must be finite, got nan"),
        (lambda: stats.luck_line(0, 1), "n_trials must be a number of at least 1, got 0"),
        (lambda: stats.luck_line(10, 0), "years must be a positive number, got 0"),
        (lambda: stats.expected_maximum_sharpe(10, -1.0), "deviation must be a number of at least 0"),
        (lambda: stats.minimum_backtest_length(10, 0.0), "sharpe must be a positive number"),
        (lambda: stats.minimum_track_record(1.0, 365, confidence=1.0), "confidence must be"),
        (lambda: stats.effective_trials([0.1, 0.2]), "shape .trials, bars."),
        (lambda: stats.effective_trials([[0.1, math.nan]]), "must be finite, got nan at row 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def correlated(rho: float, n_trials: int, n_bars: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=n_bars), rng.normal(size=(n_trials, n_bars))
    return 0.01 * (math.sqrt(rho) * common + math.sqrt(1 - rho) * own)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_effective_trials_are_those_of_the_mean_correlation(rho):
    returns = correlated(rho, 30, 2_000)
    pairs = np.corrcoef(returns)[np.triu_indices(30, 1)]
    mean = max(0.0, pairs.mean())
    assert stats.effective_trials(returns) == pytest.approx(mean + (1 - mean) * 30)
    assert stats.effective_trials(returns) == pytest.approx(rho + (1 - rho) * 30, rel=0.1)


def test_copies_of_one_trial_are_one_trial_and_flat_ones_count_in_full():
    one = correlated(0.0, 1, 500)
    assert stats.effective_trials(np.repeat(one, 9, axis=0)) == pytest.approx(1.0)
    assert stats.effective_trials(one) == 1.0
    assert stats.effective_trials(np.zeros((7, 50))) == 7.0
    assert stats.effective_trials(np.concatenate([one, -one])) == 2.0


@given(st.integers(0, 1_000), st.floats(0.0, 0.95), st.integers(2, 12), st.floats(0.01, 50.0))
def test_effective_trials_ignore_order_and_scale_and_stay_between_one_and_all(seed, rho, n_trials, scale):
    returns = correlated(rho, n_trials, 60, seed)
    answer = stats.effective_trials(returns)
    assert 1.0 <= answer <= n_trials
    order = np.random.default_rng(seed).permutation(n_trials)
    scales = scale ** np.linspace(-1, 1, n_trials)[:, None]
    assert stats.effective_trials(scales * returns[order]) == pytest.approx(answer)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_effective_trials_err_on_the_side_of_many(rho):
    """The best of correlated skill-less trials stays below what independent ones of the effective number promise."""
    rng = np.random.default_rng(0)
    sharpes = math.sqrt(rho) * rng.normal(size=(20_000, 1)) + math.sqrt(1 - rho) * rng.normal(size=(20_000, 50))
    assert sharpes.max(axis=1).mean() < stats.expected_maximum_sharpe(rho + (1 - rho) * 50, 1.0)


@pytest.mark.parametrize("n_trials", [2, 4, 20])
@pytest.mark.parametrize("rho", [0.0, 0.8, 0.95, 1.0])
def test_the_line_of_correlated_trials_is_at_least_what_the_best_of_them_shows(n_trials, rho):
    rng = np.random.default_rng(0)
    own = rng.normal(size=(20_000, n_trials)).max(axis=1).mean()
    line = stats.expected_maximum_sharpe(n_trials, 1.0, rho + (1 - rho) * n_trials)
    assert line > math.sqrt(1 - rho) * (own - 0.06) - 1e-9  # 0.06: the formula is a limit
    assert stats.luck_line(n_trials, 0.25, rho + (1 - rho) * n_trials) == pytest.approx(2 * line)


def test_trials_are_not_worth_more_than_there_are():
    with pytest.raises(ValueError, match="4 trials are worth at most as many independent ones, got 5"):
        stats.luck_line(4, 1.0, effective=5.0)


@pytest.mark.parametrize("degrees", [2, 3, 5, 30, 1_000])
def test_the_probability_above_a_benchmark_has_the_tails_of_few_bets(degrees):
    distances = np.linspace(-6, 6, 121)
    found = [stats.probability_above(1.0 + 0.5 * one, 1.0, 0.5, degrees) for one in distances]
    np.testing.assert_allclose(found, student.cdf(distances, degrees), atol=0.002)
    assert stats.probability_above(2.0, 1.0, 0.5, 1_000, kurtosis=201.0) == pytest.approx(student.cdf(2, 10), abs=2e-3)
    assert stats.probability_above(2.0, 1.0, 0.0, 10) == 1.0


def test_nothing_warns_on_returns_without_variation():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stats.deflated_sharpe(0.0, 100, 365, n_trials=10) < 0.5
        assert stats.probabilistic_sharpe(0.0, 100, 365) == 0.5
        stats.effective_trials(np.zeros((3, 10)))
