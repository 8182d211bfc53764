"""Student's distribution, by the normal one.

Takes: a distance in standard errors, or a probability, and degrees of freedom, not always whole. Gives: floats.
Source: Wallace 1959, Bounds on Normal Approximations to Student's and the Chi-Square Distributions, Annals of
Mathematical Statistics 30(4). Its probabilities are within 0.002 of the true ones from 2 degrees of freedom on.
"""

import math
from statistics import NormalDist

NORMAL = NormalDist()


def student_probability(distance: float, degrees: float) -> float:
    """Probability of a value below this distance.

    >>> round(student_probability(2.015, 5), 3)
    0.95
    """
    size = math.sqrt(degrees * math.log1p(distance**2 / degrees)) * _shrunk(degrees)
    return NORMAL.cdf(math.copysign(size, distance))


def student_quantile(probability: float, degrees: float) -> float:
    """The distance that values stay below with this probability: the inverse of `student_probability`.

    >>> round(student_quantile(0.95, 5), 2)
    2.02
    """
    normal = NORMAL.inv_cdf(probability)
    size = math.sqrt(degrees * math.expm1((normal / _shrunk(degrees)) ** 2 / degrees))
    return math.copysign(size, normal)


def _shrunk(degrees: float) -> float:
    return (8.0 * degrees + 1.0) / (8.0 * degrees + 3.0)
