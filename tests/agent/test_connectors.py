"""What RLlib would train on without a word is an error here."""

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian

from ftray.agent.connectors import ActionsToEnv, check_bars_follow, check_finite
from ftray.errors import TrainingError


def fragment(bars):
    return np.array([[bar, 1.0, 0.0] for bar in bars], dtype=np.float32)


def test_fragments_that_walk_bar_by_bar_pass():
    check_bars_follow([fragment([7, 8, 9]), fragment([100, 101])])


@pytest.mark.parametrize(
    "bars",
    [
        pytest.param([0, 5, 5, 5, 5], id="an environment that returns the same array again and again"),
        pytest.param([1, 2, 3, 4, 900], id="same-step autoreset: the next episode's first observation at the end"),
    ],
)
def test_a_broken_vector_environment_is_recognised_by_its_bars(bars):
    with pytest.raises(TrainingError, match="next-step autoreset and return new arrays"):
        check_bars_follow([fragment([7, 8, 9]), fragment(bars)])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_reaches_the_learner_and_never_the_environment(broken):
    inputs = torch.zeros(3, 4)
    inputs[1, 0] = broken
    out = ActionsToEnv()(batch={Columns.ACTION_DIST_INPUTS: inputs, Columns.VF_PREDS: torch.zeros(3)}, explore=True)
    assert np.isfinite(out[Columns.ACTIONS_FOR_ENV]).all() and out[Columns.ACTIONS_FOR_ENV][1, 0] == 0.0
    with pytest.raises(TrainingError, match="1 actions of 3 that are not finite"):
        check_finite(out[Columns.ACTIONS])


def test_actions_are_sampled_from_the_policy_s_gaussian_with_their_log_probability():
    torch.manual_seed(0)
    inputs = torch.tensor([[0.2, -0.1, -1.0, 0.3]]).repeat(20_000, 1)
    batch = {Columns.ACTION_DIST_INPUTS: inputs, Columns.VF_PREDS: torch.zeros(len(inputs))}
    out = ActionsToEnv()(batch=dict(batch), explore=True)
    actions = torch.from_numpy(out[Columns.ACTIONS])
    torch.testing.assert_close(actions.mean(0), inputs[0, :2], atol=0.05, rtol=0)
    torch.testing.assert_close(actions.std(0), inputs[0, 2:].exp(), atol=0.05, rtol=0)
    expected = TorchDiagGaussian.from_logits(inputs).logp(actions)
    torch.testing.assert_close(torch.from_numpy(out[Columns.ACTION_LOGP]), expected, atol=1e-4, rtol=1e-4)
    assert np.abs(out[Columns.ACTIONS_FOR_ENV]).max() <= 1.0 < np.abs(out[Columns.ACTIONS]).max()
    still = ActionsToEnv()(batch=dict(batch), explore=False)
    np.testing.assert_array_equal(still[Columns.ACTIONS], inputs[:, :2])
