"""How often the gate to the test window opens for populations without skill, and for one planted trial with skill.

The gate opens for the best of a population by its active Sharpe ratio if luck explains neither that ratio nor the plain
one. Without skill it may open in 5 % of the studies: 15 of 200 are what 5 % exceed once in 20 times.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from ftray import stats
from ftray.analysis.luck import gate_opens
from tests.simulations.judged import best_of, luck_of_returns
from tests.simulations.populations import (
    COMMON,
    MARKETS,
    N_ASSETS,
    N_BARS,
    OWN,
    PERIODS,
    POPULATIONS,
    Population,
    market,
    matched,
    population,
)

N_TRIALS, REPEATS, MOST = 20, 200, 15
YEARS = N_BARS / PERIODS
EXPOSURE, SKILLED = 0.2, 0.3
"""Of the planted trial: what it holds of equal weight, and the annual volatility of what it earns on top."""

VOLATILITY = math.sqrt(COMMON**2 + OWN**2 / N_ASSETS)
"""Of equal weight, per year."""

every_population = pytest.mark.parametrize("kind", POPULATIONS)
every_market = pytest.mark.parametrize("drift", MARKETS.values(), ids=list(MARKETS))


def opened(draw: Callable[[np.random.Generator], Population], repeats: int) -> int:
    rng, count = np.random.default_rng(0), 0
    for _ in range(repeats):
        returns, active = draw(rng)
        best = best_of(active)
        count += gate_opens(
            luck_of_returns(returns, best, PERIODS), luck_of_returns(active, best, PERIODS, active=True)
        )
    return count


@pytest.mark.long
@every_market
@every_population
def test_it_stays_shut_for_populations_without_skill(kind, drift):
    assert opened(lambda rng: population(rng, kind, drift, N_TRIALS), REPEATS) <= MOST


@every_market
@every_population
def test_it_stays_shut_for_a_few_populations_without_skill(kind, drift):
    assert opened(lambda rng: population(rng, kind, drift, N_TRIALS), REPEATS // 10) <= 3


def test_the_plain_ratio_alone_passes_constant_weights_on_a_rising_market():
    """What the active ratio is for: half a year that rises makes long policies look skilled."""
    rng, passed = np.random.default_rng(0), 0
    for _ in range(40):
        returns = population(rng, "constant", MARKETS["rising"], N_TRIALS).returns
        passed += luck_of_returns(returns, best_of(returns), PERIODS).clears
    assert passed > 20


def power(sharpe: float) -> float:
    """Φ((SR − line) / error − 1.645), with the error of normal returns and the line of N independent trials.

    The probability that a trial of this true ratio, known to be the best, is above the luck line with 95 %.
    """
    error = stats.sharpe_error(sharpe, N_BARS, PERIODS)
    line = stats.expected_maximum_sharpe(N_TRIALS, error)
    return NormalDist().cdf((sharpe - line) / error - NormalDist().inv_cdf(0.95))


def plain_sharpe(active_sharpe: float, drift: float) -> float:
    """Of returns that are the planted trial's share of equal weight, and independently of it what its skill earns."""
    earned = active_sharpe * SKILLED + EXPOSURE * drift * VOLATILITY
    return earned / math.hypot(SKILLED, EXPOSURE * VOLATILITY)


def skill_of_power(wanted: float, drift: float) -> float:
    """The active Sharpe ratio that opens the gate with at least this probability.

    Both ratios must clear; whatever their correlation, they do so with at least the sum of their powers less one.
    """
    low, high = 0.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        enough = power(middle) + power(plain_sharpe(middle, drift)) - 1.0 >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def planted(rng: np.random.Generator, kind: str, drift: float, skill: float) -> Population:
    """A population without skill but for its first trial."""
    assets = market(rng, drift)
    weights = POPULATIONS[kind](rng, assets, N_TRIALS)
    returns = np.einsum("nta,ta->nt", weights, assets)
    active = returns - matched(assets, weights.sum(axis=2))
    active[0] = rng.normal(skill * SKILLED / PERIODS, SKILLED / math.sqrt(PERIODS), N_BARS)
    returns[0] = EXPOSURE * assets.mean(axis=1) + active[0]
    return Population(returns, active)


@pytest.mark.long
@every_market
@every_population
def test_it_opens_for_planted_skill_about_as_often_as_a_closed_form_says(kind, drift):
    skill = skill_of_power(0.85, drift)
    assert opened(lambda rng: planted(rng, kind, drift, skill), REPEATS) >= 0.8 * REPEATS


@every_market
def test_it_opens_for_planted_skill(drift):
    skill = skill_of_power(0.98, drift)
    assert opened(lambda rng: planted(rng, "momentum", drift, skill), 20) >= 16
