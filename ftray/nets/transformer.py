"""The FT-Transformer (Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", arXiv:2106.11959).

Every feature has its own embedding row. The rows of one series, scaled by the features' values, are summed over patches
of `patch_length` bars; at `patch_length` 1 this is the paper's model to the letter, [CLS] read-out and first block
without pre-normalisation included. No N × N attention map is ever held and, with patches, no features × width tensor.

Legend: B batch, S series, L lookback, K patch length, P patches per series, N tokens, D width, H heads, A assets.
"""

import math
from collections.abc import Iterable

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder
from ftray.nets.layers import Block
from ftray.nets.readouts import AssetReadout, ForecastReadout, build_readout
from ftray.nets.spec import FTSpec


def patch_sums(cells: Tensor, rows: Tensor, patch_length: int) -> Tensor:
    """Rows scaled by cells and summed over each patch of a series: one matrix product per patch.

    The last patch of a series is shorter where `patch_length` does not divide the lookback.

    Shape: (B, S, L), (S, L, D) → (B, S, P, D).
    """
    missing = -cells.shape[-1] % patch_length
    if missing:
        cells, rows = F.pad(cells, (0, missing)), F.pad(rows, (0, 0, 0, missing))
    cells, rows = cells.unflatten(2, (-1, patch_length)), rows.unflatten(1, (-1, patch_length))
    return einsum(cells, rows, "b s p k, s p k d -> b s p d")


class Tokenizer(nn.Module):
    """One embedding row per feature, one bias per token. Shape: (B, S, L) → (B, S × P, D)."""

    def __init__(self, layout: ObservationLayout, patch_length: int, d_token: int):
        super().__init__()
        self.patch_length = min(patch_length, layout.lookback)
        self.n_patches = math.ceil(layout.lookback / self.patch_length)
        self.weight = nn.Parameter(torch.empty(layout.n_series, layout.lookback, d_token))
        self.bias = nn.Parameter(torch.empty(layout.n_series, self.n_patches, d_token))
        # The paper's bound; a sum of K scaled rows keeps a token's scale when each row shrinks by √K.
        bound = d_token**-0.5
        nn.init.uniform_(self.weight, -bound / self.patch_length**0.5, bound / self.patch_length**0.5)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, windows: Tensor, mask: Tensor | None = None, mask_rows: Tensor | None = None) -> Tensor:
        """A hidden cell, `mask` (B, S, L) true, adds its row of `mask_rows` (S, L, D) in place of its scaled row."""
        if mask is None or mask_rows is None:
            tokens = patch_sums(windows, self.weight, self.patch_length)
        else:
            tokens = patch_sums(windows.masked_fill(mask, 0.0), self.weight, self.patch_length)
            tokens = tokens + patch_sums(mask.to(windows.dtype), mask_rows, self.patch_length)
        return (tokens + self.bias).flatten(1, 2)


class MarketTower(nn.Module):
    """Tokenizer, [CLS], blocks, final normalisation, readout: all that pre-training trains and RL may freeze."""

    def __init__(self, spec: FTSpec, layout: ObservationLayout, dropout: float):
        super().__init__()
        self.tokenizer = Tokenizer(layout, spec.patch_length, spec.d_token)
        self.cls = nn.Parameter(torch.empty(spec.d_token).uniform_(-(spec.d_token**-0.5), spec.d_token**-0.5))
        self.blocks = nn.ModuleList(
            Block(spec.d_token, spec.n_heads, dropout, first=i == 0) for i in range(spec.n_blocks)
        )
        self.norm = nn.LayerNorm(spec.d_token)
        self.n_heads, self.activation_checkpointing = spec.n_heads, spec.activation_checkpointing
        self.readout = build_readout(spec, layout.n_assets)

    def forward(self, tokens: Tensor, *, first_only: bool = False) -> Tensor:
        """Tokens through all blocks, [CLS] put before them. Shape: (B, N, D) → (B, 1 + N, D), or (B, 1, D).

        They stay as the last block leaves them: a hidden cell is predicted from its token, and the amplitude that
        normalisation would drop is part of the answer.
        """
        x = self._with_cls(tokens)
        for i, block in enumerate(self.blocks):
            arguments = (x, first_only and i + 1 == len(self.blocks))
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
        return x

    def read(self, x: Tensor) -> Tensor:
        """The market vectors that are read from what `forward` gives. Shape: (B, 1 + N, D) → (B, d_market)."""
        return self.readout(self.norm(x[:, :1] if self.readout.first_only else x))

    def market(self, tokens: Tensor) -> Tensor:
        """The market vectors of tokens. Shape: (B, N, D) → (B, d_market)."""
        return self.read(self(tokens, first_only=self.readout.first_only))

    def attention(self, tokens: Tensor, *, first_only: bool) -> Tensor:
        """Every block's attention map, [CLS] first. Shape: (B, N, D) → (B, blocks, H, 1 + N or 1, 1 + N)."""
        x, maps = self._with_cls(tokens), []
        for block in self.blocks:
            assert isinstance(block, Block)
            normed = block.attention_norm(x)
            maps.append(block.attention.map(normed[:, :1] if first_only else normed, normed))
            if len(maps) < len(self.blocks):
                x = block(x)
        return torch.stack(maps, dim=1)

    def _with_cls(self, tokens: Tensor) -> Tensor:
        # Not len(tokens): an export would take this batch's size for every batch's.
        return torch.cat([self.cls.expand(tokens.shape[0], 1, -1).to(tokens.dtype), tokens], dim=1)


