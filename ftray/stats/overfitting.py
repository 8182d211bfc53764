"""How often choosing by backtest fails: the probability of backtest overfitting, by symmetric cross-validation.

Takes: returns of many configurations on the same bars. Gives: the probability that the one which is best on one half of
the bars is below the median on the other half.

Legend: N configurations, T bars, S blocks of bars, C ways to choose half of the blocks.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_matrix, checked_series

Piece = tuple[ArrayLike, ArrayLike]
"""(bars (n,) int, returns (n,)) of one contiguous piece."""

_MAX_BLOCKS = 20
"""184,756 halves; every two blocks more make it four times as many."""

_CELLS = 4_000_000
"""What is compared at once at most: splits × configurations²."""


def returns_matrix(configurations: Sequence[Sequence[Piece]]) -> tuple[np.ndarray, np.ndarray]:
    """The returns of configurations, each over its separate pieces, on one axis of bars in time order.

    Nothing is computed across the seams between pieces: no price, no position.
    Returns: (N, T) returns and (T,) bars.
    Raises: ValueError if a configuration has a bar twice, or other bars than the first one.

    >>> returns, bars = returns_matrix([[([7, 8], [0.3, 0.4]), ([1, 2], [0.1, 0.2])]])
    >>> returns.tolist(), bars.tolist()
    ([[0.1, 0.2, 0.3, 0.4]], [1, 2, 7, 8])
    """
    if not configurations or not all(len(pieces) for pieces in configurations):
        raise ValueError("expected at least one configuration, and at least one piece of each")
    rows = []
    first = np.empty(0, np.int64)
    for i, pieces in enumerate(configurations):
        bars = np.concatenate([np.asarray(piece[0], np.int64) for piece in pieces])
        returns = np.concatenate([checked_series(piece[1], "returns") for piece in pieces])
        if len(bars) != len(returns):
            raise ValueError(f"configuration {i} has {len(bars)} bars and {len(returns)} returns: one each")
        order = np.argsort(bars, kind="stable")
        bars = bars[order]
        twice = np.flatnonzero(np.diff(bars) == 0)
        if len(twice):
            raise ValueError(f"configuration {i} has bar {bars[twice[0]]} in two pieces; take one path at a time")
        if i == 0:
            first = bars
        elif not np.array_equal(bars, first):
            other = np.setxor1d(bars, first)
            raise ValueError(
                f"all configurations must have the same bars, but configuration {i} has {len(bars)} and the first one "
                f"{len(first)}; bar {other[0]} is in one of them alone"
            )
        rows.append(returns[order])
    return np.stack(rows), first


def overfitting_probability(returns: ArrayLike, n_blocks: int = 16) -> float:
    """Probability of backtest overfitting, with the Sharpe ratio as the measure that chooses.

    The bars are cut into S blocks. Every half of the blocks is used once to choose on, and the other half to judge the
    choice on. The answer is the share of choices whose rank among N, over N + 1, is at most one half: near 0.5 when
    no configuration is better than another, near 0 when the best is truly better. Ties among the best count
    in equal parts.

    returns: (N, T), N ≥ 2; the oldest T mod S bars are left out, so that the blocks are equally long.
    Source: Bailey, Borwein, López de Prado and Zhu 2017, The Probability of Backtest Overfitting, Journal of
    Computational Finance 20(4): combinatorially symmetric cross-validation.
    """
    returns = checked_matrix(returns, "configurations", "bars", min_rows=2)
    n_configurations, n_bars = returns.shape
    if n_blocks % 2 or not 2 <= n_blocks <= min(_MAX_BLOCKS, n_bars // 2):
        raise ValueError(
            f"n_blocks must be even, at least 2, at most {_MAX_BLOCKS} and at most half of the {n_bars} bars, "
            f"got {n_blocks}: take fewer blocks or more bars"
        )
    blocks = returns[:, n_bars % n_blocks :].reshape(n_configurations, n_blocks, -1)
    means, squares = blocks.mean(axis=2).T, (blocks**2).mean(axis=2).T
    chosen = np.array(list(itertools.combinations(range(n_blocks), n_blocks // 2)))
    halves = np.zeros((len(chosen), n_blocks))
    np.put_along_axis(halves, chosen, 1.0, axis=1)

    overfitted = 0.0
    step = max(1, _CELLS // n_configurations**2)
    for some in np.split(halves, range(step, len(halves), step)):
        inside, outside = (_sharpes(means, squares, half) for half in (some, 1.0 - some))
        best = inside == inside.max(axis=1, keepdims=True)
        split, choice = np.nonzero(best)
        own = outside[split, choice][:, None]
        below, level = (outside[split] < own).sum(axis=1), (outside[split] == own).sum(axis=1)
        ranks = below + (level + 1) / 2  # those below, itself, and half of its ties
        failed = ranks / (n_configurations + 1) <= 0.5
        overfitted += float((failed / best.sum(axis=1)[split]).sum())
    return min(1.0, overfitted / len(halves))


def _sharpes(means: np.ndarray, squares: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Sharpe ratios per bar over half of the blocks, from each block's mean return and mean squared return.

    Returns without variation have the ratio 0. Shape: (S, N), (S, N), (C, S) of 0 and 1 → (C, N).
    """
    mean, square = (2.0 / halves.shape[1] * (halves @ of_blocks) for of_blocks in (means, squares))
    variance = square - mean**2
    moves = variance > 1e-12 * square
    return np.divide(mean, np.sqrt(np.where(moves, variance, 1.0)), out=np.zeros_like(mean), where=moves)
