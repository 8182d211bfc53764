"""The intraclass correlation finds what samples of a group have in common."""

import numpy as np
import pytest

from ftray.stats import intraclass_correlation


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8])
def test_it_finds_the_share_of_variance_that_a_group_has_in_common(shared):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20_000), rng.integers(2, 6, 20_000))
    values = np.sqrt(shared) * rng.normal(size=20_000)[groups] + np.sqrt(1 - shared) * rng.normal(size=len(groups))
    order = rng.permutation(len(groups))
    assert intraclass_correlation(values[order], groups[order]) == pytest.approx(shared, abs=0.02)


def test_it_is_the_analysis_of_variance_of_the_textbook():
    # Shrout and Fleiss (1979), table 2: six targets, four judges; ICC(1, 1) = 0.17.
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert intraclass_correlation(ratings.ravel(), np.repeat(np.arange(6), 4)) == pytest.approx(0.17, abs=0.005)


def test_without_two_groups_or_without_variance_it_is_zero():
    assert intraclass_correlation(np.arange(4.0), np.arange(4)) == 0.0
    assert intraclass_correlation(np.ones(6), np.array([0, 0, 1, 1, 2, 2])) == 0.0
