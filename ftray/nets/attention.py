"""What an FT-Transformer looks at, as plain values: for notebooks, plots and reports.

Takes: an encoder and full observations. Gives: shares of [CLS]'s attention by token, series, asset and indicator.

Legend: B batch, N tokens, S series, P patches per series.
"""

from typing import Any

import torch
from torch import Tensor

from ftray.nets.encoder import Encoder
from ftray.nets.transformer import FTTransformer

CHUNK = 16
"""Observations per pass: bounds memory at one token per feature."""


def attention_data(encoder: Encoder, observations: Tensor) -> dict[str, Any]:
    """Shares of the attention that [CLS] pays, averaged over blocks, heads and observations.

    The feature importance of Gorishniy et al. 2021, section 5.3. All of `tokens` sum to 1, and so do `assets`
    (or `indicators`) with `account` and `cls`, what [CLS] pays to the account (nothing with late fusion, where the
    account joins behind the blocks) and to itself.

    Shape: (B, size).
    Returns: `tokens` {name: share}, `series` {indicator: {symbol: share}}, `assets` {symbol: share},
    `indicators` {name: share}, `account` and `cls` (shares); plain numbers, ready for JSON.
    """
    if not isinstance(encoder, FTTransformer):
        raise TypeError(f"only an FT-Transformer pays attention, got a {type(encoder).__name__}")
    rows = [encoder.attention(chunk, cls_only=True).flatten(1, -2).mean(dim=1) for chunk in observations.split(CHUNK)]
    shares = torch.cat(rows).double().mean(dim=0).cpu()
    layout, names = encoder.layout, encoder.token_names
    n_patches = layout.n_series * encoder.tower.tokenizer.n_patches
    series = shares[-n_patches:].reshape(layout.n_indicators, layout.n_assets, -1).sum(dim=-1)
    return {
        "tokens": dict(zip(names, shares.tolist(), strict=True)),
        "series": {
            indicator: dict(zip(layout.symbols, row, strict=True))
            for indicator, row in zip(layout.indicators, series.tolist(), strict=True)
        },
        "assets": dict(zip(layout.symbols, series.sum(dim=0).tolist(), strict=True)),
        "indicators": dict(zip(layout.indicators, series.sum(dim=1).tolist(), strict=True)),
        "account": shares[1:-n_patches].sum().item(),
        "cls": shares[0].item(),
    }
