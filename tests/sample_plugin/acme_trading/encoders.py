"""`conv`: two convolutions along time, and their mean over the window.

Legend: B batch, S series, L lookback, A assets, C channels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ftray.features import ObservationLayout
from ftray.nets import ENCODERS, Encoder
from ftray.spec import Count, spec


@spec
class ConvSpec:
    """channels: of both convolutions, and so the width of the market vector. bars: that each of them sees."""

    kind: Literal["conv"] = "conv"
    channels: Count = 32
    bars: Count = 5
    encoding_dim: Count = 128


class ConvEncoder(Encoder):
    """Reads a window as S series along L bars; the account joins after the mean over time."""

    spec_class = ConvSpec
    shares_bars = True

    def __init__(self, spec: ConvSpec, layout: ObservationLayout):
        super().__init__()
        self.spec, self.layout, self.d_market = spec, layout, spec.channels
        self.tower = nn.Sequential(
            nn.Conv1d(layout.n_series, spec.channels, spec.bars, padding=spec.bars - 1),
            nn.GELU(),
            nn.Conv1d(spec.channels, spec.channels, spec.bars, padding=spec.bars - 1),
            nn.GELU(),
        )
        self.projection = nn.Linear(spec.channels + layout.n_account, spec.encoding_dim)

    def market(self, windows: Tensor) -> Tensor:
        """Shape: (B, S, L) → (B, C)."""
        return self.tower(windows).mean(dim=-1)

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        """Shape: (B, C), (B, 1 + A) → (B, encoding_dim)."""
        return torch.relu(self.projection(torch.cat([market, account], dim=1)))


ENCODERS.register(ConvEncoder)
