"""The action distribution: a Gaussian with a standard deviation of its own per asset.

Legend: A assets.
"""

import math

from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def log_probability(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of actions, summed over assets. Shape: (..., A) each → (...)."""
    distance = (actions - mean) * (-log_std).exp()
    return (-0.5 * distance.square() - log_std - HALF_LOG_TWO_PI).sum(dim=-1)


def entropy(log_std: Tensor) -> Tensor:
    """Differential entropy, summed over assets. Shape: (..., A) → (...)."""
    return (log_std + HALF_LOG_TWO_PI + 0.5).sum(dim=-1)
