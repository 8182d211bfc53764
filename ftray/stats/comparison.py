"""Comparing ways to train by a few runs of each: robust means, their intervals, who is better how often.

Takes: scores (runs, tasks), such as the Sharpe ratios of R seeds on K folds. Gives: floats and intervals.
Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_confidence, checked_matrix

Statistic = Callable[..., np.ndarray]
"""(B, R, K) scores, one array per group of runs → (B,)."""


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores: as robust as a median, from more of the data. Shape: (runs, tasks).

    A quarter of the scores, rounded down, is left out at each end.

    >>> interquartile_mean([[-9.0], [1.0], [2.0], [99.0]])
    1.5
    """
    return float(_interquartile_means(checked_matrix(scores, "runs", "tasks")[None])[0])


def probability_of_improvement(scores: ArrayLike, others: ArrayLike) -> float:
    """Probability that a run of the first group beats one of the second on a random task; a tie counts half.

    scores: (R, K). others: (Q, K), on the same tasks.

    >>> probability_of_improvement([[2.0], [3.0]], [[1.0], [2.0]])
    0.875
    """
    return float(_improvements(*(group[None] for group in _groups(scores, others)))[0])


def interquartile_mean_interval(
    scores: ArrayLike, *, confidence: float = 0.95, n_resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Stratified bootstrap interval of `interquartile_mean`."""
    groups = (checked_matrix(scores, "runs", "tasks"),)
    return _bootstrap(_interquartile_means, groups, confidence, n_resamples, seed)


def probability_of_improvement_interval(
    scores: ArrayLike, others: ArrayLike, *, confidence: float = 0.95, n_resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Stratified bootstrap interval of `probability_of_improvement`, each group resampled on its own."""
    return _bootstrap(_improvements, _groups(scores, others), confidence, n_resamples, seed)


def _bootstrap(
    statistic: Statistic, groups: tuple[np.ndarray, ...], confidence: float, n_resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile interval of a statistic, with the runs of every task resampled independently.

    The tasks are not resampled: the interval covers other seeds, not other tasks.
    """
    tail = (1.0 - checked_confidence(confidence)) / 2
    rng = np.random.default_rng(seed)
    resampled = []
    for group in groups:
        n_runs, n_tasks = group.shape
        sampled = rng.integers(n_runs, size=(n_resamples, n_runs, n_tasks))
        resampled.append(group[sampled, np.arange(n_tasks)])
    low, high = np.quantile(statistic(*resampled), [tail, 1.0 - tail])
    return float(low), float(high)


def _interquartile_means(scores: np.ndarray) -> np.ndarray:
    ordered = np.sort(scores.reshape(len(scores), -1), axis=1)
    cut = ordered.shape[1] // 4
    return ordered[:, cut : ordered.shape[1] - cut].mean(axis=1)


def _improvements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    difference = scores[:, :, None] - others[:, None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2, 3))


def _groups(scores: ArrayLike, others: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = (checked_matrix(group, "runs", "tasks") for group in (scores, others))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both groups must have the same tasks, got {first.shape[1]} and {second.shape[1]}")
    return first, second
