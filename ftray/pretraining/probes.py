"""Linear probes: what a linear model reads from a vector about the market, compared with other vectors of those bars.

Takes: vectors and labels of bars to fit on and of later bars to score on. Gives: skills, and the differences of skills
with block-bootstrap intervals, as plain values. A squared loss is minimised in closed form (`ridge.py`).

Legend: n bars, D width, A assets, K regimes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ftray.features import Dataset
from ftray.pretraining.ridge import Pair, Split, ridge_losses
from ftray.pretraining.samples import log_volatility, scaled_returns

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties per sample to choose from where the loss is that of classes."""

TUNING = 0.2
"""The last fraction of the bars to fit on, which chooses the penalty."""

N_RESAMPLES, CONFIDENCE = 2000, 0.95

MIN_BLOCKS = 5
"""Blocks are shortened to have so many: a single one would be an interval of no width."""

NOTHING = 1e-6
"""Loss of the best constant below which there is nothing to distinguish: all bars have one label."""

BEAR, SIDEWAYS, BULL = range(3)
TREND = 0.5
"""Standard deviations of its own return that a market must have moved for a regime other than sideways."""


Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and labels → (n,), the loss of each bar."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """One question to a vector.

    label: dataset, bars (n,), horizon → (n, A) or (n,).
    n_outputs: of the linear model, from the number of assets.
    """

    label: Callable[[Dataset, np.ndarray, int], np.ndarray]
    n_outputs: Callable[[int], int]
    loss: Loss


def return_sign(dataset: Dataset, bars: np.ndarray, horizon: int) -> np.ndarray:
    """1 where an asset's close rises over the next `horizon` bars, else 0. Shape: (n,) → (n, A)."""
    close = dataset.candles.column("close")
    return (close[bars + horizon] > close[bars]).astype(float)


def coming_returns(dataset: Dataset, bars: np.ndarray, horizon: int) -> np.ndarray:
    """Each asset's log return over the next `horizon` bars, relative to its volatility. Shape: (n,) → (n, A)."""
    return scaled_returns(dataset.candles.column("close"), bars, horizon, dataset.layout.lookback)


def future_volatility(dataset: Dataset, bars: np.ndarray, horizon: int) -> np.ndarray:
    """Log of each asset's realised volatility over the next `horizon` bars. Shape: (n,) → (n, A)."""
    return log_volatility(dataset.candles.column("close"), bars, horizon)


def regime(dataset: Dataset, bars: np.ndarray, horizon: int) -> np.ndarray:
    """The regime that a bar lies in: bear, sideways or bull. Shape: (n,) → (n,).

    The simulator's own label where there is one. Elsewhere what the window of the bar shows: the mean log return of all
    assets over the lookback, in standard deviations of such a return, beyond ±`TREND` or not.
    """
    if dataset.candles.regimes is not None:
        return dataset.candles.regimes[bars].astype(np.int64)
    n_steps = dataset.layout.lookback - 1
    market = np.log(dataset.candles.column("close")).mean(axis=1)
    steps = market[bars[:, None] + np.arange(1 - n_steps, 1)] - market[bars[:, None] + np.arange(-n_steps, 0)]
    trend = steps.sum(axis=1) / np.maximum(steps.std(axis=1) * n_steps**0.5, 1e-12)
    return np.digitize(trend, [-TREND, TREND])


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square().mean(dim=1)


def _binary(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, labels, reduction="none").mean(dim=1)


def _classes(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels.long(), reduction="none")


