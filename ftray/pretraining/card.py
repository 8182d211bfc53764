"""The encoder card: what pre-training has achieved, compared with what a sceptic would name.

Takes: a pre-trained model, bars to fit baselines and probes on, later bars to score them on. Gives: plain values.

Legend: n bars, D width.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.features import Dataset
from ftray.nets import FTTransformer, gather_windows
from ftray.pretraining.baselines import fit_pca, interpolation, last_value, mean_of
from ftray.pretraining.model import MaskedModel
from ftray.pretraining.probes import MIN_BLOCKS, Bars, effective_rank, probe, probe_returns
from ftray.pretraining.reconstruction import reconstruction
from ftray.pretraining.ridge import Pair
from ftray.pretraining.samples import thin

FEWEST, MOST, SHARE = 32, 512, 1 / 512
"""Windows of the exam: a share of the windows trained on, about 4 % of the job's time, between two bounds."""

FEWEST_BARS, MOST_BARS, BARS_SHARE = 256, 2048, 1 / 8
"""Bars to fit probes of returns on, and to score them on: a share of the windows trained on, between two bounds.
Returns are mostly noise, so these probes need more bars than the others."""

RETURN_HORIZONS = (1, 4, 24)
"""Bars ahead of the returns that are probed. One exam for every encoder, whatever returns it was trained on."""

ENOUGH = 2 * MIN_BLOCKS
"""Bars to score on below which a horizon is left out."""

MOST_INPUTS = 16_384
"""Numbers per bar that a probe of returns reads: what is wider is hashed to so many. Bounds the memory at
2 × `MOST_BARS` × `MOST_INPUTS` floats."""

Reader = Callable[[Tensor], Tensor]
"""Windows (B, S, L) → vectors (B, D)."""


def exam_size(n_trained: int) -> int:
    """Windows to fill in, for a job that was trained on so many."""
    return min(MOST, max(FEWEST, round(n_trained * SHARE)))


def return_bars(n_trained: int) -> int:
    """Bars to fit the probes of returns on, for a job that was trained on so many windows."""
    return min(MOST_BARS, max(FEWEST_BARS, round(n_trained * BARS_SHARE)))


class Windows:
    """The windows of bars, (n,) → (n, S, L) on the device, and the vectors that are read from them."""

    def __init__(self, dataset: Dataset, device: torch.device, batch_size: int):
        self.dataset, self.device, self.batch_size = dataset, device, batch_size
        self._table = torch.from_numpy(np.array(dataset.table.values, np.float32)).to(device)

    def __call__(self, bars: np.ndarray) -> Tensor:
        return gather_windows(self._table, torch.from_numpy(bars).to(self.device), self.dataset.layout.lookback)

    def read(self, reader: Reader, bars: Bars) -> Pair:
        """The vectors of the bars to fit and of those to score, on the CPU, no wider than `MOST_INPUTS`."""
        return self._vectors(reader, bars.fit), self._vectors(reader, bars.scored)

    def _vectors(self, reader: Reader, bars: np.ndarray) -> Tensor:
        batches = np.array_split(bars, math.ceil(len(bars) / self.batch_size))
        return torch.cat([hashed(reader(self(batch)).cpu(), MOST_INPUTS) for batch in batches])


@torch.no_grad()
def examine(
    model: MaskedModel,
    fresh: FTTransformer,
    dataset: Dataset,
    bars: Bars,
    *,
    horizon: int,
    n_windows: int,
    n_return_bars: int,
    batch_size: int,
) -> dict[str, Any]:
    """Everything of the card that is measured on the scored bars.

    fresh: an encoder of the same shape with its first weights. horizon: bars that the probes' labels lie in the future.
    n_windows: windows to fill in; four times as many bars score the probes, and eight times as many fit them.
    n_return_bars: bars to fit the probes of returns on, and as many to score them on, where there are so many.
    batch_size: of the training: what it could hold, this can.
    Returns: `reconstruction`, `probes`, `returns`, `effective_rank` of each vector, numbers of windows and bars; see
    the modules.
    """
    windows = Windows(dataset, next(model.parameters()).device, batch_size)
    torch.nn.ModuleList((model, fresh.to(windows.device))).eval()
    seen = windows(thin(bars.fit, 4 * n_windows))
    pca = fit_pca(seen, model.encoder.d_market)
    hidden = windows(thin(bars.scored, n_windows))
    probed = Bars(thin(bars.fit, 8 * n_windows), thin(bars.scored, 4 * n_windows))
    readers = {"encoder": model.encoder.market, "random_encoder": fresh.market, "raw_features": pca.scores}
    pairs = {name: windows.read(reader, probed) for name, reader in readers.items()}
    return {
        "reconstruction": reconstruction(_predictors(model, pca, seen), hidden, dataset.layout, batch_size),
        "probes": probe(pairs, dataset, probed, horizon, subject="encoder"),
        "returns": returns_known(model.encoder, fresh, windows, bars, horizon, n_return_bars),
        "effective_rank": {name: effective_rank(scored) for name, (_, scored) in pairs.items()},
        "n_windows": len(hidden),
        "n_probe_bars": {"fit": len(probed.fit), "scored": len(probed.scored)},
    }


