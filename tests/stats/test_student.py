"""Quantiles of Student's t, compared with scipy's."""

import pytest
from scipy.stats import t

from ftray.stats.student import student_quantile


@pytest.mark.parametrize("freedom", [5, 6, 8, 12, 30, 1_000])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.975, 0.995])
def test_quantiles_agree_with_scipy(probability, freedom):
    assert student_quantile(probability, freedom) == pytest.approx(t.ppf(probability, freedom), abs=0.01)


def test_fewer_degrees_than_the_expansion_needs_are_refused():
    with pytest.raises(ValueError, match="at least 5 degrees of freedom, got 4"):
        student_quantile(0.95, 4)
