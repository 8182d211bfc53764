"""Comparing ways to train by a few runs of each: robust means, their intervals, who is better how often.

Takes: scores (runs, tasks), such as the Sharpe ratios of R seeds on K folds, and which trial each run is of. Gives:
floats and intervals. Seeds and folds of one trial resemble each other: an interval counts trials, not runs, and there
is none below `MIN_TRIALS`. It covers other trials and seeds, not other tasks.
Source of both measures: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice,
NeurIPS.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_confidence, checked_matrix
from ftray.stats.dependence import intraclass_correlation
from ftray.stats.student import student_quantile

MIN_TRIALS = 5
"""Fewer trials on a side have no interval: their spread says nothing about that of others."""

UNKNOWN = (math.nan, math.nan)


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores: as robust as a median, from more of the data. Shape: (runs, tasks).

    A quarter of the scores, rounded down, is left out at each end.

    >>> interquartile_mean([[-9.0], [1.0], [2.0], [99.0]])
    1.5
    """
    scores = checked_matrix(scores, "runs", "tasks")
    return _trimmed_mean(scores, scores.size // 4)


def probability_of_improvement(scores: ArrayLike, others: ArrayLike) -> float:
    """Probability that a run of the first group beats one of the second on a random task; a tie counts half.

    scores: (R, K). others: (Q, K), on the same tasks.

    >>> probability_of_improvement([[2.0], [3.0]], [[1.0], [2.0]])
    0.875
    """
    first, second = _groups(scores, others)
    difference = first[:, None] - second
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def interquartile_mean_interval(
    scores: ArrayLike, *, trials: ArrayLike | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the interquartile mean of all such trials is with this confidence; NaN below `MIN_TRIALS` trials.

    mean ± t · √Σ (mean without trial g − mean)², with Student's t of G − 1 degrees of freedom: the jackknife of whole
    trials (Tukey 1958; of clusters, MacKinnon, Nielsen and Webb 2023), larger by √(G / (G − 1)), since few trials leave
    still fewer in the middle half. Without a trial the same share is cut off at each end, of a score if need be.

    trials: (R,) which trial each run is of; None: each is one of its own.
    """
    scores = checked_matrix(scores, "runs", "tasks")
    trials = _trials(trials, scores)
    confidence, names = checked_confidence(confidence), np.unique(trials)
    if len(names) < MIN_TRIALS:
        return UNKNOWN
    cut = scores.size // 4
    mean = _trimmed_mean(scores, cut)
    left = [scores[trials != name] for name in names]
    error = math.sqrt(sum((_trimmed_mean(one, cut * one.size / scores.size) - mean) ** 2 for one in left))
    width = student_quantile((1.0 + confidence) / 2, len(names) - 1) * error
    return mean - width, mean + width


def probability_of_improvement_interval(
    scores: ArrayLike,
    others: ArrayLike,
    *,
    trials: ArrayLike | None = None,
    other_trials: ArrayLike | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Where `probability_of_improvement` is with this confidence; NaN below `MIN_TRIALS` trials on either side.

    The score interval of a Mann-Whitney statistic θ (Newcombe 2006, Confidence Intervals for an Effect Size Measure,
    part 2, method 5): all θ with |θ̂ − θ| ≤ z √V(θ), V(θ) = θ(1 − θ) (1 + ((m + n)/2 − 1) ((1 − θ)/(2 − θ) + θ/(1 + θ)))
    / (m n). It has a width where each run of one side beats each of the other, too. m and n are how many independent
    runs each side is worth: the R runs of a trial count as R / (1 + (R − 1) ρ) (the design effect, Kish 1965), ρ the
    intraclass correlation of a trial's runs within their side and task.

    trials, other_trials: (R,), (Q,) which trial each run is of; None: each is one of its own.
    """
    first, second = _groups(scores, others)
    labels = _trials(trials, first), _trials(other_trials, second)
    z = NormalDist().inv_cdf((1.0 + checked_confidence(confidence)) / 2)
    if min(len(np.unique(one)) for one in labels) < MIN_TRIALS:
        return UNKNOWN
    m, n = _independent_runs((first, second), labels)
    value = probability_of_improvement(first, second)

    def end(limit: float) -> float:
        """The θ farthest from the value, towards 0 or 1, that is still within z errors: by bisection."""
        inside, outside = value, limit
        for _ in range(60):
            theta = (inside + outside) / 2
            shape = 1.0 + ((m + n) / 2 - 1.0) * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta))
            within = (value - theta) ** 2 <= z**2 * theta * (1.0 - theta) * shape / (m * n)
            inside, outside = (theta, outside) if within else (inside, theta)
        return inside

    return end(0.0), end(1.0)


def _trimmed_mean(scores: np.ndarray, cut: float) -> float:
    """Mean of the scores without the `cut` lowest and highest ones; of a fraction of a score the rest counts."""
    ordered = np.sort(scores, axis=None)
    places = np.arange(len(ordered))
    counted = np.clip(np.minimum(places + 1 - cut, len(ordered) - places - cut), 0.0, 1.0)
    return float(ordered @ counted / counted.sum())


def _independent_runs(sides: tuple[np.ndarray, ...], trials: tuple[np.ndarray, ...]) -> list[float]:
    """How many independent runs each side's are worth, one correlation for both."""
    values = [(scores - scores.mean(axis=0)).ravel() for scores in sides]
    labels = [np.repeat(own, scores.shape[1]) for own, scores in zip(trials, sides, strict=True)]
    named = [np.unique(one, return_inverse=True, return_counts=True) for one in labels]
    groups = np.concatenate([named[0][1], named[1][1] + len(named[0][0])])
    alike = max(0.0, intraclass_correlation(np.concatenate(values), groups))
    return [float(np.sum(sizes / (1.0 + (sizes - 1.0) * alike))) for _, _, sizes in named]


def _trials(trials: ArrayLike | None, scores: np.ndarray) -> np.ndarray:
    trials = np.arange(len(scores)) if trials is None else np.asarray(trials)
    if trials.shape != (len(scores),):
        raise ValueError(f"trials must name one per run: {len(scores)}, got the shape {trials.shape}")
    return trials


def _groups(scores: ArrayLike, others: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = (checked_matrix(group, "runs", "tasks") for group in (scores, others))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both groups must have the same tasks, got {first.shape[1]} and {second.shape[1]}")
    return first, second
