"""Promotions without training: the measures of fresh seeds are drawn around what a configuration is truly worth."""

import dataclasses
from typing import Any

import numpy as np

from ftray.analysis.luck import RATIOS
from ftray.metrics import ACTIVE_SHARPE, SHARPE
from ftray.study.promotion.gate import Draws, Gate, Spread, hopeless

WINDOWS: dict[str, Any] = {"kind": "fixed"}
N_TRIALS, N_SEEDS, YEARS, BARS = 30, 5, 1.0, 8_760.0
FREEDOM = 20
"""Of the spread that the search's own seeds show."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """opens: whether the gate opens for all seeds. trained: seeds after which the rule stops; all if it never does."""

    opens: bool
    trained: int

    @property
    def stopped(self) -> bool:
        return self.trained < N_SEEDS


def metrics_of(plain: float, active: float) -> dict[str, Any]:
    """A seed's, over a year of hourly returns that are normal and independent."""
    rest = {"skewness": 0.0, "kurtosis": 3.0, "active_skewness": 0.0, "active_kurtosis": 3.0, "round_trips": 100.0}
    rest |= {"n_bars": BARS, "years": YEARS, "sharpe_newey_west": 1.0, "active_newey_west": 1.0}
    return {f"validation/{name}": value for name, value in rest.items()} | {SHARPE: plain, ACTIVE_SHARPE: active}


def needed() -> float:
    """The least ratio with which the gate opens."""
    ratios = np.linspace(0.0, 10.0, 10_001)
    draws = draws_of(Spread())
    return float(next(ratio for ratio in ratios if Gate.of([metrics_of(ratio, ratio)], WINDOWS, draws).is_open))


def draws_of(spread: Spread) -> Draws:
    return Draws(N_TRIALS, 0, dict.fromkeys(RATIOS, float(N_TRIALS)), dict.fromkeys(RATIOS, spread))


def promoted(mean: float, random: np.random.Generator, deviation: float, tails: float | None, wider: float) -> Outcome:
    """A promotion of a configuration whose seeds have this mean.

    deviation: of the seeds of the search. wider: how many times as far the configuration's own are apart.
    tails: degrees of freedom of the seeds' distribution; None: normal.
    """

    def drawn(n: int) -> np.ndarray:
        if tails is None:
            return random.normal(size=n)
        return random.standard_t(tails, n) / np.sqrt(tails / (tails - 2))

    spread = Spread.of((deviation * drawn(FREEDOM + 1)).tolist())
    plain, active = (mean + deviation * wider * drawn(N_SEEDS) for _ in range(2))
    seeds, draws = list(map(metrics_of, plain, active)), draws_of(spread)
    trained = next((k for k in range(1, N_SEEDS) if hopeless(seeds[:k], N_SEEDS - k, WINDOWS, draws)), N_SEEDS)
    return Outcome(Gate.of(seeds, WINDOWS, draws).is_open, trained)
