"""Advantages are RLlib's own, computed without its artificial steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from ftray.agent.advantages import generalised_advantages

FRAGMENTS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["cut", "terminated", "truncated"])), min_size=1)


@given(FRAGMENTS, st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_they_equal_those_of_rllib_however_episodes_are_cut(fragments, seed, gamma, gae_lambda):
    rng = np.random.default_rng(seed)
    lengths = np.array([length for length, _ in fragments])
    ends = np.array([end for _, end in fragments])
    values, rewards = rng.normal(size=(2, lengths.sum()))
    closing = rng.normal(size=len(lengths))

    split = np.cumsum(lengths)[:-1]
    theirs = compute_value_targets(  # one artificial step per fragment carries the closing value
        values=np.concatenate([[*v, c] for v, c in zip(np.split(values, split), closing, strict=True)]),
        rewards=np.concatenate([[*r, 0.0] for r in np.split(rewards, split)]),
        terminateds=np.concatenate([[False] * (n - 1) + [e == "terminated", False] for n, e in fragments]),
        truncateds=np.concatenate([[False] * (n - 1) + [e != "terminated", False] for n, e in fragments]),
        gamma=gamma,
        lambda_=gae_lambda,
    )
    real = np.delete(theirs, np.cumsum(lengths + 1) - 1)

    advantages, targets = generalised_advantages(
        values,
        closing_values=np.where(ends == "terminated", 0.0, closing),
        rewards=rewards,
        lengths=lengths,
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    np.testing.assert_allclose(targets, real, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(advantages, real - values, rtol=1e-4, atol=1e-4)
