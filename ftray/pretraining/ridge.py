"""Ridge regression in closed form (Hoerl and Kennard 1970), of inputs that may outnumber the samples.

Takes: inputs and labels of samples. Gives: weights for every penalty; squared errors on later samples.

Legend: n, m samples, D inputs, O labels, P penalties.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

RIDGE_PENALTIES = (*10.0 ** np.arange(-4.0, 1.1, 0.5), math.inf)
"""Penalties per sample and input to choose from; the last leaves the constant alone."""

CHUNK = 1024
"""Inputs that are held in float64 at once; the others stay in the precision that they came in."""

Pair = tuple[Tensor, Tensor]
"""Values of the samples to fit (n, ...), and of those to score (m, ...)."""

Name = TypeVar("Name")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Which samples of a fit choose its penalty. Shapes: bool (n,).

    tuned: those that choose it. before: those that are fitted for the choice, and share no bar with them.
    """

    tuned: Tensor
    before: Tensor


def ridge(inputs: Tensor, labels: Tensor, penalties: Sequence[float]) -> Tensor:
    """The weights, constant last, of the least sum of squared errors + n D penalty × sum of squared weights.

    penalties: at least 0 each; where that is infinite, all weights but the constant are 0.

    The normal equations are solved in the smaller of n and D dimensions, in float64, with a Cholesky factor for each
    penalty: for a dozen penalties that is faster than one eigendecomposition.

    Shape: (n, D), (n, O) → (P, D + 1, O).
    """
    n, width = inputs.shape
    center, mean = inputs.mean(dim=0, dtype=torch.float64), labels.double().mean(dim=0)
    target = labels.double() - mean
    if width > n:
        products = torch.zeros(n, n, dtype=torch.float64)
        for part in _centred(inputs, center):
            products.addmm_(part, part.mT)
    else:
        x = inputs.double() - center
        products, target = x.mT @ x, x.mT @ target
    found = torch.stack([_solved(products, target, n * width * penalty) for penalty in penalties])
    if width > n:
        found = torch.cat([part.mT @ found for part in _centred(inputs, center)], dim=1)
    return torch.cat([found, (mean - center @ found)[:, None]], dim=1)


def predict(inputs: Tensor, models: Tensor) -> Tensor:
    """What each model of `ridge` predicts. Shape: (n, D), (P, D + 1, O) → (P, n, O) float64."""
    predicted = models[:, -1:].expand(-1, len(inputs), -1).clone()
    for part, weights in zip(inputs.split(CHUNK, dim=1), models[:, :-1].split(CHUNK, dim=1), strict=True):
        predicted += part.double() @ weights
    return predicted


def ridge_losses(vectors: Pair, labels: Mapping[Name, Pair], split: Split) -> dict[Name, np.ndarray]:
    """The mean squared error of each scored sample, by set of labels; all sets share one solution of their equations.

    Inputs are standardised with statistics of the fit. Each set of labels takes the penalty that serves the tuned
    samples best.

    Shape: vectors (n, D) and (m, D); of each set (n, O) and (m, O). Returns: (m,) each.
    """
    center = vectors[0].mean(dim=0)
    scale = (vectors[0] - center).square().mean(dim=0).sqrt().clamp(min=1e-6)
    fit, scored = ((part - center) / scale for part in vectors)
    widths = [own.shape[1] for own, _ in labels.values()]
    together = torch.cat([own for own, _ in labels.values()], dim=1)
    best = dict.fromkeys(labels, math.inf)
    if split.before.any():
        models = ridge(fit[split.before], together[split.before], RIDGE_PENALTIES)
        parts = predict(fit[split.tuned], models).split(widths, dim=2)
        for (name, (own, _)), part in zip(labels.items(), parts, strict=True):
            best[name] = RIDGE_PENALTIES[int((part - own[split.tuned]).square().mean(dim=(1, 2)).argmin())]
    penalties = sorted(set(best.values()))
    parts = predict(scored, ridge(fit, together, penalties)).split(widths, dim=2)
    return {
        name: (part[penalties.index(best[name])] - own).square().mean(dim=1).numpy()
        for (name, (_, own)), part in zip(labels.items(), parts, strict=True)
    }


def _solved(products: Tensor, target: Tensor, penalty: float) -> Tensor:
    if not len(products) or math.isinf(penalty):
        return torch.zeros_like(target)
    return torch.cholesky_solve(target, torch.linalg.cholesky(products + penalty * torch.eye(len(products))))


def _centred(inputs: Tensor, center: Tensor) -> Iterator[Tensor]:
    """The inputs less their means, a chunk of them at a time."""
    for part, middle in zip(inputs.split(CHUNK, dim=1), center.split(CHUNK), strict=True):
        yield part.double() - middle
