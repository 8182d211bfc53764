"""The loss is PPO's: RLlib's distributions and formula say the same."""

import math

import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.evaluation.postprocessing import Postprocessing

from ftray.agent.loss import ppo_loss


@pytest.fixture
def samples():
    torch.manual_seed(0)
    old = torch.randn(64, 6)
    actions = TorchDiagGaussian.from_logits(old).sample()
    return {
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: old,
        Columns.ACTION_LOGP: TorchDiagGaussian.from_logits(old).logp(actions),
        Postprocessing.ADVANTAGES: torch.randn(64),
        Postprocessing.VALUE_TARGETS: torch.randn(64) * 30.0,
    }


def test_it_equals_the_formula_over_rllib_s_distributions(samples):
    new, values = samples[Columns.ACTION_DIST_INPUTS] + 0.2 * torch.randn(64, 6), torch.randn(64)
    loss, figures = ppo_loss(samples, new, values, clip=0.2, value_weight=0.5, entropy_weight=0.01)

    before, after = (TorchDiagGaussian.from_logits(x) for x in (samples[Columns.ACTION_DIST_INPUTS], new))
    ratio = (after.logp(samples[Columns.ACTIONS]) - samples[Columns.ACTION_LOGP]).exp()
    advantages = samples[Postprocessing.ADVANTAGES]
    surrogate = torch.min(advantages * ratio, advantages * ratio.clamp(0.8, 1.2)).mean()
    error = (values - samples[Postprocessing.VALUE_TARGETS]).square().mean()
    torch.testing.assert_close(loss, -surrogate + 0.5 * error - 0.01 * after.entropy().mean())
    torch.testing.assert_close(figures["kl"], before.kl(after).mean())
    torch.testing.assert_close(figures["entropy"], after.entropy().mean())
    assert figures["clip_fraction"] == ((ratio < 0.8) | (ratio > 1.2)).float().mean() > 0


def test_a_policy_that_did_not_change_clips_nothing_and_has_no_divergence(samples):
    _, figures = ppo_loss(
        samples, samples[Columns.ACTION_DIST_INPUTS], torch.zeros(64), clip=0.2, value_weight=0.5, entropy_weight=0.0
    )
    assert figures["clip_fraction"] == 0 and abs(figures["kl"]) < 1e-6
    torch.testing.assert_close(figures["policy"], -samples[Postprocessing.ADVANTAGES].mean())
    assert math.isfinite(figures["value"])
