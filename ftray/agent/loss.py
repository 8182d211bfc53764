"""PPO's loss (Schulman et al. 2017, arXiv:1707.06347), and what an update does to the policy.

Takes: a minibatch, the module's outputs for it. Gives: the loss to descend, and metrics of its parts.

Legend: M samples of a minibatch, A assets.
"""

from collections.abc import Mapping

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from ftray.agent import alternatives as others
from ftray.agent.gaussian import entropy, log_probability


def ppo_loss(
    samples: Mapping[str, Tensor],
    distribution: Tensor,
    values: Tensor,
    *,
    clip: float,
    value_weight: float,
    entropy_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss over a minibatch, and its metrics, detached.

    Samples with alternatives (`ftray.agent.alternatives`) have the clipped ratio of each of their 1 + K actions.
    Squared error of the values, not clipped: RLlib's clip silences the critic on large returns.

    Shape: distribution (M, 2 A) of means and log standard deviations, values (M,).
    """
    mean, log_std = distribution.chunk(2, dim=-1)
    old_mean, old_log_std = samples[Columns.ACTION_DIST_INPUTS].chunk(2, dim=-1)
    ratio = (log_probability(samples[Columns.ACTIONS], mean, log_std) - samples[Columns.ACTION_LOGP]).exp()
    advantages = samples[Postprocessing.ADVANTAGES]
    if others.ACTIONS in samples:
        logp = log_probability(samples[others.ACTIONS], mean[:, None], log_std[:, None])
        ratio = torch.cat([ratio[:, None], (logp - samples[others.LOGP]).exp()], dim=1)
        advantages = torch.cat([advantages[:, None], samples[others.ADVANTAGES]], dim=1)
    surrogate = torch.minimum(advantages * ratio, advantages * ratio.clamp(1.0 - clip, 1.0 + clip)).mean()
    value_loss = (values - samples[Postprocessing.VALUE_TARGETS]).square().mean()
    mean_entropy = entropy(log_std).mean()
    loss = -surrogate + value_weight * value_loss - entropy_weight * mean_entropy
    with torch.no_grad():
        spread = (2.0 * (old_log_std - log_std)).exp() + ((old_mean - mean) * (-log_std).exp()).square()
        kl = (log_std - old_log_std + 0.5 * (spread - 1.0)).sum(-1).mean()
        clipped = ((ratio - 1.0).abs() > clip).float().mean()
    metrics = {"policy": -surrogate, "value": value_loss, "entropy": mean_entropy, "kl": kl, "clip_fraction": clipped}
    return loss, {name: metric.detach() for name, metric in metrics.items()}
