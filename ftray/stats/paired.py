"""Whether one configuration is worse than another on the same folds and seeds.

Takes: differences of pairs. Gives: an exact probability, however few they are.
"""

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_series


def signed_rank_probability(differences: ArrayLike) -> float:
    """Probability of differences this low if both sides are equally good: a one-sided signed-rank test.

    Exact with ties too: given the sizes' ranks (their mean where sizes are tied), every sign is equally likely, and all
    sums of the positive ranks are counted. Pairs that do not differ are left out.
    Source: Wilcoxon 1945, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1(6).

    >>> signed_rank_probability([-1.0, -2.0, -3.0, -4.0, -5.0])
    0.03125
    """
    differences = checked_series(differences, "differences")
    differences = differences[differences != 0.0]
    ranks = _doubled_ranks(np.abs(differences))
    counts = np.zeros(int(ranks.sum()) + 1)  # by the doubled sum of the positive ranks
    counts[0] = 1.0
    for rank in ranks:
        counts[rank:] += counts[: len(counts) - rank].copy()
    reached = int(ranks[differences > 0.0].sum())
    return float(counts[: reached + 1].sum() / counts.sum())


def _doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, tied ones their mean; doubled, so that they are whole."""
    _, group, members = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(members)
    return (2 * last - members + 1)[group]
