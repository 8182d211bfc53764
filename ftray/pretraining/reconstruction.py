"""How well hidden cells are predicted: the encoder compared with the baselines, by kind of mask and by indicator.

Takes: predictors and windows. Gives: mean squared errors and R², as plain values.

Legend: B batch, S series, L lookback, A assets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ftray.features import ObservationLayout
from ftray.nets import MaskSpec, draw_mask
from ftray.nets.masking import KINDS
from ftray.pretraining.baselines import Predictor

RATIO, SPAN_LENGTH = 0.15, 20
"""One exam for every encoder, whatever masks it was trained under: otherwise no two cards would compare."""

MIN_SQUARES = 1e-9
"""Mean squared deviation below which a series does not move, and has no R²."""


def reconstruction(
    predictors: Mapping[str, Predictor], windows: Tensor, layout: ObservationLayout, batch_size: int
) -> dict[str, Any]:
    """The exam: every predictor fills in the same hidden cells of the same windows.

    predictors: by name; one of them is `mean`, the one that an R² of 0 equals.

    Shape: windows (n, S, L).
    Returns: {mask kind: {predictor: {"mse", "r2", "r2_by_indicator": {indicator: R²}}}}; `mse` in scaled units over all
    hidden cells, R² as 1 − squared error / squared error of the mean, None where the hidden cells never move.
    """
    result: dict[str, Any] = {}
    for kind in KINDS:
        squares = {name: torch.zeros(layout.n_indicators, dtype=torch.float64) for name in predictors}
        n_hidden = torch.zeros(layout.n_indicators, dtype=torch.float64)
        for part, mask in _exam(kind, windows, batch_size):
            n_hidden += _by_indicator(mask.double(), layout)
            for name, predict in predictors.items():
                errors = (predict(part, mask).double() - part.double()).square() * mask
                squares[name] += _by_indicator(errors, layout)
        result[kind] = {name: _scores(found, squares["mean"], n_hidden, layout) for name, found in squares.items()}
    return result


def _exam(kind: str, windows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of windows and their masks, the same on every machine and in batches of any size."""
    spec = MaskSpec(**{name: float(name == kind) for name in KINDS}, span_length=SPAN_LENGTH)
    mask = draw_mask(spec, RATIO, tuple(windows.shape), torch.Generator().manual_seed(KINDS.index(kind)))
    for part, hidden in zip(windows.split(batch_size), mask.split(batch_size), strict=True):
        yield part, hidden.to(part.device)


def _by_indicator(cells: Tensor, layout: ObservationLayout) -> Tensor:
    """Sums over windows, assets and bars. Shape: (B, S, L) → (indicators,) on the CPU."""
    return cells.sum(dim=(0, 2)).view(layout.n_indicators, layout.n_assets).sum(dim=1).cpu()


def _scores(squares: Tensor, of_mean: Tensor, n_hidden: Tensor, layout: ObservationLayout) -> dict[str, Any]:
    def r2(found: Tensor, reference: Tensor, n: Tensor) -> float | None:
        return None if reference <= MIN_SQUARES * n else 1.0 - float(found / reference)

    return {
        "mse": float(squares.sum() / n_hidden.sum().clamp(min=1)),
        "r2": r2(squares.sum(), of_mean.sum(), n_hidden.sum()),
        "r2_by_indicator": {
            name: r2(*values) for name, *values in zip(layout.indicators, squares, of_mean, n_hidden, strict=True)
        },
    }
