"""How an encoder fares while it trains, as a few flat numbers per evaluation.

Takes: an encoder, and windows of the feature table or the weights it started from. Gives: plain metrics.

Legend: B batch, S series, L lookback, N tokens.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ftray.errors import WeightsError
from ftray.nets.attention import CHUNK, by_series, readout_rows
from ftray.nets.encoder import Encoder
from ftray.nets.transformer import FTTransformer


@torch.no_grad()
def encoder_metrics(encoder: Encoder, windows: Tensor) -> dict[str, float]:
    """What an FT-Transformer looks at and how loud its tokens are; nothing, for an encoder without attention.

    attention_entropy: mean over blocks (readout `assets`: assets), heads and windows of −Σ p ln p / ln N, p being what
        [CLS] (or the asset's query) pays to the N tokens, [CLS] among them: 1 looks at everything alike, 0 at a single
        token.
    attention/asset/SYMBOL, attention/indicator/NAME: what [CLS] pays in the last block, or all assets' queries pay
        behind it: all that policy and value hear of the market. Over the tokens of the market alone: each family sums
        to 1.
    token_norm: mean Euclidean norm of the tokenizer's tokens.

    With early fusion the account is all cash. `CHUNK` windows are processed at a time, and of an attention map only
    the readout's rows are held: memory is bounded at one token per feature, too.

    Shape: (B, S, L), on the encoder's device.
    """
    if not isinstance(encoder, FTTransformer):
        return {}
    layout = encoder.layout
    account = windows.new_zeros(len(windows), layout.n_account)
    account[:, layout.cash] = 1.0
    entropies, shares = [], []
    for rows in readout_rows(encoder, torch.cat([account, windows.flatten(1)], dim=1)):
        entropies.append(torch.special.entr(rows).sum(dim=-1).mean(dim=(1, 2)) / math.log(rows.shape[-1]))
        shares.append((rows[:, -1:] if encoder.spec.readout == "cls" else rows).mean(dim=(1, 2)))
    series = by_series(encoder, torch.cat(shares).double().mean(dim=0).cpu())
    series = series / series.sum()
    assets = zip(layout.symbols, series.sum(dim=0).tolist(), strict=True)
    indicators = zip(layout.indicators, series.sum(dim=1).tolist(), strict=True)
    norms = [encoder.tower.tokenizer(chunk).norm(dim=-1).mean(dim=1) for chunk in windows.split(CHUNK)]
    return {
        "attention_entropy": torch.cat(entropies).mean().item(),
        **{f"attention/asset/{symbol}": share for symbol, share in assets},
        **{f"attention/indicator/{name}": share for name, share in indicators},
        "token_norm": torch.cat(norms).mean().item(),
    }


@torch.no_grad()
def weight_drift(encoder: Encoder, start: Mapping[str, Tensor]) -> float:
    """How far the market tower went from where it started: ‖w − w₀‖ / ‖w₀‖ over all its weights, Euclidean.

    start: what `market_state_dict` returned then, or a checkpoint's `encoder_state_dict`.

    Raises: WeightsError naming weights that the start lacks or holds in another shape.
    """
    moved = started = 0.0
    for name, now in encoder.tower.state_dict().items():
        if name not in start or start[name].shape != now.shape:
            came = f"of the shape {tuple(start[name].shape)}" if name in start else "missing"
            raise WeightsError(
                f"drift is measured from weights of the same tower: {name} has the shape {tuple(now.shape)} and is "
                f"{came} in the start; take it from market_state_dict() of this encoder"
            )
        then = start[name].to(device=now.device, dtype=torch.float64)
        moved += (now.double() - then).square().sum().item()
        started += then.square().sum().item()
    return math.sqrt(moved / started)
