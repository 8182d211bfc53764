"""The layers of a transformer: attention, feed-forward, and the block of both.

Legend: B batch, N tokens, Q queries, D width, H heads.
"""

from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F


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

    def read(self, queries: Tensor, x: Tensor) -> Tensor:
        """What a few queries read from all tokens, without a key or a value per token.

        q·(W_k x + b_k) = (W_kᵀ q)·x + constant, and softmax drops constants: the key weights can act on the query.
        Weights that sum to one pass through W_v: it can act on the mixture. What is left is H queries over x itself.

        queries: (B, Q, D), or (1, Q, D) where all samples have the same. x: (B, N, D). Gives (B, Q, D).
        """
        w_k, w_v = (rearrange(layer.weight, "(h d) e -> h d e", h=self.n_heads) for layer in (self.key, self.value))
        q = rearrange(self.query(queries), "b q (h d) -> b q h d", h=self.n_heads)
        q = einsum(q, w_k, "b q h d, h d e -> b q h e").flatten(1, 2).expand(x.shape[0], -1, -1)
        scale = (x.shape[-1] // self.n_heads) ** -0.5
        tokens = x[:, None]
        mixed = F.scaled_dot_product_attention(q[:, None], tokens, tokens, scale=scale)[:, 0]
        mixed = einsum(mixed.unflatten(1, (-1, self.n_heads)), w_v, "b q h e, h d e -> b q h d")
        return self.output(mixed.flatten(2) + self.value.bias)

    def map(self, queries: Tensor, x: Tensor) -> Tensor:
        """The map itself, for people to look at: neither `forward` nor `read` ever holds it.

        Shape: (B, Q, D) or (1, Q, D), (B, N, D) → (B, H, Q, N).
        """
        layers = ((self.query, queries), (self.key, x))
        q, k = (rearrange(layer(y), "b n (h d) -> b h n d", h=self.n_heads) for layer, y in layers)
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
            x = x[:, :1] + self.dropout(self.attention.read(normed[:, :1], normed))
        else:
            x = x + self.dropout(self.attention(normed))
        return x + self.feed_forward(self.feed_forward_norm(x))