PROBES: dict[str, Probe] = {
    "volatility": Probe(future_volatility, lambda n_assets: n_assets, _squared),
    "return_sign": Probe(return_sign, lambda n_assets: n_assets, _binary),
    "regime": Probe(regime, lambda n_assets: 3, _classes),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Bars:
    """Bars to fit probes on and bars to score them on, each in time order and purged from the other."""

    fit: np.ndarray
    scored: np.ndarray


def probe(vectors: Mapping[str, Pair], dataset: Dataset, bars: Bars, horizon: int, subject: str) -> dict[str, Any]:
    """All probes of all vectors.

    vectors: (n, D) of the bars to fit and of the bars to score, by name. subject: whose gains over the others count.
    Returns: {probe: {"skill": {vector: skill}, "gain": {other: {"mean", "low", "high"}}}}. A skill is 1 minus the loss
    relative to that of the best constant; a gain is the subject's skill minus another's, with the bounds of its 95 %
    interval. All None where every bar has the same label.
    """
    results: dict[str, Any] = {}
    for name, question in PROBES.items():
        exam = _Exam(question, dataset, bars, horizon)
        constant = exam.losses(_no_vectors(bars))
        losses = {key: exam.losses(pair) for key, pair in vectors.items()}
        found = _compared(losses, constant, _block(dataset, bars, horizon), subject)
        results[name] = {**found, "skill": {key: one and one["mean"] for key, one in found["skill"].items()}}
    return results


def probe_returns(
    vectors: Iterable[tuple[str, Pair]], dataset: Dataset, bars: Bars, horizons: Sequence[int], subject: str
) -> dict[str, Any]:
    """What a ridge on each vector knows of all assets' returns over the next bars, relative to their volatility.

    vectors: as for `probe`, one after the other: the widest need not be held together. bars: followed by the longest of
    the horizons.
    Returns: {horizon: {"skill": {vector: {"mean", "low", "high"}}, "gain": {other: {"mean", "low", "high"}}}}. A skill
    is the R² out of sample, relative to the mean of the fit: below 0 where a vector misleads. All None where no return
    differs from another.
    """
    labels = {horizon: _standardised(_both(coming_returns, dataset, bars, horizon)) for horizon in horizons}
    split = _split(dataset, bars, max(horizons))
    losses = {name: ridge_losses(pair, labels, split) for name, pair in vectors}
    constant = ridge_losses(_no_vectors(bars), labels, split)
    return {
        str(horizon): _compared(
            {name: found[horizon] for name, found in losses.items()},
            constant[horizon],
            _block(dataset, bars, horizon),
            subject,
        )
        for horizon in horizons
    }


def _no_vectors(bars: Bars) -> Pair:
    """Vectors of width 0: what is read from them is a constant."""
    return torch.zeros(len(bars.fit), 0), torch.zeros(len(bars.scored), 0)


def _both(label: Callable[..., np.ndarray], dataset: Dataset, bars: Bars, horizon: int) -> Pair:
    """The labels of the bars to fit and of those to score."""
    return torch.from_numpy(label(dataset, bars.fit, horizon)), torch.from_numpy(label(dataset, bars.scored, horizon))


def _standardised(labels: Pair) -> Pair:
    """Labels with mean 0 and variance 1 on the bars to fit."""
    center, scale = labels[0].mean(dim=0), labels[0].std(dim=0).clamp(min=1e-9)
    return (labels[0] - center) / scale, (labels[1] - center) / scale


def _split(dataset: Dataset, bars: Bars, horizon: int) -> Split:
    """The last bars of the fit, and those whose windows and labels end before the windows of these begin."""
    first = bars.fit[int(len(bars.fit) * (1 - TUNING))]
    before = bars.fit < first - dataset.layout.lookback - horizon
    return Split(torch.from_numpy(bars.fit >= first), torch.from_numpy(before))


def _block(dataset: Dataset, bars: Bars, horizon: int) -> int:
    """Scored bars in a block of the bootstrap: twice as long as a window and its label."""
    spacing = max(1.0, float(np.median(np.diff(bars.scored))))
    return math.ceil(2 * (dataset.layout.lookback + horizon) / spacing)


def _compared(losses: Mapping[str, np.ndarray], constant: np.ndarray, block: int, subject: str) -> dict[str, Any]:
    """Skills of all vectors and the subject's gains, with intervals, from the losses of the scored bars (m,)."""
    others = [key for key in losses if key != subject]
    if (scale := constant.mean()) < NOTHING:
        return {"skill": dict.fromkeys(losses), "gain": dict.fromkeys(others)}
    return {
        "skill": {key: block_bootstrap((constant - own) / scale, block) for key, own in losses.items()},
        "gain": {key: block_bootstrap((losses[key] - losses[subject]) / scale, block) for key in others},
    }


class _Exam:
    """One probe's labels, and the bars of the fit that choose its penalty."""

    def __init__(self, question: Probe, dataset: Dataset, bars: Bars, horizon: int):
        labels = _both(question.label, dataset, bars, horizon)
        self.fit, self.scored = _standardised(labels) if question.loss is _squared else labels
        self.question, self.split = question, _split(dataset, bars, horizon)
        self.n_outputs = question.n_outputs(dataset.layout.n_assets)

    def losses(self, vectors: Pair) -> np.ndarray:
        """The loss of each scored bar, after a fit with the penalty that serves the last bars of the fit best."""
        fit, scored = (part.double() for part in vectors)
        if self.question.loss is _squared:
            return ridge_losses((fit, scored), {"": (self.fit, self.scored)}, self.split)[""]
        center = fit.mean(dim=0)
        scale = (fit - center).square().mean(dim=0).sqrt().clamp(min=1e-6)
        fit, scored = (fit - center) / scale, (scored - center) / scale
        tuned, before = self.split.tuned, self.split.before
        penalty = PENALTIES[0]
        if fit.shape[1] and before.any():
            earlier = [self._fitted(fit[before], self.fit[before], penalty) for penalty in PENALTIES]
            found = [float(self._losses(model, fit[tuned], self.fit[tuned]).mean()) for model in earlier]
            penalty = PENALTIES[int(np.argmin(found))]
        return self._losses(self._fitted(fit, self.fit, penalty), scored, self.scored).numpy()

    def _fitted(self, inputs: Tensor, labels: Tensor, penalty: float) -> Tensor:
        return minimise(self.question.loss, inputs, labels, self.n_outputs, penalty)

    def _losses(self, model: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        return self.question.loss(_with_one(vectors) @ model, labels)


@torch.enable_grad()
def minimise(loss: Loss, inputs: Tensor, labels: Tensor, n_outputs: int, penalty: float) -> Tensor:
    """The weights, constant last, of the least mean loss + penalty / 2 × sum of squared weights, found by L-BFGS.

    Shape: inputs (n, D) → (D + 1, outputs).
    """
    model = torch.zeros(inputs.shape[1] + 1, n_outputs, dtype=torch.float64, requires_grad=True)
    extended = _with_one(inputs)
    solver = torch.optim.LBFGS([model], max_iter=200, tolerance_change=1e-6, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        found = loss(extended @ model, labels).mean() + 0.5 * penalty * model[:-1].square().sum()
        found.backward()
        return found

    solver.step(closure)
    return model.detach()


def block_bootstrap(values: np.ndarray, block: int) -> dict[str, float]:
    """The mean of values in time order, and the bounds of its interval. Shape: (m,).

    Whole blocks of neighbours are sampled, because neighbours share windows and labels (Künsch 1989; circular as in
    Politis and Romano 1992).
    """
    m = len(values)
    block = max(1, min(block, m // MIN_BLOCKS))
    starts = np.random.default_rng(0).integers(m, size=(N_RESAMPLES, math.ceil(m / block)))
    lengths = np.minimum(block, m - block * np.arange(starts.shape[1]))  # the last block only fills up
    sums = np.concatenate([[0.0], np.cumsum(np.tile(values, 2))])
    means = (sums[starts + lengths] - sums[starts]).sum(axis=1) / m
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def effective_rank(vectors: Tensor) -> float:
    """How many directions vectors use: exp of the entropy of their normalised singular values, from 1 to D.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", of the centred vectors.

    Shape: (n, D).
    """
    values = torch.linalg.svdvals((vectors - vectors.mean(dim=0)).double())
    shares = values / values.sum().clamp(min=1e-300)
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def _with_one(vectors: Tensor) -> Tensor:
    return torch.cat([vectors, torch.ones(len(vectors), 1, dtype=vectors.dtype)], dim=1)
