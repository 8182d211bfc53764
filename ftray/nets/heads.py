"""Policy and value head, and what a whole actor-critic weighs."""

import torch
from torch import nn

from ftray.features.layout import ObservationLayout
from ftray.nets.families import build_encoder
from ftray.nets.spec import EncoderSpec


def build_head(width: int, out: int, gain: float) -> nn.Sequential:
    """A hidden layer as wide as the encoding, and an output layer.

    A small gain of the last layer starts a policy near zero, independent of the observation (Andrychowicz et al. 2021,
    "What Matters in On-Policy Reinforcement Learning?").
    """
    last = nn.Linear(width, out)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), last)


def policy_head(width: int, n_assets: int, log_std: float = 0.0) -> nn.Sequential:
    """Mean and log standard deviation of the action per asset. Shape: (B, width) → (B, 2 × A).

    log_std: what a new head gives for it, up to the small weights of its last layer.
    """
    head = build_head(width, 2 * n_assets, gain=0.01)
    nn.init.constant_(head[-1].bias[n_assets:], log_std)  # type: ignore[index]
    return head


def value_head(width: int) -> nn.Sequential:
    """The value of a state. Shape: (B, width) → (B, 1)."""
    return build_head(width, 1, gain=1.0)


def actor_critic_parameters(spec: EncoderSpec, layout: ObservationLayout) -> int:
    """The number of parameters of encoder and both heads, counted without allocating any."""
    with torch.device("meta"):
        parts = [
            build_encoder(spec, layout),
            policy_head(spec.encoding_dim, layout.n_assets),
            value_head(spec.encoding_dim),
        ]
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
