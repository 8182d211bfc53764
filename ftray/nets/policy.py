"""`PolicyNetwork`: what a trained policy is without the machinery that trained it.

Legend: B batch, A assets.
"""

import torch
from torch import Tensor, nn

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder


class PolicyNetwork(nn.Module):
    """Full observations in, deterministic actions out: a plain module to deploy and to export, without Ray or a table.

    encoder, policy_head: those of a trained policy.
    no_trade: the width of its no-trade zone, `trading.no_trade`.
    """

    def __init__(self, encoder: Encoder, policy_head: nn.Module, no_trade: float = 0.0):
        super().__init__()
        self.encoder, self.policy_head, self.no_trade = encoder, policy_head, no_trade

    @property
    def layout(self) -> ObservationLayout:
        return self.encoder.layout

    def forward(self, observation: Tensor) -> Tensor:
        """The mean of the action distribution, clipped, outside the no-trade zone around the observed holdings.

        Shape: (B, size) → (B, A) in [-1, 1].
        """
        mean = self.policy_head(self.encoder.encode(observation)).chunk(2, dim=-1)[0]
        actions = mean.clamp(-1.0, 1.0)
        if self.no_trade == 0.0:
            return actions
        held = observation[:, self.layout.account][:, 1:]
        return outside_no_trade(actions, held, self.no_trade)


def outside_no_trade(actions: Tensor, held: Tensor, width: float) -> Tensor:
    """`ftray.trading.outside_no_trade`, as a part of a graph. Shape: (B, A), (B, A) → (B, A)."""
    wanted = actions.clamp(min=0.0)
    wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1.0)
    traded = torch.minimum(torch.maximum(held, wanted - width), wanted + width)
    return traded / traded.sum(dim=1, keepdim=True).clamp(min=1.0)
