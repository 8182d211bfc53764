"""The encoder with what only pre-training needs: mask rows, a decoder, a head on the pooled vector.

Takes: windows, a mask. Gives: predictions and their losses: of the hidden cells from the tokens, and from the pooled
vector of the coming volatility and returns and of the present, every series at the last bar. The pooled vector is all
that a frozen encoder shows a policy; trained on volatility alone it would forget which way prices went.

Legend: B batch, S series, L lookback, K patch length, P patches per series, D width, A assets, R labels of returns,
Q vectors that labels are read from: one with readout `cls`, else one per asset.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from ftray.nets import FTTransformer, load_market_weights
from ftray.nets.readouts import ForecastReadout

EMBEDDING_SCALE, DECODER_SCALE, BIAS_SCALE = 2.3, 0.33, 0.375
"""At the start: the length of a token of standardised cells, of a row that reads it, and of an element of a bias."""


HUBER = 3.0
"""Errors in standard deviations beyond which the loss grows no faster than they do."""


@dataclasses.dataclass(frozen=True)
class Losses:
    """Sums of errors and how many there are, so that batches add up to an exact mean. All tensors of shape ()."""

    masked: Tensor
    n_masked: Tensor
    pooled: Tensor
    n_pooled: Tensor
    present: Tensor
    n_present: Tensor
    returns: Tensor
    n_returns: Tensor

    def __add__(self, other: "Losses") -> "Losses":
        return Losses(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def means(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The losses per hidden cell, volatility, series and return; 0 where there is none of its kind."""
        masked, returns = self.masked / self.n_masked.clamp(min=1), self.returns / self.n_returns.clamp(min=1)
        return masked, self.pooled / self.n_pooled, self.present / self.n_present, returns

    def total(self, pooled_weight: float, return_weight: float = 0.0) -> Tensor:
        masked, pooled, present, returns = self.means()
        return masked + pooled_weight * (pooled + present) + return_weight * returns


