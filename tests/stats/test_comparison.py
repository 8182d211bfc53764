"""Interquartile mean, probability of improvement and their intervals, compared with rliable and with plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics
from scipy.stats import t as student

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


def test_the_interval_is_that_of_leaving_out_whole_trials(scores):
    """With a trial per run, and a mean whose middle half is the same with and without it, by hand."""
    trials = np.repeat(np.arange(6), 2)
    both = np.concatenate([scores, scores + 0.1])[np.argsort(np.tile(np.arange(6), 2), kind="stable")]
    mean = stats.interquartile_mean(both)
    left = [stats.interquartile_mean(both[trials != trial]) for trial in range(6)]  # 40 of 48 scores: 10 of 12 cut
    error = np.sqrt(np.sum((np.array(left) - mean) ** 2))
    low, high = stats.interquartile_mean_interval(both, trials=trials)
    np.testing.assert_allclose([low, high], mean + error * student.ppf([0.025, 0.975], 5), rtol=0.01)


def test_differences_between_tasks_do_not_widen_the_interval():
    """Where trials agree, tasks may be as different as they like."""
    agreed = np.tile([-50.0, 0.0, 1.0, 70.0], (5, 1))
    assert stats.interquartile_mean_interval(agreed) == (0.5, 0.5)


def test_seeds_of_one_trial_count_as_one_where_they_agree():
    rng = np.random.default_rng(4)
    one, other = rng.normal(0.7, 1, (8, 1)), rng.normal(0, 1, (8, 1))
    once = stats.probability_of_improvement_interval(one, other)
    trials = np.repeat(np.arange(8), 3)
    again = {"trials": trials, "other_trials": trials}
    copied = np.repeat(one, 3, axis=0), np.repeat(other, 3, axis=0)
    assert stats.probability_of_improvement_interval(*copied, **again) == pytest.approx(once)
    low, high = stats.probability_of_improvement_interval(*copied)  # as if they were 24 trials
    assert high - low < 0.7 * (once[1] - once[0])
    few, many = (stats.interquartile_mean_interval(copied[0], trials=given) for given in (trials, None))
    assert many[1] - many[0] < 0.7 * (few[1] - few[0])


def test_a_side_that_always_wins_is_not_certain_to_win():
    low, high = stats.probability_of_improvement_interval(np.arange(5.0)[:, None] + 10, np.arange(5.0)[:, None])
    assert 0.5 < low < 0.75 and high == pytest.approx(1.0)


def test_below_five_trials_a_side_there_is_no_interval(scores):
    assert np.isnan(stats.interquartile_mean_interval(scores[:4])).all()
    assert np.isnan(stats.interquartile_mean_interval(scores, trials=[0, 0, 1, 1, 2, 3])).all()
    assert np.isnan(stats.probability_of_improvement_interval(scores, scores[:1])).all()
    assert np.isnan(stats.probability_of_improvement_interval(scores[:3], scores)).all()
    assert not np.isnan(stats.interquartile_mean_interval(scores[:5])).any()


def test_intervals_are_reproducible_and_grow_with_the_confidence(scores):
    wide = stats.interquartile_mean_interval(scores, confidence=0.99)
    narrow = stats.interquartile_mean_interval(scores, confidence=0.8)
    assert wide == stats.interquartile_mean_interval(scores, confidence=0.99)
    assert wide[0] < narrow[0] < stats.interquartile_mean(scores) < narrow[1] < wide[1]


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
        stats.interquartile_mean_interval([[1.0]] * 5, confidence=95)
    with pytest.raises(ValueError, match="trials must name one per run: 5, got the shape"):
        stats.interquartile_mean_interval([[1.0]] * 5, trials=[1, 2])
