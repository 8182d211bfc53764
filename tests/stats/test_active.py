"""Measures relative to a benchmark against values worked out by hand and formulas written with plain loops."""

import itertools
import math

import numpy as np
import pytest

from ftray import stats

HOURS = 8_760.0
HALF = {"exposure": [0.5] * 4, "benchmark_exposure": [1.0] * 4}


def full(n: int) -> dict:
    return {"exposure": np.ones(n), "benchmark_exposure": np.ones(n)}


@pytest.fixture
def market() -> np.ndarray:
    return np.random.default_rng(3).normal(1e-4, 0.01, 900)


def test_active_returns_are_those_less_the_benchmarks_at_the_strategys_own_mean_exposure():
    # at half the exposure the benchmark has 0.02, −0.01, 0.01, 0: what is left is 0.01, 0.03, −0.01, 0.01
    found = stats.active_performance([0.03, 0.02, 0.0, 0.01], [0.04, -0.02, 0.02, 0.0], 4.0, **HALF)
    # mean 0.01, deviations 0, 0.02, −0.02, 0: s = √(0.0008 / 3), and the ratio is that of one bar times √4
    assert found["active_sharpe"] == pytest.approx(2 * 0.01 / math.sqrt(0.0008 / 3))
    assert found["active_skewness"] == pytest.approx(0.0, abs=1e-12)
    # fourth moment 2 · 0.02⁴ / 4 over (2 · 0.02² / 4)²
    assert found["active_kurtosis"] == pytest.approx(2.0)
    # less the whole benchmark: −0.01, 0.04, −0.02, 0.01; mean 0.005, squared deviations sum to 0.0021
    assert found["information_ratio"] == pytest.approx(2 * 0.005 / math.sqrt(0.0021 / 3))


def test_alpha_and_beta_are_the_least_squares_line_by_hand():
    # returns are 0.01 + 2 b, and an error of ±0.001 that is orthogonal to b and to 1
    benchmark, error = [0.01, 0.02, 0.03, 0.04], [0.001, -0.001, -0.001, 0.001]
    returns = [0.01 + 2 * b + e for b, e in zip(benchmark, error, strict=True)]
    found = stats.active_performance(returns, benchmark, 50.0, **full(4))
    assert found["beta"] == pytest.approx(2.0) and found["alpha"] == pytest.approx(50 * 0.01)


def test_the_error_of_alpha_is_newey_and_wests_written_with_plain_loops(market):
    noise = np.random.default_rng(4).normal(0, 0.01, len(market))
    for t in range(1, len(noise)):
        noise[t] += 0.4 * noise[t - 1]
    returns = 2e-4 + 0.7 * market + noise
    starts = [0, 300, 700]
    found = stats.active_performance(returns, market, HOURS, **full(len(market)), segment_starts=starts)
    assert found["alpha_error"] == pytest.approx(by_loops(returns, market, starts) * HOURS)
    independent = stats.active_performance(np.sort(noise)[::-1][::2], market[:450], HOURS, **full(450))
    assert independent["alpha_error"] > 0


def by_loops(returns: np.ndarray, benchmark: np.ndarray, starts: list[int]) -> float:
    """(X'X)⁻¹ S (X'X)⁻¹ for a line, S with Bartlett's weights after an autoregression of order one, per bar.

    Only the intercept's part of the scores is prewhitened: that of a mean of T influences.
    """
    n = len(returns)
    inverse = np.linalg.inv(sum(np.outer([1.0, b], [1.0, b]) for b in benchmark))
    line = inverse @ sum(r * np.array([1.0, b]) for r, b in zip(returns, benchmark, strict=True))
    scores = [
        float(n * (inverse @ np.array([1.0, b]))[0] * (r - line[0] - line[1] * b))
        for r, b in zip(returns, benchmark, strict=True)
    ]

    def pairs(values: list[float], lag: int, ends: list[int]) -> float:
        total = 0.0
        for start, end in itertools.pairwise(ends):
            for t in range(start, end - lag):
                total += values[t] * values[t + lag]
        return total

    ends = [*starts, n]
    rho = pairs(scores, 1, ends) / sum(one * one for one in scores)
    white, white_ends = [], [0]
    for start, end in itertools.pairwise(ends):
        white += [scores[t] - rho * scores[t - 1] for t in range(start + 1, end)]
        white_ends.append(len(white))
    middle, m = sum(white) / len(white), len(white)
    white = [one - middle for one in white]
    pilot = int(4 * (m / 100) ** (2 / 9))
    gammas = [pairs(white, lag, white_ends) / m for lag in range(m)]
    level = gammas[0] + 2 * sum(gammas[1 : pilot + 1])
    slope = 2 * sum(lag * gammas[lag] for lag in range(1, pilot + 1))
    width = int(min(1.1447 * ((slope / level) ** 2 * m) ** (1 / 3), math.sqrt(m)))
    variance = gammas[0] + 2 * sum((1 - lag / (width + 1)) * gammas[lag] for lag in range(1, width + 1))
    return math.sqrt(variance / (1 - rho) ** 2 / n)


