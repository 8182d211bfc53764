"""Interquartile mean, probability of improvement and their intervals, compared with rliable and with plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics

from ftray import stats


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return rng.normal(rng.normal(0, 2, 4), 1.0, (6, 4))


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 1), (4, 1), (5, 3), (10, 7), (3, 11)])
def test_the_interquartile_mean_agrees_with_rliable(shape):
    scores = np.random.default_rng(1).standard_t(2, shape)
    assert stats.interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(scores))


@pytest.mark.parametrize("shapes", [((2, 1), (2, 1)), ((5, 3), (8, 3)), ((10, 4), (10, 4))])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_probability_of_improvement_agrees_with_rliable(shapes, rounded):
    rng = np.random.default_rng(2)
    scores, others = (rng.normal(0.3 * i, 1.0, shape) for i, shape in enumerate(shapes))
    if rounded:  # so that there are ties
        scores, others = np.round(scores), np.round(others)
    expected = metrics.probability_of_improvement(scores, others)
    assert stats.probability_of_improvement(scores, others) == pytest.approx(expected)


def test_the_interval_is_that_of_resampling_the_runs_of_each_task_independently(scores):
    rng = np.random.default_rng(3)
    means = []
    for _ in range(3_000):
        sampled = np.sort(np.concatenate([rng.choice(column, 6) for column in scores.T]))
        means.append(sampled[6:-6].mean())
    low, high = stats.interquartile_mean_interval(scores, n_resamples=4_000)
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.05 * (expected[1] - expected[0]))


def test_differences_between_tasks_do_not_widen_the_interval(scores):
    """Only within a task are runs exchanged: where seeds agree, tasks may be as different as they like."""
    agreed = np.tile([-50.0, 0.0, 1.0, 70.0], (5, 1))
    assert stats.interquartile_mean_interval(agreed) == (0.5, 0.5)


def test_the_interval_of_the_improvement_is_that_of_resampling_both_groups():
    rng = np.random.default_rng(4)
    scores, others = rng.normal(0.5, 1, (6, 3)), rng.normal(0, 1, (5, 3))
    sampled = []
    for _ in range(2_000):
        wins = [(rng.choice(scores[:, task], 6)[:, None] > rng.choice(others[:, task], 5)).mean() for task in range(3)]
        sampled.append(np.mean(wins))
    low, high = stats.probability_of_improvement_interval(scores, others, n_resamples=4_000)
    np.testing.assert_allclose([low, high], np.quantile(sampled, [0.025, 0.975]), atol=0.03)


def test_intervals_are_reproducible_and_grow_with_the_confidence(scores):
    wide = stats.interquartile_mean_interval(scores, confidence=0.99)
    narrow = stats.interquartile_mean_interval(scores, confidence=0.8)
    assert wide == stats.interquartile_mean_interval(scores, confidence=0.99)
    assert wide[0] < narrow[0] < stats.interquartile_mean(scores) < narrow[1] < wide[1]


def test_a_single_run_has_an_interval_without_width():
    assert stats.interquartile_mean_interval([[1.0, 2.0]]) == (1.5, 1.5)


SCORES = st.lists(st.lists(st.integers(-20, 20), min_size=3, max_size=3), min_size=1, max_size=8)


@given(SCORES, st.integers(-5, 5), st.integers(1, 7), st.randoms(use_true_random=False))
def test_the_interquartile_mean_moves_with_the_scores_and_ignores_their_order(scores, shift, scale, random):
    scores = np.array(scores, float)
    mean = stats.interquartile_mean(scores)
    assert stats.interquartile_mean(scale * scores + shift) == pytest.approx(scale * mean + shift)
    shuffled = random.sample(scores.tolist(), len(scores))
    assert stats.interquartile_mean(shuffled) == pytest.approx(mean)
    assert scores.min() <= mean <= scores.max()


@given(SCORES, SCORES)
def test_what_one_group_gains_the_other_loses(scores, others):
    assert stats.probability_of_improvement(scores, others) == pytest.approx(
        1 - stats.probability_of_improvement(others, scores)
    )
    assert stats.probability_of_improvement(scores, scores) == pytest.approx(0.5)


@given(SCORES, SCORES)
def test_only_the_order_of_scores_counts_for_the_improvement(scores, others):
    stretched = [np.exp(np.array(group, float) / 5) for group in (scores, others)]
    assert stats.probability_of_improvement(*stretched) == stats.probability_of_improvement(scores, others)


def test_illegal_scores_are_refused():
    with pytest.raises(ValueError, match=r"shape \(runs, tasks\)"):
        stats.interquartile_mean([1.0, 2.0])
    with pytest.raises(ValueError, match="must be finite, got nan at row 0 of runs, column 1"):
        stats.interquartile_mean([[1.0, np.nan]])
    with pytest.raises(ValueError, match="the same tasks, got 2 and 1"):
        stats.probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="confidence"):
        stats.interquartile_mean_interval([[1.0]], confidence=95)
