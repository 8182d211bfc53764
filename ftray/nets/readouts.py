"""Readouts: what turns the tokens behind the last block into the market vector; part of the market tower.

A readout knows its `width`, that of the market vector, and whether it reads the first token alone, [CLS]: then the last
block computes no other. The tokens that it gets are normalised.

Legend: B batch, N tokens, D width of a token, A assets, F forecasts.
"""

import torch
from torch import Tensor, nn

from ftray.nets.layers import Attention
from ftray.nets.spec import FTSpec


class ClsReadout(nn.Module):
    """[CLS] itself, which has read the other tokens in every block. Shape: (B, N, D) → (B, D)."""

    first_only = True

    def __init__(self, d_token: int):
        super().__init__()
        self.width = d_token

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class AssetReadout(nn.Module):
    """A learned query per asset reads all tokens: attention pooling (Lee et al. 2019, "Set Transformer",
    arXiv:1810.00825, section 3.2) without the feed-forward behind it. What is read is normalised, as [CLS] is.

    Shape: (B, N, D) → (B, A × D).
    """

    first_only = False

    def __init__(self, d_token: int, n_heads: int, n_assets: int):
        super().__init__()
        # Elements near 1: shorter queries would all look at everything alike, and read the same.
        self.width = n_assets * d_token
        self.queries = nn.Parameter(torch.randn(n_assets, d_token))
        self.attention = Attention(d_token, n_heads)
        self.attention.key.register_parameter("bias", None)  # which softmax would drop
        self.norm = nn.LayerNorm(d_token)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x).flatten(1)

    def pool(self, x: Tensor) -> Tensor:
        """What each query has read. Shape: (B, N, D) → (B, A, D)."""
        return self.norm(self.attention.read(self.queries[None], x))

    def map(self, x: Tensor) -> Tensor:
        """What each query attends to, for people to look at. Shape: (B, N, D) → (B, H, A, N)."""
        return self.attention.map(self.queries[None], x)


class ForecastReadout(AssetReadout):
    """What is to come of each asset, as pre-training's heads read it from what the asset's own query read.

    All assets share the rows of the head. Labels have a variance of one, and forecasts of what can hardly be foreseen a
    tenth of that: a policy would take long to make use of them. So they are standardised, with means and deviations
    that pre-training measures.

    Shape: (B, N, D) → (B, F), the same label of all assets side by side.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, d_token: int, n_heads: int, n_assets: int, n_forecasts: int):
        super().__init__(d_token, n_heads, n_assets)
        self.width = n_forecasts
        self.head = nn.Linear(d_token, n_forecasts // n_assets)
        # Persistent: a policy is built before its weights are loaded.
        self.register_buffer("center", torch.zeros(n_forecasts))
        self.register_buffer("scale", torch.ones(n_forecasts))

    def forward(self, x: Tensor) -> Tensor:
        return (self.raw(x) - self.center) / self.scale

    def raw(self, x: Tensor) -> Tensor:
        """Forecasts of the labels themselves. Shape: (B, N, D) → (B, F)."""
        return self.foretell(self.pool(x))

    def foretell(self, pooled: Tensor) -> Tensor:
        """`raw` of what the queries have read. Shape: (B, A, D) → (B, F)."""
        return self.head(pooled).mT.flatten(1)

    @torch.no_grad()
    def standardise(self, forecasts: Tensor) -> None:
        """Sets means and deviations so that `forward` gives these as numbers of mean 0 and variance 1.

        forecasts: (n, F), as `raw` gives them.
        """
        self.center.copy_(forecasts.mean(dim=0))
        self.scale.copy_(forecasts.std(dim=0).clamp(min=1e-6))


Readout = ClsReadout | AssetReadout | ForecastReadout


def build_readout(spec: FTSpec, n_assets: int) -> Readout:
    """The readout that a spec asks for, freshly initialised."""
    if spec.readout == "forecasts":
        return ForecastReadout(spec.d_token, spec.n_heads, n_assets, spec.market_width(n_assets))
    if spec.readout == "assets":
        return AssetReadout(spec.d_token, spec.n_heads, n_assets)
    return ClsReadout(spec.d_token)
