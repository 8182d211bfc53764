"""How often the best of some trials without skill is taken for skilled: 5 % at most, whatever makes returns difficult.

A simulation of R repeats may exceed 5 % by two standard errors of such a count.
"""

import math

import numpy as np
import pytest

from ftray import stats
from tests.simulations.judged import best_of, luck_of_returns
from tests.simulations.populations import MARKETS, PERIODS, autoregressive, population

HALF_YEAR = 1_095
HOURS, HOURS_OF_HALF_YEAR = 8_760.0, 4_380

alike = pytest.mark.parametrize("rho", [0.8, 0.9, 0.95])
sizes = pytest.mark.parametrize("n_trials", [2, 4, 20])


def at_most_5_percent(n_repeats: int) -> float:
    return 0.05 * n_repeats + 2.0 * math.sqrt(0.05 * 0.95 * n_repeats)


def correlated(rng: np.random.Generator, rho: float, n_trials: int, n_bars: int, phi: float = 0.0) -> np.ndarray:
    """Returns without a mean, any two trials correlated by rho, each bar by phi with the last. Shape: (N, T)."""
    own, common = rng.normal(0, 0.01, (n_trials, n_bars)), rng.normal(0, 0.01, n_bars)
    noise = math.sqrt(rho) * common + math.sqrt(1.0 - rho) * own
    return autoregressive(noise, phi) if phi else noise


def cleared(rho: float, n_trials: int, phi: float, n_repeats: int, n_bars: int, periods: float) -> int:
    rng, count = np.random.default_rng(0), 0
    for _ in range(n_repeats):
        returns = correlated(rng, rho, n_trials, n_bars, phi)
        count += luck_of_returns(returns, best_of(returns), periods).clears
    return count


@sizes
@alike
def test_correlated_trials_without_skill_seldom_clear_the_line(rho, n_trials):
    assert cleared(rho, n_trials, 0.0, 200, HALF_YEAR, PERIODS) <= at_most_5_percent(200)


@pytest.mark.parametrize("n_trials", [1, 4])
def test_autocorrelated_returns_without_skill_seldom_clear_it(n_trials):
    assert cleared(0.5, n_trials, 0.3, 200, HALF_YEAR, PERIODS) <= at_most_5_percent(200)


@pytest.mark.long
@pytest.mark.parametrize("phi", [0.0, 0.3])
@sizes
@alike
def test_they_seldom_clear_it_in_a_thousand_studies(rho, n_trials, phi):
    opened = cleared(rho, n_trials, phi, 1_000, HOURS_OF_HALF_YEAR, HOURS)
    assert opened <= at_most_5_percent(1_000)


@pytest.mark.long
@pytest.mark.parametrize("phi", [0.0, 0.3])
def test_one_trial_of_a_thousand_studies_seldom_clears_it(phi):
    assert cleared(0.0, 1, phi, 1_000, HOURS_OF_HALF_YEAR, HOURS) <= at_most_5_percent(1_000)


def rare_cleared(n_trials: int, n_repeats: int) -> tuple[int, int]:
    """How often the best of some policies that bet 10 to 40 times clears, and would by the moments of its returns."""
    rng, robust, moments = np.random.default_rng(0), 0, 0
    for _ in range(n_repeats):
        returns = population(rng, "rare", MARKETS["flat"], n_trials).returns
        best = returns[best_of(returns)]
        robust += luck_of_returns(returns, best_of(returns), PERIODS).clears
        shape = {"skewness": stats.skewness(best), "kurtosis": stats.kurtosis(best)}
        sharpe = stats.sharpe(best, PERIODS)
        moments += stats.deflated_sharpe(sharpe, len(best), PERIODS, n_trials=n_trials, **shape) >= 0.95
    return robust, moments


@pytest.mark.parametrize("n_trials", [1, 4])
def test_rare_traders_without_skill_seldom_clear_it(n_trials):
    assert rare_cleared(n_trials, 100)[0] <= at_most_5_percent(100)


@pytest.mark.long
@pytest.mark.parametrize("n_trials", [1, 2, 4, 20])
def test_rare_traders_of_a_thousand_studies_seldom_clear_it_where_moments_alone_let_them_pass(n_trials):
    robust, moments = rare_cleared(n_trials, 1_000)
    assert robust <= at_most_5_percent(1_000)
    assert n_trials > 1 or moments > at_most_5_percent(1_000)
