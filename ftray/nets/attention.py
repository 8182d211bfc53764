"""What an FT-Transformer looks at, as plain values: for notebooks, plots and reports.

Takes: an encoder and full observations. Gives: shares of its readout's attention by token, series, asset, indicator.

Legend: B batch, N tokens, H heads, A assets, F indicators.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ftray.nets.encoder import Encoder
from ftray.nets.transformer import FTTransformer

CHUNK = 16
"""Observations per pass: bounds memory at one token per feature."""


def attention_data(encoder: Encoder, observations: Tensor) -> dict[str, Any]:
    """Shares of the attention that the readout pays, averaged over heads and observations: with `cls`, that of [CLS] in
    all blocks; else that of all assets' queries.

    With `cls` the feature importance of Gorishniy et al. 2021, section 5.3. All of `tokens` sum to 1, and so do
    `assets` (or `indicators`) with `account` and `cls`, what it pays to the account (nothing with late fusion, where
    the account joins behind the blocks) and to [CLS].

    Shape: (B, size).
    Returns: `tokens` {name: share}, `series` {indicator: {symbol: share}}, `assets` {symbol: share},
    `indicators` {name: share}, `account` and `cls` (shares); plain numbers, ready for JSON.
    """
    if not isinstance(encoder, FTTransformer):
        raise TypeError(f"only an FT-Transformer pays attention, got a {type(encoder).__name__}")
    rows = [chunk.flatten(1, 2).mean(dim=1) for chunk in readout_rows(encoder, observations)]
    shares = torch.cat(rows).double().mean(dim=0).cpu()
    layout, names = encoder.layout, encoder.token_names
    series = by_series(encoder, shares)
    return {
        "tokens": dict(zip(names, shares.tolist(), strict=True)),
        "series": {
            indicator: dict(zip(layout.symbols, row, strict=True))
            for indicator, row in zip(layout.indicators, series.tolist(), strict=True)
        },
        "assets": dict(zip(layout.symbols, series.sum(dim=0).tolist(), strict=True)),
        "indicators": dict(zip(layout.indicators, series.sum(dim=1).tolist(), strict=True)),
        "account": shares[1 : -_n_patches(encoder)].sum().item(),
        "cls": shares[0].item(),
    }


def readout_rows(encoder: FTTransformer, observations: Tensor) -> Iterator[Tensor]:
    """What the readout pays to every token, [CLS] first, of at most `CHUNK` observations at a time; rows sum to 1.

    Shape: (B, size) → (b, blocks, H, N) with readout `cls`, (b, A, H, N) else, several times, over b ≤ CHUNK.
    """
    for chunk in observations.split(CHUNK):
        if encoder.spec.readout == "cls":
            yield encoder.attention(chunk, cls_only=True).squeeze(-2)
        else:
            yield encoder.readout_attention(chunk).transpose(1, 2)


def by_series(encoder: FTTransformer, shares: Tensor) -> Tensor:
    """Shares of tokens, summed over the patches of each series. Shape: (N,) → (F, A)."""
    layout = encoder.layout
    return shares[-_n_patches(encoder) :].reshape(layout.n_indicators, layout.n_assets, -1).sum(dim=-1)


def _n_patches(encoder: FTTransformer) -> int:
    """Tokens of the market, which stand last."""
    return encoder.layout.n_series * encoder.tower.tokenizer.n_patches
