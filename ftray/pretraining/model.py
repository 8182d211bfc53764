"""The encoder with what only pre-training needs: mask rows, a decoder, a head on the pooled vector.

Takes: windows, a mask. Gives: predictions of the hidden cells and of the coming volatility, and their losses.

Legend: B batch, S series, L lookback, K patch length, P patches per series, D width, A assets.
"""

import dataclasses

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from ftray.nets import FTTransformer


@dataclasses.dataclass(frozen=True)
class Losses:
    """Sums of errors and how many there are, so that batches add up to an exact mean. All tensors of shape ()."""

    masked: Tensor
    n_masked: Tensor
    pooled: Tensor
    n_pooled: Tensor

    def __add__(self, other: "Losses") -> "Losses":
        return Losses(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def means(self) -> tuple[Tensor, Tensor]:
        """Masked and pooled loss per hidden cell and per label; 0 where nothing is hidden."""
        return self.masked / self.n_masked.clamp(min=1), self.pooled / self.n_pooled

    def total(self, pooled_weight: float) -> Tensor:
        masked, pooled = self.means()
        return masked + pooled_weight * pooled


class MaskedModel(nn.Module):
    """Masked feature modelling around an encoder's market tower.

    mask_rows: (S, L, D), what a hidden cell adds to its token in place of its scaled embedding row. Inside a summed
        patch this alone says which cell is hidden.
    decoder, decoder_bias: (S, L, D) and (S, L): every feature is read from its token by a row of its own.
    """

    def __init__(self, encoder: FTTransformer):
        super().__init__()
        self.encoder = encoder
        tokenizer = encoder.tower.tokenizer
        shape, width = tokenizer.weight.shape, encoder.d_market
        row = (width * tokenizer.patch_length) ** -0.5
        self.mask_rows = nn.Parameter(torch.empty(shape).uniform_(-row, row))
        self.decoder = nn.Parameter(torch.empty(shape).uniform_(-(width**-0.5), width**-0.5))
        self.decoder_bias = nn.Parameter(torch.zeros(shape[:2]))
        self.pooled_head = nn.Linear(width, encoder.layout.n_assets)

    def trained_parameters(self) -> list[nn.Parameter]:
        """All but the account rows and the projection, which belong to the trial."""
        own = [self.mask_rows, self.decoder, self.decoder_bias, *self.pooled_head.parameters()]
        return [*self.encoder.market_parameters(), *own]

    def forward(self, windows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (B, S, L), bool (B, S, L) → predicted features (B, S, L), predicted volatility (B, A)."""
        tokens = self.encoder.tokens(windows, mask, self.mask_rows)
        return self._decode(tokens[:, 1:]), self.pooled_head(tokens[:, 0])

    def losses(self, predictions: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], hidden: Tensor) -> Losses:
        """Huber losses: on the hidden cells alone, and on the pooled vector's prediction."""
        features, volatility = (prediction.float() for prediction in predictions)
        errors = F.huber_loss(features, targets[0], reduction="none").masked_fill(~hidden, 0.0)
        pooled = F.huber_loss(volatility, targets[1], reduction="sum")
        n_pooled = torch.tensor(float(targets[1].numel()), device=pooled.device)
        return Losses(errors.sum(), hidden.sum().to(errors.dtype), pooled, n_pooled)

    def _decode(self, tokens: Tensor) -> Tensor:
        """Shape: (B, S × P, D) → (B, S, L)."""
        (n_series, lookback, _), length = self.decoder.shape, self.encoder.tower.tokenizer.patch_length
        rows = F.pad(self.decoder, (0, 0, 0, -lookback % length)).unflatten(1, (-1, length))
        cells = einsum(tokens.unflatten(1, (n_series, -1)), rows, "b s p d, s p k d -> b s p k")
        return cells.flatten(2)[..., :lookback] + self.decoder_bias
