"""What a sceptic would fill hidden cells with: four baselines that know no encoder.

Takes: windows and the mask of their hidden cells. Gives: a value for every cell; only the hidden ones count.
Where a series shows nothing to go by, all of it hidden or nothing visible before, the answer is its mean.

Legend: B batch, S series, L lookback, C components, F = S × L features.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Windows (B, S, L) and their mask, bool (B, S, L), true where hidden → values (B, S, L)."""

CHUNK = 16
"""Windows whose PCA is solved at once: bounds memory at CHUNK × F × C floats."""


def mean_of(means: Tensor) -> Predictor:
    """The mean of each series. Shape: means (S,)."""
    return lambda windows, mask: means[:, None].expand_as(windows)


def last_value(means: Tensor) -> Predictor:
    """The last visible value before the cell, carried forward."""

    def predict(windows: Tensor, mask: Tensor) -> Tensor:
        before, _ = _visible_neighbours(mask)
        return torch.where(before >= 0, windows.gather(2, before.clamp(min=0)), means[:, None])

    return predict


def interpolation(means: Tensor) -> Predictor:
    """The straight line between the visible neighbours in time; at a window's edge, the one neighbour there is."""

    def predict(windows: Tensor, mask: Tensor) -> Tensor:
        length = windows.shape[-1]
        before, after = _visible_neighbours(mask)
        left = torch.where(before >= 0, before, after).clamp(max=length - 1)
        right = torch.where(after < length, after, before).clamp(min=0)
        bars = torch.arange(length, device=windows.device)
        weight = (bars - left) / (right - left).clamp(min=1)
        line = windows.gather(2, left) * (1 - weight) + windows.gather(2, right) * weight
        return torch.where(mask.all(dim=2, keepdim=True), means[:, None], line)

    return predict


@dataclasses.dataclass(frozen=True)
class PCA:
    """Probabilistic principal components of whole windows (Tipping and Bishop 1999), fitted by `fit_pca`.

    mean: (F,). loadings: (F, C), eigenvectors of the covariance, each as long as its signal's standard deviation.
    noise: the variance that no component explains, per feature.
    """

    mean: Tensor
    loadings: Tensor
    noise: float

    def __call__(self, windows: Tensor, mask: Tensor) -> Tensor:
        """The components' posterior mean given the visible cells alone, and what it says of all cells."""
        parts = zip(windows.split(CHUNK), mask.split(CHUNK), strict=True)
        return torch.cat([self._filled(*part) for part in parts])

    def scores(self, windows: Tensor) -> Tensor:
        """The components' posterior mean given the whole window. Shape: (B, S, L) → (B, C)."""
        gram = self.loadings.mT @ self.loadings + self.noise * torch.eye(self.loadings.shape[1]).to(self.loadings)
        return torch.linalg.solve(gram, self.loadings.mT @ (windows.flatten(1) - self.mean).mT).mT

    def _filled(self, windows: Tensor, mask: Tensor) -> Tensor:
        shown = (windows.flatten(1) - self.mean).masked_fill(mask.flatten(1), 0.0)
        visible = self.loadings * ~mask.flatten(1)[:, :, None]
        gram = visible.mT @ self.loadings + self.noise * torch.eye(visible.shape[2]).to(visible)
        components = torch.linalg.solve(gram, (shown @ self.loadings)[:, :, None])[:, :, 0]
        return (components @ self.loadings.mT + self.mean).view_as(windows)


def fit_pca(windows: Tensor, n_components: int) -> PCA:
    """The maximum likelihood fit, from the n × n products of n windows: there are fewer of them than features.

    Shape: (n, S, L); at most n − 1 components are found.
    """
    flat = windows.flatten(1).double()
    n, n_features = flat.shape
    mean = flat.mean(dim=0)
    values, vectors = torch.linalg.eigh((flat - mean) @ (flat - mean).mT / n)
    n_components = min(n_components, n - 1, n_features - 1)
    noise = max(float(values[:-n_components].clamp(min=0).sum()) / (n_features - n_components), 1e-6)
    values, vectors = values[-n_components:].clamp(min=1e-12), vectors[:, -n_components:]
    directions = (flat - mean).mT @ vectors / (n * values).sqrt()
    loadings = directions * (values - noise).clamp(min=0).sqrt()
    return PCA(mean.to(windows), loadings.to(windows), noise)


def _visible_neighbours(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest visible bars at or before, and at or after each cell; −1 and L where there is none."""
    length = mask.shape[-1]
    bars = torch.arange(length, device=mask.device).expand_as(mask)
    before = torch.where(mask, -1, bars).cummax(dim=2).values
    after = torch.where(mask, length, bars).flip(2).cummin(dim=2).values.flip(2)
    return before, after
