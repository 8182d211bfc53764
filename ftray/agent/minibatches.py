"""Minibatches: a train batch cut so that samples of a bar stay together, and into parts that fit the memory.

Legend: B samples of a train batch, M samples of a minibatch.
"""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

SLACK = 0.05
"""By how much a minibatch may be larger than asked for: an env runner that finishes its episodes brings a few samples
more than a whole number of minibatches, and they are no reason for one more step."""


def minibatches(
    samples: Mapping[str, Tensor], groups: np.ndarray, size: int, epochs: int, rng: np.random.Generator
) -> Iterator[dict[str, Tensor]]:
    """Every sample once per epoch, in minibatches of nearly equal size; each epoch has a new random order.

    Whole groups are shuffled, and a minibatch is cut from the row they make: at most two groups per minibatch are torn.

    Shape: samples of (B, ...), groups (B,) → of (M, ...).
    """
    _, group = np.unique(groups, return_inverse=True)
    n_parts = max(1, math.ceil(len(groups) / (size * (1.0 + SLACK))))
    for _ in range(epochs):
        rank = rng.permutation(group.max() + 1)
        order = torch.from_numpy(np.lexsort((rng.random(len(group)), rank[group])))
        for chosen in order.tensor_split(n_parts):
            yield {name: column[chosen.to(column.device)] for name, column in samples.items()}


def parts(n: int, n_parts: int) -> Iterator[slice]:
    """`n` samples in so many slices of nearly equal size, none of them empty."""
    edges = [n * i // min(n, n_parts) for i in range(min(n, n_parts) + 1)]
    for start, stop in itertools.pairwise(edges):
        yield slice(start, stop)
