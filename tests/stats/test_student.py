"""Student's distribution, compared with scipy's."""

import pytest
from scipy.stats import t

from ftray.stats.student import student_probability, student_quantile


@pytest.mark.parametrize("degrees", [5, 6, 8, 12, 30, 1_000])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.975, 0.995])
def test_quantiles_agree_with_scipy_to_1_percent(probability, degrees):
    found = student_quantile(probability, degrees)
    assert found == pytest.approx(t.ppf(probability, degrees), rel=0.01, abs=1e-12)
    assert student_probability(found, degrees) == pytest.approx(probability)
