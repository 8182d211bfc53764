"""The probability of backtest overfitting, against a plain reading of the paper; and how returns become a matrix."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ftray import stats


def brute_force(returns: np.ndarray, n_blocks: int) -> float:
    """The algorithm step by step: concatenate blocks, rank, take logits, count."""
    n_configurations, n_bars = returns.shape
    size = n_bars // n_blocks
    kept = returns[:, n_bars - size * n_blocks :]
    blocks = [kept[:, i * size : (i + 1) * size] for i in range(n_blocks)]
    logits = []
    for chosen in itertools.combinations(range(n_blocks), n_blocks // 2):
        inside = np.concatenate([blocks[i] for i in chosen], axis=1)
        outside = np.concatenate([blocks[i] for i in range(n_blocks) if i not in chosen], axis=1)
        best = int(np.argmax(inside.mean(axis=1) / inside.std(axis=1, ddof=1)))
        ranks = scipy.stats.rankdata(outside.mean(axis=1) / outside.std(axis=1, ddof=1))
        relative = ranks[best] / (n_configurations + 1)
        logits.append(math.log(relative / (1 - relative)))
    return float(np.mean(np.array(logits) <= 1e-12))


@pytest.mark.parametrize(
    ("n_configurations", "n_bars", "n_blocks"), [(2, 64, 4), (7, 203, 8), (10, 500, 6), (25, 90, 10)]
)
@pytest.mark.parametrize("skill", [0.0, 0.004])
def test_it_agrees_with_a_plain_reading_of_the_paper(n_configurations, n_bars, n_blocks, skill):
    rng = np.random.default_rng(n_bars)
    drift = np.linspace(0, skill, n_configurations)[:, None]
    returns = rng.normal(drift, rng.uniform(0.005, 0.02, (n_configurations, 1)), (n_configurations, n_bars))
    assert stats.overfitting_probability(returns, n_blocks) == pytest.approx(brute_force(returns, n_blocks))


def test_the_truly_best_one_is_found_and_a_fluke_is_found_out():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (20, 1_600))
    skilled = noise.copy()
    skilled[3] += 0.003
    assert stats.overfitting_probability(skilled) == 0.0
    # Each configuration is brilliant in one stretch and pays for it everywhere else.
    flukes = noise - 0.001
    for i, stretch in enumerate(np.split(np.arange(1_600), 20)):
        flukes[i, stretch] += 0.02
    assert stats.overfitting_probability(flukes) > 0.8


@settings(max_examples=25)
@given(st.integers(0, 1_000), st.integers(2, 9), st.floats(0.01, 100.0))
def test_it_ignores_the_order_of_configurations_and_each_ones_scale(seed, n_configurations, scale):
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.001, 0.01, (n_configurations, 120))
    answer = stats.overfitting_probability(returns, 6)
    scales = scale ** np.linspace(-1, 1, n_configurations)[:, None]
    assert stats.overfitting_probability((scales * returns)[rng.permutation(n_configurations)], 6) == answer


@settings(max_examples=25)
@given(st.integers(0, 1_000), st.integers(2, 9))
def test_it_ignores_the_order_of_blocks_and_of_bars_inside_one(seed, n_configurations):
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.001, 0.01, (n_configurations, 120))
    blocks = returns.reshape(n_configurations, 6, 20)[:, rng.permutation(6)][:, :, rng.permutation(20)]
    shuffled = blocks.reshape(n_configurations, 120)
    assert stats.overfitting_probability(shuffled, 6) == pytest.approx(stats.overfitting_probability(returns, 6))


def test_configurations_that_never_trade_share_the_outcome():
    # all tie in both halves: the rank is (N + 1) / 2, which is not above the median
    assert stats.overfitting_probability(np.zeros((4, 64)), 4) == 1.0


@pytest.mark.parametrize(
    ("returns", "n_blocks", "words"),
    [
        (np.zeros((1, 64)), 4, "at least 2 configurations"),
        (np.zeros(64), 4, "shape .configurations, bars."),
        (np.zeros((2, 64)), 5, "n_blocks must be even"),
        (np.zeros((2, 64)), 0, "at least 2"),
        (np.zeros((2, 640)), 22, "at most 20"),
        (np.zeros((2, 20)), 16, "at most half of the 20 bars, got 16"),
        (np.full((2, 64), np.nan), 4, "must be finite"),
    ],
)
def test_what_cannot_be_cut_is_refused(returns, n_blocks, words):
    with pytest.raises(ValueError, match=words):
        stats.overfitting_probability(returns, n_blocks)


def test_pieces_become_rows_on_one_axis_of_bars():
    late, early = ([50, 51], [0.3, 0.4]), ([10, 11, 12], [0.0, 0.1, 0.2])
    returns, bars = stats.returns_matrix([[late, early], [early, late]])
    assert bars.tolist() == [10, 11, 12, 50, 51]
    np.testing.assert_array_equal(returns, [[0.0, 0.1, 0.2, 0.3, 0.4]] * 2)


@pytest.mark.parametrize(
    ("configurations", "words"),
    [
        ([], "at least one configuration"),
        ([[]], "at least one piece"),
        ([[([1, 2], [0.1])]], "configuration 0 has 2 bars and 1 returns"),
        ([[([1, 2], [0.1, 0.2]), ([2], [0.3])]], "configuration 0 has bar 2 in two pieces"),
        ([[([1, 2], [0.1, 0.2])], [([1, 3], [0.1, 0.2])]], "configuration 1 has 2 and the first one 2; bar 2"),
        ([[([1], [math.nan])]], "must be finite"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(configurations, words):
    with pytest.raises(ValueError, match=words):
        stats.returns_matrix(configurations)
