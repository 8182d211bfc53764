"""How much samples of the same group resemble each other.

Takes: values and the groups that they belong to. Gives: the intraclass correlation.
"""

import numpy as np


def intraclass_correlation(values: np.ndarray, groups: np.ndarray) -> float:
    """The one-way intraclass correlation, ICC(1): 1 where members of a group are alike, 0 where a group says nothing.

    (MSB − MSW) / (MSB + (k₀ − 1) MSW), with mean squares between and within groups and, for groups of unequal size,
    k₀ = (N − Σ nᵢ² / N) / (g − 1) (Shrout and Fleiss 1979; Donner 1986). Groups of one are left out. 0 where there are
    fewer than two groups, or no variance.

    Shape: values (N,), groups (N,), of anything that can be sorted.

    >>> intraclass_correlation(np.array([1.0, 1.0, 5.0, 5.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = sizes[group] > 1
    values, group = np.asarray(values, dtype=float)[kept], group[kept]
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    n, g = len(values), len(sizes)
    if g < 2:
        return 0.0
    means = np.bincount(group, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (g - 1)
    within = float(((values - means[group]) ** 2).sum()) / (n - g)
    k = (n - float((sizes**2).sum()) / n) / (g - 1)
    total = between + (k - 1) * within
    return (between - within) / total if total > 0 else 0.0
