"""Read-outs: from the tokens after the last block to the market vector.

Takes: tokens, [CLS] first and normalised. Gives: the market vector.

Legend: B batch, N tokens, D width, F forecasts.
"""

import torch
from torch import Tensor, nn


class Cls(nn.Module):
    """The [CLS] token. Shape: (B, N, D) → (B, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class Forecasts(nn.Module):
    """What is to come, as pre-training's heads read it from [CLS]. Shape: (B, N, D) → (B, F).

    Labels have a variance of one, and forecasts of what can hardly be foreseen a tenth of that: a policy would take
    long to make use of them. So they are standardised, with means and deviations that pre-training measures.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, width: int, n_forecasts: int):
        super().__init__()
        self.head = nn.Linear(width, n_forecasts)
        # Persistent: a policy is built before its weights are loaded.
        self.register_buffer("center", torch.zeros(n_forecasts))
        self.register_buffer("scale", torch.ones(n_forecasts))

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.head(tokens[:, 0]) - self.center) / self.scale

    @torch.no_grad()
    def standardise(self, forecasts: Tensor) -> None:
        """Sets mean and deviation so that `forward` gives these as numbers of mean 0 and variance 1.

        forecasts: (n, F), as `head` gives them.
        """
        self.center.copy_(forecasts.mean(dim=0))
        self.scale.copy_(forecasts.std(dim=0).clamp(min=1e-6))