class FTTransformer(Encoder):
    """The FT-Transformer encoder; `spec.fusion` says where the account joins.

    Late: the account's rows, scaled and summed, are joined to the market vector before the projection.
    Early: one token per account scalar in every block, as the paper would have it.
    """

    spec_class = FTSpec
    tower: MarketTower
    bars_per_pass = 128

    def __init__(self, spec: FTSpec, layout: ObservationLayout, *, dropout: float = 0.0):
        """`dropout` is for pre-training: PPO's ratio compares two passes, which dropout would make differ."""
        super().__init__()
        self.spec, self.layout = spec, layout
        self.shares_bars = spec.fusion == "late"
        self.tower = MarketTower(spec, layout, dropout)
        self.d_market = self.tower.readout.width
        bound = spec.d_token**-0.5
        n_biases = 1 if self.shares_bars else layout.n_account
        self.account_weight = nn.Parameter(torch.empty(layout.n_account, spec.d_token).uniform_(-bound, bound))
        self.account_bias = nn.Parameter(torch.empty(n_biases, spec.d_token).uniform_(-bound, bound))
        self.projection = nn.Linear(self.d_market + (spec.d_token if self.shares_bars else 0), spec.encoding_dim)

    def tokens(self, windows: Tensor, mask: Tensor | None = None, mask_rows: Tensor | None = None) -> Tensor:
        """Every token of the market tower after its last block, [CLS] first. Shape: (B, S, L) → (B, 1 + S × P, D).

        [CLS] is normalised, the others are as the last block leaves them. `mask` (B, S, L) and `mask_rows` (S, L, D)
        hide cells, as pre-training does.
        """
        x = self.tower(self.tower.tokenizer(windows, mask, mask_rows))
        return torch.cat([self.tower.norm(x[:, :1]), x[:, 1:]], dim=1)

    def market(self, windows: Tensor) -> Tensor:
        return self.tower.market(self.tower.tokenizer(windows))

    @torch.no_grad()
    def standardise(self, batches: Iterable[Tensor]) -> None:
        """Measures how far its forecasts deviate on these windows, each (B, S, L). Only with readout `forecasts`."""
        readout = self.tower.readout
        assert isinstance(readout, ForecastReadout)
        tokens = (self.tower.norm(self.tower(self.tower.tokenizer(windows))) for windows in batches)
        readout.standardise(torch.cat([readout.raw(x) for x in tokens]))

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        if not self.shares_bars:
            raise TypeError("early fusion has no market vector to fuse: call the encoder with windows and account")
        joined = torch.cat([market, account @ self.account_weight + self.account_bias], dim=-1)
        return self._project(joined)

    def forward(self, windows: Tensor, account: Tensor) -> Tensor:
        if self.shares_bars:
            return super().forward(windows, account)
        return self._project(self.tower.market(self._embed(windows, account)))

    @property
    def token_names(self) -> tuple[str, ...]:
        """What stands where among the tokens: `[CLS]`, with early fusion the account, then `close[BTC, t-59..t-0]`."""
        layout, length = self.layout, self.tower.tokenizer.patch_length
        account = () if self.shares_bars else layout.account_names
        patches = (
            layout.patch_name(series, start, min(start + length, layout.lookback))
            for series in range(layout.n_series)
            for start in range(0, layout.lookback, length)
        )
        return ("[CLS]", *account, *patches)

    @torch.no_grad()
    def attention(self, observation: Tensor, *, cls_only: bool = False) -> Tensor:
        """Attention maps of one or several full observations, rows summing to 1; `token_names` names both sides.

        Computed on request alone, and as large as they are: 1.1 GB per observation at 5,889 tokens (balanced).
        `cls_only` gives [CLS]'s row without the rest.

        Shape: (..., size) → (..., block, head, query, token).
        """
        windows, account = self.split(observation.reshape(-1, self.layout.size))
        maps = self.tower.attention(self._embed(windows, account), first_only=cls_only)
        return maps.unflatten(0, observation.shape[:-1]) if observation.dim() > 1 else maps[0]

    @torch.no_grad()
    def readout_attention(self, observation: Tensor) -> Tensor:
        """What the query of each asset attends to, where there is one; rows sum to 1, `token_names` names tokens.

        Shape: (..., size) → (..., head, asset, token).

        Raises: TypeError with readout `cls`, where [CLS] reads in every block: see `attention`.
        """
        if not isinstance(self.tower.readout, AssetReadout):
            raise TypeError(f"readout {self.spec.readout} has no query per asset: see `attention`")
        windows, account = self.split(observation.reshape(-1, self.layout.size))
        maps = self.tower.readout.map(self.tower.norm(self.tower(self._embed(windows, account))))
        return maps.unflatten(0, observation.shape[:-1]) if observation.dim() > 1 else maps[0]

    def _embed(self, windows: Tensor, account: Tensor) -> Tensor:
        """The tokens that the first block sees behind [CLS]; those of the account first, where they join early."""
        tokens = self.tower.tokenizer(windows)
        if self.shares_bars:
            return tokens
        return torch.cat([account[..., None] * self.account_weight + self.account_bias, tokens], dim=1)

    def _project(self, x: Tensor) -> Tensor:
        """The paper's output layer (its normalisation is the tower's), then the activation the heads expect."""
        return F.relu(self.projection(F.relu(x)))
