"""`PolicyNetwork`: what a trained policy is without the machinery that trained it.

Legend: B batch, A assets.
"""

from torch import Tensor, nn

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder


class PolicyNetwork(nn.Module):
    """Full observations in, deterministic actions out: a plain module to deploy and to export, without Ray or a table.

    encoder, policy_head: those of a trained policy.
    """

    def __init__(self, encoder: Encoder, policy_head: nn.Module):
        super().__init__()
        self.encoder, self.policy_head = encoder, policy_head

    @property
    def layout(self) -> ObservationLayout:
        return self.encoder.layout

    def forward(self, observation: Tensor) -> Tensor:
        """The mean of the action distribution, clipped. Shape: (B, size) → (B, A) in [-1, 1]."""
        mean = self.policy_head(self.encoder.encode(observation)).chunk(2, dim=-1)[0]
        return mean.clamp(-1.0, 1.0)
