"""Every sample is dealt once per epoch, and samples of one bar stay together."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftray.agent.minibatches import SLACK, minibatches, parts


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200), st.integers(1, 64), st.integers(1, 3))
def test_each_epoch_deals_every_sample_once_and_tears_no_more_groups_than_it_cuts(bars, size, epochs):
    groups = np.array(bars)
    samples = {"index": torch.arange(len(bars))}
    dealt = list(minibatches(samples, groups, size, epochs, np.random.default_rng(0)))
    per_epoch = len(dealt) // epochs
    for epoch in range(epochs):
        own = [batch["index"] for batch in dealt[epoch * per_epoch : (epoch + 1) * per_epoch]]
        assert sorted(torch.cat(own).tolist()) == list(range(len(bars)))
        assert max(map(len, own)) <= size * (1 + SLACK) + 1
        row = groups[torch.cat(own).numpy()]
        assert (np.diff(row) != 0).sum() == len(set(bars)) - 1  # each group stands in one piece


def test_the_order_changes_from_epoch_to_epoch_and_is_the_seed_s():
    samples, groups = {"index": torch.arange(64)}, np.arange(64)
    first, second = (b["index"].tolist() for b in minibatches(samples, groups, 64, 2, np.random.default_rng(1)))
    (again,) = (b["index"].tolist() for b in minibatches(samples, groups, 64, 1, np.random.default_rng(1)))
    assert first == again != second


@given(st.integers(1, 500), st.integers(1, 40))
def test_parts_cover_a_minibatch_and_are_never_empty(n, n_parts):
    slices = list(parts(n, n_parts))
    assert [i for part in slices for i in range(n)[part]] == list(range(n))
    lengths = [part.stop - part.start for part in slices]
    assert len(slices) == min(n, n_parts) and min(lengths) >= 1 and max(lengths) - min(lengths) <= 1
