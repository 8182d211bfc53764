"""Linear probes: what a linear model reads from a vector about the market, compared with other vectors of those bars.

Takes: vectors and labels of bars to fit on and of later bars to score on. Gives: skills, and the differences of skills
with block-bootstrap intervals, as plain values.

Legend: n bars, D width, A assets, K regimes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ftray.features import Dataset
from ftray.pretraining.samples import log_volatility

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties per sample to choose from."""

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


@dataclasses.dataclass(frozen=True)
class Probe:
    """One question to a vector.

    label: dataset, bars (n,), horizon → (n, A) or (n,).
    n_outputs: of the linear model, from the number of assets.
    loss: outputs, labels → (n,), the loss of each bar.
    """

    label: Callable[[Dataset, np.ndarray, int], np.ndarray]
    n_outputs: Callable[[int], int]
    loss: Callable[[Tensor, Tensor], Tensor]


def return_sign(dataset: Dataset, bars: np.ndarray, horizon: int) -> np.ndarray:
    """1 where an asset's close rises over the next `horizon` bars, else 0. Shape: (n,) → (n, A)."""
    close = dataset.candles.column("close")
    return (close[bars + horizon] > close[bars]).astype(float)


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


def probe(
    vectors: Mapping[str, tuple[Tensor, Tensor]], dataset: Dataset, bars: Bars, horizon: int, subject: str
) -> dict[str, Any]:
    """Every probe on every vector.

    vectors: name → vectors of the bars to fit on (n, D) and to score on (m, D). subject: the one the others are
    compared with.

    Returns: {probe: {"skill": {name: share}, "gain": {other: {"mean", "low", "high"}}}}. A skill is the share of the
    best constant's loss that a probe saves: R² for the volatility, McFadden's R² for classes. A gain is the
    subject's skill less the other's, with the bounds of its 95 % interval. All None where every bar has the same label.
    """
    reach = dataset.layout.lookback + horizon
    spacing = max(1.0, float(np.median(np.diff(bars.scored))))
    block = math.ceil(2 * reach / spacing)
    results: dict[str, Any] = {}
    for name, question in PROBES.items():
        exam = _Exam(question, dataset, bars, horizon, reach)
        constant = exam.losses(torch.zeros(len(bars.fit), 0), torch.zeros(len(bars.scored), 0))
        losses = {key: exam.losses(*pair) for key, pair in vectors.items()}
        others = [key for key in vectors if key != subject]
        if (scale := constant.mean()) < NOTHING:
            results[name] = {"skill": dict.fromkeys(vectors), "gain": dict.fromkeys(others)}
            continue
        gains = {key: block_bootstrap((losses[key] - losses[subject]) / scale, block) for key in others}
        results[name] = {"skill": {key: 1.0 - float(losses[key].mean() / scale) for key in vectors}, "gain": gains}
    return results


class _Exam:
    """One probe's labels, and the bars of the fit that choose its penalty."""

    def __init__(self, question: Probe, dataset: Dataset, bars: Bars, horizon: int, reach: int):
        fit, scored = (torch.from_numpy(question.label(dataset, part, horizon)) for part in (bars.fit, bars.scored))
        if question.loss is _squared:
            center, scale = fit.mean(dim=0), fit.std(dim=0).clamp(min=1e-9)
            fit, scored = (fit - center) / scale, (scored - center) / scale
        self.question, self.fit, self.scored = question, fit, scored
        self.n_outputs = question.n_outputs(dataset.layout.n_assets)
        first = bars.fit[int(len(bars.fit) * (1 - TUNING))]
        self.tuned, self.before = bars.fit >= first, bars.fit < first - reach

    def losses(self, fit: Tensor, scored: Tensor) -> np.ndarray:
        """The loss of each scored bar, after a fit with the penalty that serves the last bars of the fit best."""
        fit, scored = fit.double(), scored.double()
        center = fit.mean(dim=0)
        scale = (fit - center).square().mean(dim=0).sqrt().clamp(min=1e-6)
        fit, scored = (fit - center) / scale, (scored - center) / scale
        tuned, before = torch.from_numpy(self.tuned), torch.from_numpy(self.before)
        penalty = PENALTIES[0]
        if fit.shape[1] and before.any():
            earlier = [self._solve(fit[before], self.fit[before], penalty) for penalty in PENALTIES]
            found = [float(self._losses(model, fit[tuned], self.fit[tuned]).mean()) for model in earlier]
            penalty = PENALTIES[int(np.argmin(found))]
        return self._losses(self._solve(fit, self.fit, penalty), scored, self.scored).numpy()

    def _losses(self, model: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        return self.question.loss(_with_one(vectors) @ model, labels)

    @torch.enable_grad()
    def _solve(self, vectors: Tensor, labels: Tensor, penalty: float) -> Tensor:
        """The weights, constant last, of the least mean loss plus penalty. Shape: (n, D) → (D + 1, outputs)."""
        model = torch.zeros(vectors.shape[1] + 1, self.n_outputs, dtype=torch.float64, requires_grad=True)
        inputs = _with_one(vectors)
        solver = torch.optim.LBFGS([model], max_iter=200, tolerance_change=1e-6, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            loss = self.question.loss(inputs @ model, labels).mean() + 0.5 * penalty * model[:-1].square().sum()
            loss.backward()
            return loss

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
    rows = ((starts[:, :, None] + np.arange(block)) % m).reshape(N_RESAMPLES, -1)[:, :m]
    low, high = np.quantile(values[rows].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
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
