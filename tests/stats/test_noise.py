"""The proof of the judge: where no policy has skill it finds none, and where one has it finds that one.

The returns are recorded ones: a small study of policies that trade independent assets without drift, by rules that look
back at the market, without costs.
"""

import math

import numpy as np
import pytest

from ftray import stats

SEEDS = range(20)
N_TRIALS, N_BARS, N_ASSETS = 40, 3_000, 7
HOURS = 8_760.0


def recorded_returns(seed: int, skill: float = 0.0) -> np.ndarray:
    """(trials, bars): each trial weighs the assets by its own random reading of their last returns.

    skill: how much trial 0 earns per bar on top, in units of its volatility.
    """
    rng = np.random.default_rng(seed)
    market = rng.normal(0, 0.01, (N_BARS + 1, N_ASSETS))
    readings = rng.normal(0, 100, (N_TRIALS, N_ASSETS, N_ASSETS))
    leanings = rng.normal(0, 1, (N_TRIALS, 1, N_ASSETS))
    wanted = np.maximum(0.0, market[:-1] @ readings + leanings)
    weights = wanted / np.maximum(1.0, wanted.sum(axis=2, keepdims=True))
    returns = (weights * market[1:]).sum(axis=2)
    returns[0] += skill * returns[0].std()
    return returns


def sharpes(returns: np.ndarray) -> np.ndarray:
    return np.array([stats.sharpe(trial, HOURS) for trial in returns])


def best_of(returns: np.ndarray) -> tuple[int, dict[str, float]]:
    best = int(np.argmax(sharpes(returns)))
    run = stats.performance(returns[best], HOURS)
    return best, {name: run[name] for name in ("sharpe", "n_bars", "skewness", "kurtosis")}


@pytest.fixture(scope="module")
def studies() -> list[np.ndarray]:
    return [recorded_returns(seed) for seed in SEEDS]


@pytest.mark.parametrize("deviation", ["sampling", "of the trials"])
def test_the_deflated_sharpe_ratio_finds_no_skill_in_noise(studies, deviation):
    found = 0
    for returns in studies:
        _, best = best_of(returns)
        probability = stats.deflated_sharpe(
            **best,
            periods_per_year=HOURS,
            n_trials=stats.effective_trials(returns),
            deviation=None if deviation == "sampling" else float(sharpes(returns).std(ddof=1)),
        )
        found += probability >= 0.95
    assert found <= 1


def test_without_deflation_luck_looks_like_skill(studies):
    found = [stats.probabilistic_sharpe(**best_of(returns)[1], periods_per_year=HOURS) >= 0.95 for returns in studies]
    assert sum(found) > 10


def test_choosing_in_noise_is_a_coin_toss(studies):
    probabilities = [stats.overfitting_probability(returns, n_blocks=12) for returns in studies]
    assert 0.38 <= np.mean(probabilities) <= 0.62


def test_the_best_of_noise_lands_on_the_luck_line(studies):
    best = np.mean([best_of(returns)[1]["sharpe"] for returns in studies])
    lines = [stats.luck_line(stats.effective_trials(returns), N_BARS / HOURS) for returns in studies]
    assert best == pytest.approx(np.mean(lines), rel=0.15)


def test_skill_is_found_among_the_same_noise():
    for seed in SEEDS[:5]:
        returns = recorded_returns(seed, skill=0.12)
        chosen, best = best_of(returns)
        n_trials = stats.effective_trials(returns)
        assert chosen == 0
        assert stats.deflated_sharpe(**best, periods_per_year=HOURS, n_trials=n_trials) > 0.95
        assert stats.overfitting_probability(returns, n_blocks=12) < 0.05
        assert best["sharpe"] > stats.luck_line(n_trials, N_BARS / HOURS)
        assert best["n_bars"] > stats.minimum_track_record(
            best["sharpe"], HOURS, skewness=best["skewness"], kurtosis=best["kurtosis"]
        )
        assert math.isfinite(best["sharpe"])