@torch.no_grad()
def returns_known(
    encoder: FTTransformer, fresh: FTTransformer, windows: Windows, bars: Bars, horizon: int, n_bars: int
) -> dict[str, Any]:
    """What the pooled vector knows of coming returns, and what the tokens and the raw window that it is made of know.

    horizon: bars that follow each of the bars in its train window. Of returns that reach further, fewer bars know the
    end; a horizon of which hardly any does is left out.
    Returns: `horizons` of `probe_returns`; `n_inputs`, numbers per bar of each vector; `n_bars` to fit and to score.
    """
    left = {ahead: _followed(bars, ahead - horizon) for ahead in RETURN_HORIZONS}
    horizons = [ahead for ahead, some in left.items() if min(len(some.fit), len(some.scored)) >= ENOUGH]
    if not horizons:
        return {"horizons": {}, "n_inputs": {}, "n_bars": {"fit": 0, "scored": 0}}
    longest = left[horizons[-1]]
    chosen = Bars(thin(longest.fit, n_bars), thin(longest.scored, n_bars))
    readers: dict[str, Reader] = {
        "encoder": encoder.market,
        "tokens": lambda shown: encoder.tokens(shown).flatten(1),
        "random_encoder": fresh.market,
        "last_bar": lambda shown: shown[:, :, -1],
        "window": lambda shown: shown.flatten(1),
    }
    n_inputs: dict[str, int] = {}

    def vectors() -> Iterator[tuple[str, Pair]]:
        for name, reader in readers.items():
            pair = windows.read(reader, chosen)
            n_inputs[name] = pair[0].shape[1]
            yield name, pair

    found = probe_returns(vectors(), windows.dataset, chosen, horizons, subject="encoder")
    return {
        "horizons": found,
        "n_inputs": n_inputs,
        "n_bars": {"fit": len(chosen.fit), "scored": len(chosen.scored)},
    }


def _followed(bars: Bars, n: int) -> Bars:
    """The bars that are followed by n more of their kind without a gap: so many bars further their labels may reach."""

    def kept(part: np.ndarray) -> np.ndarray:
        first, last = part[: max(0, len(part) - n)], part[n:]
        return first[last - first == n]

    return bars if n <= 0 else Bars(kept(bars.fit), kept(bars.scored))


def hashed(vectors: Tensor, width: int) -> Tensor:
    """Vectors as they are if they are no wider than `width`; else each number is added, under a random sign, to one of
    `width` sums, which keeps inner products in expectation (Weinberger et al. 2009). Shape: (n, D) → (n, ≤ width)."""
    if vectors.shape[1] <= width:
        return vectors
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(width, (vectors.shape[1],), generator=generator)
    signs = torch.randint(2, (vectors.shape[1],), generator=generator) * 2.0 - 1.0
    return vectors.new_zeros(len(vectors), width).index_add_(1, places, vectors * signs)


def _predictors(model: MaskedModel, pca: Any, seen: Tensor) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The model and the baselines, each from shown cells and their mask to predicted cells. Shape: seen (n, S, L)."""
    means = seen.mean(dim=(0, 2))
    return {
        "encoder": lambda shown, mask: model(shown, mask)[0],
        "mean": mean_of(means),
        "last_value": last_value(means),
        "interpolation": interpolation(means),
        "pca": pca,
    }
