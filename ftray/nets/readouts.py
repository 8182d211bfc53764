"""Readouts: what turns the tokens behind the last block into the market vector; part of the market tower.

A readout knows its `width`, that of the market vector, and whether it reads the first token alone, [CLS]: then the last
block computes no other. The tokens that it gets are normalised.

Legend: B batch, N tokens, D width of a token, A assets.
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
        return self.norm(self.attention.read(self.queries[None], x)).flatten(1)

    def map(self, x: Tensor) -> Tensor:
        """What each query attends to, for people to look at. Shape: (B, N, D) → (B, H, A, N)."""
        return self.attention.map(self.queries[None], x)


def build_readout(spec: FTSpec, n_assets: int) -> ClsReadout | AssetReadout:
    """The readout that a spec asks for, freshly initialised."""
    if spec.readout == "assets":
        return AssetReadout(spec.d_token, spec.n_heads, n_assets)
    return ClsReadout(spec.d_token)