class MaskedModel(nn.Module):
    """Masked feature modelling around an encoder's market tower.

    mask_rows: (S, L, D), what a hidden cell adds to its token in place of its scaled embedding row. Inside a summed
        patch this alone says which cell is hidden.
    decoder, decoder_bias: (S, L, D) and (S, L): every feature is read from its token by a row of its own.

    Embedding and decoder rows start from `time_basis`, the same for every series and patch: attention can then hand
    values from one series to another from the first step on, where independent rows would have to be aligned first.
    A series' bias starts as its indicator's vector plus its asset's: attention starts with what belongs together.

    pooled_head, present_head, return_head: read labels from each of the Q vectors: but with readout `cls` an
        asset's labels from what its own query read, by rows that all assets share. With `forecasts` the heads for
        volatility and returns are the readout's.

    n_returns: R, labels of returns that the pooled vector predicts.
    """

    def __init__(self, encoder: FTTransformer, n_returns: int = 0):
        super().__init__()
        self.encoder = encoder
        tokenizer = encoder.tower.tokenizer
        shape, width = tokenizer.weight.shape, encoder.spec.d_token
        row = (width * tokenizer.patch_length) ** -0.5
        self.mask_rows = nn.Parameter(torch.empty(shape).uniform_(-row, row))
        self.decoder = nn.Parameter(torch.empty(shape).uniform_(-(width**-0.5), width**-0.5))
        self.decoder_bias = nn.Parameter(torch.zeros(shape[:2]))
        if tokenizer.patch_length > 1:
            basis = time_basis(tokenizer.patch_length, width).repeat(tokenizer.n_patches, 1)[: shape[1]]
            names = torch.randn(encoder.layout.n_indicators, 1, width) + torch.randn(encoder.layout.n_assets, width)
            with torch.no_grad():
                tokenizer.bias.copy_(names.flatten(0, 1)[:, None] * BIAS_SCALE)
                tokenizer.weight.copy_(basis * (EMBEDDING_SCALE / tokenizer.patch_length**0.5))
                self.decoder.copy_(basis * DECODER_SCALE)
        self.n_readouts, own = encoder.spec.n_readouts(encoder.layout.n_assets), encoder.spec.readout != "forecasts"
        self.pooled_head = nn.Linear(width, encoder.layout.n_assets // self.n_readouts) if own else None
        self.present_head = nn.Linear(width, encoder.layout.n_series // self.n_readouts)
        self.return_head = nn.Linear(width, n_returns // self.n_readouts) if own and n_returns else None

    def trained_parameters(self) -> list[nn.Parameter]:
        """All but the account rows and the projection, which belong to the trial."""
        heads = [head for head in (self.pooled_head, self.present_head, self.return_head) if head is not None]
        own = [parameter for head in heads for parameter in head.parameters()]
        return [*self.encoder.market_parameters(), self.mask_rows, self.decoder, self.decoder_bias, *own]

    def decoder_state_dict(self) -> dict[str, Tensor]:
        """Everything but the encoder, detached copies on the CPU."""
        state = self.state_dict()
        return {name: value.cpu().clone() for name, value in state.items() if not name.startswith("encoder.")}

    def load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Market tower and decoder as `pretrain` left them. Raises: WeightsError where the tower does not fit."""
        load_market_weights(self.encoder, checkpoint)
        self.load_state_dict({**self.state_dict(), **checkpoint["decoder_state_dict"]})

    def forward(self, windows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The features of all cells, the coming volatility, every series at the last bar, and the coming returns.

        Shape: (B, S, L), bool (B, S, L) → (B, S, L), (B, A), (B, S), (B, R).
        """
        tower = self.encoder.tower
        tokens = tower(tower.tokenizer(windows, mask, self.mask_rows))
        if isinstance(tower.readout, ForecastReadout):
            pooled = tower.readout.pool(tower.norm(tokens))
            volatility, returns = tower.readout.foretell(pooled).tensor_split([self.encoder.layout.n_assets], dim=1)
            return self._decode(tokens[:, 1:]), volatility, self.present_head(pooled).mT.flatten(1), returns
        pooled = tower.read(tokens).unflatten(1, (self.n_readouts, -1))
        # In this order gradients add up to the same bits as in earlier versions. Labels come asset after asset.
        returns, volatility, present = (
            pooled.new_empty(len(pooled), 0) if head is None else head(pooled).mT.flatten(1)
            for head in (self.return_head, self.pooled_head, self.present_head)
        )
        return self._decode(tokens[:, 1:]), volatility, present, returns

    def losses(
        self, predictions: tuple[Tensor, Tensor, Tensor, Tensor], targets: tuple[Tensor, Tensor], hidden: Tensor
    ) -> Losses:
        """Huber losses: on the hidden cells alone, and on what the pooled vector predicts.

        targets: windows (B, S, L) and `Samples.labels` (B, A + R).
        """
        features, volatility, present, returns = (prediction.float() for prediction in predictions)
        errors = F.huber_loss(features, targets[0], reduction="none", delta=HUBER).masked_fill(~hidden, 0.0)
        sums = [errors.sum(), hidden.sum().to(errors.dtype)]
        coming = targets[1].split([volatility.shape[1], returns.shape[1]], dim=1)
        for predicted, target in ((volatility, coming[0]), (present, targets[0][..., -1]), (returns, coming[1])):
            sums += [
                F.huber_loss(predicted, target, reduction="sum", delta=HUBER),
                predicted.new_full((), target.numel()),  # made on the device: nothing is copied to it
            ]
        return Losses(*sums)

    def _decode(self, tokens: Tensor) -> Tensor:
        """Shape: (B, S × P, D) → (B, S, L)."""
        (n_series, lookback, _), length = self.decoder.shape, self.encoder.tower.tokenizer.patch_length
        rows = F.pad(self.decoder, (0, 0, 0, -lookback % length)).unflatten(1, (-1, length))
        cells = einsum(tokens.unflatten(1, (n_series, -1)), rows, "b s p d, s p k d -> b s p k")
        return cells.flatten(2)[..., :lookback] + self.decoder_bias


def time_basis(length: int, width: int) -> Tensor:
    """A row per bar of a patch: its place in the discrete cosine transform, slow movements first, zeros behind.

    Orthonormal columns (the DCT-II of Ahmed, Natarajan and Rao 1974), as many as fit into `width`; smooth series
    live in a few of them, which is what Adam, which scales every weight separately, can make use of.

    Shape: (length, width).
    """
    n = min(length, width)
    phase = (torch.arange(length) + 0.5) * math.pi / length
    basis = torch.cos(phase[:, None] * torch.arange(n)) * (2 / length) ** 0.5
    basis[:, 0] *= 0.5**0.5
    return F.pad(basis, (0, width - n))
