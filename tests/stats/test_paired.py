"""The signed-rank test is exact: it answers what scipy answers, with ties and without."""

import numpy as np
import pytest
import scipy.stats

from ftray import stats


@pytest.mark.parametrize("n", [1, 2, 6, 9, 24])
@pytest.mark.parametrize("seed", range(4))
def test_without_ties_it_is_scipys_exact_test(n, seed):
    differences = np.random.default_rng(seed).normal(-0.3, size=n)
    expected = scipy.stats.wilcoxon(differences, alternative="less", method="exact").pvalue
    assert stats.signed_rank_probability(differences) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_with_ties_and_zeros_it_is_what_counting_all_signs_gives(seed):
    differences = np.random.default_rng(seed).integers(-3, 4, size=7).astype(float)
    method = scipy.stats.PermutationMethod(n_resamples=100_000)  # 2 ** 7 signs: all of them
    expected = scipy.stats.wilcoxon(differences, alternative="less", zero_method="wilcox", method=method).pvalue
    assert stats.signed_rank_probability(differences) == pytest.approx(expected, rel=1e-9)


def test_equal_runs_are_never_evidence():
    assert stats.signed_rank_probability([0.0] * 8) == 1.0
    with pytest.raises(ValueError, match="differences must be finite"):
        stats.signed_rank_probability([1.0, float("nan")])
