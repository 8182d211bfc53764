"""The FT-Transformer (Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", arXiv:2106.11959).

Every feature has its own embedding row. The rows of one series, scaled by the features' values, are summed over patches
of `patch_length` bars; at `patch_length` 1 this is the paper's model to the letter, [CLS] read-out and first block
without pre-normalisation included. No N × N attention map is ever held and, with patches, no features × width tensor.

Legend: B batch, S series, L lookback, K patch length, P patches per series, N tokens, D width, H heads, A assets.
"""

import math

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder
from ftray.nets.readout import Cls, Forecasts
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


class Attention(nn.Module):
    """Multi-head self-attention. Shape: (B, N, D) → (B, N, D)."""

    def __init__(self, d_token: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        # Three layers rather than one of three times the width: its backward pass would stack what SDPA returns apart.
        self.query, self.key, self.value, self.output = (nn.Linear(d_token, d_token) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.query, self.key, self.value)
        q, k, v = (rearrange(layer(x), "b n (h d) -> b h n d", h=self.n_heads) for layer in layers)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.output(rearrange(mixed, "b h n d -> b n (h d)"))

    def read_first(self, x: Tensor) -> Tensor:
        """The first token's row of `forward` alone, without a key or a value per token. Shape: (B, N, D) → (B, 1, D).

        q·(W_k x + b_k) = (W_kᵀ q)·x + constant, and softmax drops constants: the key weights can act on the query.
        Weights that sum to one pass through W_v: it can act on the mixture. What is left is H queries over x itself.
        """
        w_k, w_v = (rearrange(layer.weight, "(h d) e -> h d e", h=self.n_heads) for layer in (self.key, self.value))
        q = rearrange(self.query(x[:, 0]), "b (h d) -> b h d", h=self.n_heads)
        q = einsum(q, w_k, "b h d, h d e -> b h e")
        scale = (x.shape[-1] // self.n_heads) ** -0.5
        tokens = x[:, None]
        mixed = F.scaled_dot_product_attention(q[:, None], tokens, tokens, scale=scale)[:, 0]
        mixed = einsum(mixed, w_v, "b h e, h d e -> b h d")
        return self.output(mixed.flatten(1) + self.value.bias)[:, None]

    def map(self, x: Tensor, *, first_only: bool) -> Tensor:
        """The map itself, for people to look at: neither `forward` nor `read_first` ever holds it.

        Shape: (B, N, D) → (B, H, N, N), query before token, or (B, H, 1, N) where only the first query is wanted.
        """
        queries = self.query(x[:, :1] if first_only else x)
        q, k = (rearrange(y, "b n (h d) -> b h n d", h=self.n_heads) for y in (queries, self.key(x)))
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


class FeedForward(nn.Module):
    """ReGLU (Shazeer 2020) at the paper's width: 4/3 of D, three matrices of which cost as much as two of width 2 D."""

    def __init__(self, d_token: int, dropout: float):
        super().__init__()
        d_hidden = d_token * 4 // 3
        self.value, self.gate = nn.Linear(d_token, d_hidden), nn.Linear(d_token, d_hidden)
        self.contract = nn.Linear(d_hidden, d_token)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.dropout(self.value(x) * F.relu(self.gate(x))))


class Block(nn.Module):
    """A pre-norm transformer block. Shape: (B, N, D) → (B, N, D), or (B, 1, D) where only the first token is read.

    Dropout falls on the attention's output, not on its map: the map never exists.
    """

    def __init__(self, d_token: int, n_heads: int, dropout: float, *, first: bool):
        super().__init__()
        # Tokens straight from the tokenizer go into attention unnormalised: the paper found that to be essential.
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(d_token)
        self.attention = Attention(d_token, n_heads)
        self.feed_forward_norm = nn.LayerNorm(d_token)
        self.feed_forward = FeedForward(d_token, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, first_only: bool = False) -> Tensor:
        normed = self.attention_norm(x)
        if first_only:
            x = x[:, :1] + self.dropout(self.attention.read_first(normed))
        else:
            x = x + self.dropout(self.attention(normed))
        return x + self.feed_forward(self.feed_forward_norm(x))


class MarketTower(nn.Module):
    """Tokenizer, [CLS], blocks, final normalisation and read-out: all that pre-training trains and RL may freeze."""

    readout: Cls | Forecasts

    def __init__(self, spec: FTSpec, layout: ObservationLayout, dropout: float):
        super().__init__()
        self.tokenizer = Tokenizer(layout, spec.patch_length, spec.d_token)
        self.cls = nn.Parameter(torch.empty(spec.d_token).uniform_(-(spec.d_token**-0.5), spec.d_token**-0.5))
        self.blocks = nn.ModuleList(
            Block(spec.d_token, spec.n_heads, dropout, first=i == 0) for i in range(spec.n_blocks)
        )
        self.norm = nn.LayerNorm(spec.d_token)
        n_forecasts = layout.n_assets + spec.n_returns(layout.n_assets)
        self.readout = Forecasts(spec.d_token, n_forecasts) if spec.readout == "forecasts" else Cls()
        self.n_heads, self.activation_checkpointing = spec.n_heads, spec.activation_checkpointing

    def forward(self, tokens: Tensor, *, first_only: bool) -> Tensor:
        """Tokens through all blocks, [CLS] put before them. Shape: (B, N, D) → (B, 1 + N, D), or (B, 1, D).

        [CLS] is normalised. The others stay as the last block leaves them: a hidden cell is predicted from its token,
        and the amplitude that normalisation would drop is part of the answer.
        """
        x = self._with_cls(tokens)
        for i, block in enumerate(self.blocks):
            arguments = (x, first_only and i + 1 == len(self.blocks))
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
        return self.norm(x) if first_only else torch.cat([self.norm(x[:, :1]), x[:, 1:]], dim=1)

    def attention(self, tokens: Tensor, *, first_only: bool) -> Tensor:
        """Every block's attention map, [CLS] first. Shape: (B, N, D) → (B, blocks, H, 1 + N or 1, 1 + N)."""
        x, maps = self._with_cls(tokens), []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attention.map(block.attention_norm(x), first_only=first_only))
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
        readout = self.tower.readout
        self.d_market = len(readout.center) if isinstance(readout, Forecasts) else spec.d_token
        bound = spec.d_token**-0.5
        n_biases = 1 if self.shares_bars else layout.n_account
        self.account_weight = nn.Parameter(torch.empty(layout.n_account, spec.d_token).uniform_(-bound, bound))
        self.account_bias = nn.Parameter(torch.empty(n_biases, spec.d_token).uniform_(-bound, bound))
        self.projection = nn.Linear(self.d_market + (spec.d_token if self.shares_bars else 0), spec.encoding_dim)

    def tokens(self, windows: Tensor, mask: Tensor | None = None, mask_rows: Tensor | None = None) -> Tensor:
        """Every token of the market tower after its last block, [CLS] first. Shape: (B, S, L) → (B, 1 + S × P, D).

        `mask` (B, S, L) and `mask_rows` (S, L, D) hide cells, as pre-training does.
        """
        return self.tower(self.tower.tokenizer(windows, mask, mask_rows), first_only=False)

    def market(self, windows: Tensor) -> Tensor:
        return self.tower.readout(self.tower(self.tower.tokenizer(windows), first_only=True))

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        if not self.shares_bars:
            raise TypeError("early fusion has no market vector to fuse: call the encoder with windows and account")
        joined = torch.cat([market, account @ self.account_weight + self.account_bias], dim=-1)
        return self._project(joined)

    def forward(self, windows: Tensor, account: Tensor) -> Tensor:
        if self.shares_bars:
            return super().forward(windows, account)
        return self._project(self.tower(self._embed(windows, account), first_only=True)[:, 0])

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

    def _embed(self, windows: Tensor, account: Tensor) -> Tensor:
        """The tokens that the first block sees behind [CLS]; those of the account first, where they join early."""
        tokens = self.tower.tokenizer(windows)
        if self.shares_bars:
            return tokens
        return torch.cat([account[..., None] * self.account_weight + self.account_bias, tokens], dim=1)

    def _project(self, x: Tensor) -> Tensor:
        """The paper's output layer (its normalisation is the tower's), then the activation the heads expect."""
        return F.relu(self.projection(F.relu(x)))