def test_the_error_of_the_active_sharpe_ratio_is_that_of_a_sharpe_ratio_of_the_active_returns(market):
    returns = market[::-1].copy()
    found = stats.active_performance(returns, market, HOURS, **full(len(market)), segment_starts=[0, 400])
    assert found["active_newey_west"] == pytest.approx(stats.sharpe_newey_west(returns - market, HOURS, [0, 400]))


def test_a_portfolio_relative_to_itself_has_no_active_return_at_all(market):
    found = stats.active_performance(market, market, HOURS, **full(len(market)))
    expected = {"active_sharpe": 0.0, "information_ratio": 0.0, "alpha": 0.0, "alpha_error": 0.0, "beta": 1.0}
    expected |= {"active_skewness": 0.0, "active_kurtosis": 3.0}
    assert {name: found[name] for name in expected} == expected
    assert found["active_newey_west"] == pytest.approx(math.sqrt(HOURS / (len(market) - 1)))


@pytest.mark.parametrize(("own", "benchmarks"), [(0.0, 1.0), (0.0099, 1.0), (1.0, 0.0)])
def test_below_one_percent_of_exposure_nothing_is_defined(own, benchmarks, market):
    exposures = {"exposure": np.full(900, own), "benchmark_exposure": np.full(900, benchmarks)}
    found = stats.active_performance(own * market, market, HOURS, **exposures)
    assert set(found) == set(stats.active.MEASURES) and all(map(math.isnan, found.values()))
    exposures = {"exposure": np.full(900, 0.01), "benchmark_exposure": np.ones(900)}
    assert math.isfinite(stats.active_performance(0.01 * market, market, HOURS, **exposures)["active_sharpe"])


def test_losses_beyond_a_benchmark_that_doubles_have_active_measures_too():
    found = stats.active_performance([-0.9, 0.1, 0.0], [1.5, 0.0, 0.1], 1.0, **full(3))
    differences = np.array([-2.4, 0.1, -0.1])
    assert found["active_sharpe"] == pytest.approx(differences.mean() / differences.std(ddof=1))


def test_in_a_falling_market_more_volatility_raises_the_sharpe_ratio_and_not_the_active_one():
    """Two portfolios hold half their equity in one asset each, and both assets fall by the same drift."""
    chance = np.random.default_rng(0)
    shocks = chance.normal(0, 1, (2, 4_000))
    shocks -= shocks.mean(axis=1, keepdims=True)  # the drift is the same to the last digit
    calm, wild = 0.5 * (-5e-4 + 0.005 * shocks[0]), 0.5 * (-5e-4 + 0.02 * shocks[1])
    market = calm + wild  # equal weight, fully invested: each asset by half
    assert stats.sharpe(calm, HOURS) < stats.sharpe(wild, HOURS) - 1.0  # the fault: it only swings more
    half = {"exposure": np.full(4_000, 0.5), "benchmark_exposure": np.ones(4_000)}
    first, second = (stats.active_performance(one, market, HOURS, **half)["active_sharpe"] for one in (calm, wild))
    assert first == pytest.approx(0.0, abs=1e-9) and second == pytest.approx(0.0, abs=1e-9)


def test_a_round_trip_is_twice_the_mean_equity_traded():
    # buys 100 % of 1, gains 50 %, sells all of 1.5: 2.5 traded, over twice the mean of 1, 1.5 and 1.5
    assert stats.round_trips([0.5, 0.0, 0.0], [1.0, 1.0, 0.0]) == pytest.approx(2.5 / (2 * 4 / 3))
    assert stats.round_trips([0.0] * 5, [0.0] * 5) == 0.0
    assert stats.round_trips([0.0] * 40, [1.0, 1.0] * 20) == pytest.approx(20.0)
    measures = stats.performance([0.5, 0.0, 0.0], 365.0, turnover=[1.0, 1.0, 0.0])
    assert measures["round_trips"] == pytest.approx(2.5 / (2 * 4 / 3))


def test_what_does_not_vary_has_a_long_run_variance_of_zero(market):
    assert stats.long_run_variance([0.3] * 10) == stats.long_run_variance([0.3]) == 0.0
    assert stats.long_run_variance(market) == pytest.approx(market.var(), rel=0.2)  # independent: that of one bar
