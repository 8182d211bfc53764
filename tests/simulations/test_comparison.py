"""How often the intervals of a comparison cover the truth: 95 % of the time, within 3 points.

A random effects model of what a study's trainings score: a trial's level, an effect of trial and fold, a training's
own noise by its seed, and what a fold does to all trials. Intervals are over other trials and seeds on the same folds.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest

from ftray import stats

FOLDS = np.array([-0.5, 0.0, 0.2, 0.6])
EFFECTS = {"trials differ": (1.0, 0.3, 0.5), "seeds differ": (0.2, 0.2, 1.0), "seeds agree": (1.0, 0.0, 0.0)}
"""Deviations: of trials, of trial and fold, of seeds."""

REPEATS = 2_000

sides = pytest.mark.parametrize("n_trials", [5, 8, 20])
designs = pytest.mark.parametrize(("n_seeds", "n_folds"), [(1, 1), (3, 1), (2, 4)])
models = pytest.mark.parametrize("effects", EFFECTS.values(), ids=list(EFFECTS))


def runs(rng: np.random.Generator, n_trials: int, n_seeds: int, n_folds: int, effects: tuple[float, ...]) -> np.ndarray:
    """Scores. Shape: (trials × seeds, folds)."""
    trial, trial_and_fold, seed = effects
    scores = FOLDS[:n_folds] + trial * rng.normal(size=(n_trials, 1, 1))
    scores = scores + trial_and_fold * rng.normal(size=(n_trials, 1, n_folds))
    return (scores + seed * rng.normal(size=(n_trials, n_seeds, n_folds))).reshape(-1, n_folds)


def covered_means(n_trials: int, n_seeds: int, n_folds: int, effects: tuple[float, ...], repeats: int) -> int:
    rng, count = np.random.default_rng(0), 0
    normal = NormalDist(0.0, math.hypot(*effects))
    quantiles = np.array([normal.inv_cdf((place + 0.5) / 5_000) for place in range(5_000)])
    truth = stats.interquartile_mean(FOLDS[:n_folds] + quantiles[:, None])
    trials = np.repeat(np.arange(n_trials), n_seeds)
    for _ in range(repeats):
        scores = runs(rng, n_trials, n_seeds, n_folds, effects)
        low, high = stats.interquartile_mean_interval(scores, trials=trials)
        count += low <= truth <= high
    return count


def covered_improvements(
    n_trials: int, n_seeds: int, n_folds: int, effects: tuple[float, ...], truth: float, repeats: int
) -> int:
    rng, count = np.random.default_rng(0), 0
    better = NormalDist().inv_cdf(truth) * math.hypot(*effects) * math.sqrt(2.0)
    trials = np.repeat(np.arange(n_trials), n_seeds)
    for _ in range(repeats):
        scores, others = (runs(rng, n_trials, n_seeds, n_folds, effects) for _ in range(2))
        low, high = stats.probability_of_improvement_interval(
            scores + better, others, trials=trials, other_trials=trials
        )
        count += low <= truth <= high
    return count


@pytest.mark.long
@models
@designs
@sides
def test_the_interval_of_an_interquartile_mean_covers_it(n_trials, n_seeds, n_folds, effects):
    assert 0.92 <= covered_means(n_trials, n_seeds, n_folds, effects, REPEATS) / REPEATS <= 0.98


@pytest.mark.long
@pytest.mark.parametrize("truth", [0.5, 0.75, 0.9])
@models
@designs
@sides
def test_the_interval_of_an_improvement_covers_it(n_trials, n_seeds, n_folds, effects, truth):
    covered = covered_improvements(n_trials, n_seeds, n_folds, effects, truth, REPEATS)
    assert 0.92 <= covered / REPEATS <= 0.98


def test_intervals_of_few_trials_cover_the_truth():
    trials_differ = EFFECTS["trials differ"]
    assert covered_means(5, 3, 1, trials_differ, 300) >= 273
    assert covered_improvements(5, 3, 1, trials_differ, 0.75, 300) >= 273
