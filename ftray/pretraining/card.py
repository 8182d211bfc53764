"""The encoder card: what pre-training has achieved, compared with what a sceptic would name.

Takes: a pre-trained model, bars to fit baselines and probes on, later bars to score them on. Gives: plain values.

Legend: n bars, D width.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.features import Dataset
from ftray.nets import FTTransformer, gather_windows
from ftray.pretraining.baselines import fit_pca, interpolation, last_value, mean_of
from ftray.pretraining.model import MaskedModel
from ftray.pretraining.probes import Bars, effective_rank, probe
from ftray.pretraining.reconstruction import reconstruction
from ftray.pretraining.samples import thin

FEWEST, MOST, SHARE = 32, 512, 1 / 512
"""Windows of the exam: a share of the windows trained on, about 4 % of the job's time, between two bounds."""


def exam_size(n_trained: int) -> int:
    """Windows to fill in, for a job that was trained on so many."""
    return min(MOST, max(FEWEST, round(n_trained * SHARE)))


@torch.no_grad()
def examine(
    model: MaskedModel,
    fresh: FTTransformer,
    dataset: Dataset,
    bars: Bars,
    *,
    horizon: int,
    n_windows: int,
    batch_size: int,
) -> dict[str, Any]:
    """Everything of the card that is measured on the scored bars.

    fresh: an encoder of the same shape with its first weights. horizon: bars that the probes' labels lie in the future.
    n_windows: windows to fill in; four times as many bars score the probes, and eight times as many fit them.
    batch_size: of the training: what it could hold, this can.
    Returns: `reconstruction`, `probes`, `effective_rank` of each vector, numbers of windows and bars; see the modules.
    """
    torch.nn.ModuleList((model, fresh)).eval()
    windows = _windows_of(dataset, next(model.parameters()).device)
    seen = windows(thin(bars.fit, 4 * n_windows))
    pca = fit_pca(seen, model.encoder.d_market)
    hidden = windows(thin(bars.scored, n_windows))
    probed = Bars(thin(bars.fit, 8 * n_windows), thin(bars.scored, 4 * n_windows))

    def vectors(read: Callable[[Tensor], Tensor], chosen: np.ndarray) -> Tensor:
        return torch.cat([read(windows(batch)) for batch in _batches(chosen, batch_size)]).cpu()

    readers = {
        "encoder": model.encoder.market,
        "random_encoder": fresh.to(seen.device).market,
        "raw_features": pca.scores,
    }
    pairs = {name: (vectors(read, probed.fit), vectors(read, probed.scored)) for name, read in readers.items()}
    return {
        "reconstruction": reconstruction(_predictors(model, pca, seen), hidden, dataset.layout, batch_size),
        "probes": probe(pairs, dataset, probed, horizon, subject="encoder"),
        "effective_rank": {name: effective_rank(scored) for name, (_, scored) in pairs.items()},
        "n_windows": len(hidden),
        "n_probe_bars": {"fit": len(probed.fit), "scored": len(probed.scored)},
    }


def _batches(bars: np.ndarray, size: int) -> list[np.ndarray]:
    return np.array_split(bars, math.ceil(len(bars) / size))


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


def _windows_of(dataset: Dataset, device: torch.device) -> Callable[[np.ndarray], Tensor]:
    """A function of bars (n,) that gives their windows (n, S, L) on the device."""
    table = torch.from_numpy(np.array(dataset.table.values, np.float32)).to(device)
    return lambda bars: gather_windows(table, torch.from_numpy(bars).to(device), dataset.layout.lookback)
