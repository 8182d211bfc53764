"""Vectors looked up ahead are those that each step would compute."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftray.agent.prefetch import MarketPrefetch

LAST_BAR = 60


@given(
    st.lists(st.integers(0, LAST_BAR), min_size=1, max_size=6),
    st.integers(1, 12),
    st.integers(0, 5),
    st.integers(0, 2**32 - 1),
)
def test_they_are_the_tower_s_wherever_new_episodes_begin_and_however_many_steps_come(bars, n_steps, more, seed):
    asked = []

    def tower(at):
        asked.append(len(at))
        return torch.stack([at * 2.0, at + 0.5], dim=1)

    rng, now = np.random.default_rng(seed), torch.tensor(bars)
    ahead = MarketPrefetch(tower, now, n_steps, LAST_BAR)
    for _ in range(n_steps + more):  # episodes that end bring a few steps more than were announced
        torch.testing.assert_close(ahead.at(now), torch.stack([now * 2.0, now + 0.5], dim=1))
        restart = torch.from_numpy((rng.random(len(bars)) < 0.2) | (now.numpy() == LAST_BAR))
        now = torch.where(restart, torch.from_numpy(rng.integers(0, LAST_BAR, len(bars))), now + 1)


def test_accounts_that_stay_in_their_episodes_cost_one_pass_for_all_their_steps():
    asked = []
    ahead = MarketPrefetch(
        lambda at: asked.append(at.tolist()) or at[:, None].float(), torch.tensor([3, 3, 9]), 4, LAST_BAR
    )
    for step in range(4):
        assert ahead.at(torch.tensor([3, 3, 9]) + step)[:, 0].tolist() == pytest.approx([3 + step, 3 + step, 9 + step])
    assert asked == [[3, 4, 5, 6, 9, 10, 11, 12]]
