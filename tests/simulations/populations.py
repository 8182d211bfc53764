"""Markets, and populations of policies without skill that trade them; without costs.

Legend: N trials, T bars, A assets.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from ftray import stats

PERIODS = 2_190.0
"""Bars of a year: candles of four hours."""

N_BARS, N_ASSETS = 1_095, 7  # half a year
MARKETS = {"rising": 4.0, "flat": 0.0, "falling": -4.0}
"""Each market's drift, as the annual Sharpe ratio of all assets held alike."""

COMMON, OWN = 0.6, 0.5
"""Annual volatility of what all assets share, and of what each one has to itself."""


class Population(NamedTuple):
    """returns, active: (N, T), the latter less equal weight at the trial's own mean exposure."""

    returns: np.ndarray
    active: np.ndarray


def market(rng: np.random.Generator, drift: float) -> np.ndarray:
    """Returns of assets with one drift, fat tails and volatility that changes slowly. Shape: (T, A)."""
    tails = rng.standard_t(4, (N_BARS, 1 + N_ASSETS)) / np.sqrt(2.0)
    calm = autoregressive(rng.normal(0, 0.15, N_BARS), 0.95)
    scale = np.exp(calm - np.var(calm))[:, None] / np.sqrt(PERIODS)
    assets = scale * (COMMON * tails[:, :1] + OWN * tails[:, 1:])
    volatility = np.sqrt(COMMON**2 + OWN**2 / N_ASSETS)
    return np.maximum(-0.9, assets + drift * volatility / PERIODS)


def autoregressive(noise: np.ndarray, phi: float) -> np.ndarray:
    """Each value is phi times the one before plus noise; stationary from the first on. Shape: (..., T)."""
    noise = noise.copy()
    noise[..., 0] /= np.sqrt(1.0 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise))


def constant(rng: np.random.Generator, returns: np.ndarray, n_trials: int) -> np.ndarray:
    """The same long weights at all bars, in part cash. Shape: (N, T, A)."""
    weights = rng.dirichlet(np.ones(N_ASSETS), n_trials) * rng.uniform(0.3, 1.0, (n_trials, 1))
    return np.broadcast_to(weights[:, None], (n_trials, len(returns), N_ASSETS))


def momentum(rng: np.random.Generator, returns: np.ndarray, n_trials: int) -> np.ndarray:
    """Each trial weighs the assets by its own random reading of their last returns. Shape: (N, T, A)."""
    readings = rng.normal(0, 100, (n_trials, N_ASSETS, N_ASSETS))
    before = np.concatenate([np.zeros((1, N_ASSETS)), returns[:-1]])
    wanted = np.maximum(0.0, before @ readings + rng.normal(0, 1, (n_trials, 1, N_ASSETS)))
    return wanted / np.maximum(1.0, wanted.sum(axis=2, keepdims=True))


def rare(rng: np.random.Generator, returns: np.ndarray, n_trials: int) -> np.ndarray:
    """All in one asset for a bar or two, some 10 to 40 times; else in cash. Shape: (N, T, A)."""
    weights = np.zeros((n_trials, len(returns), N_ASSETS))
    for trial in weights:
        starts = rng.choice(len(returns) - 1, rng.integers(10, 41), replace=False)
        held = rng.integers(N_ASSETS, size=len(starts))
        trial[starts, held] = 1.0
        longer = rng.random(len(starts)) < 0.5
        trial[starts[longer] + 1] = trial[starts[longer]]
    return weights


POPULATIONS: dict[str, Callable[[np.random.Generator, np.ndarray, int], np.ndarray]] = {
    "constant": constant,
    "momentum": momentum,
    "rare": rare,
}


def population(rng: np.random.Generator, kind: str, drift: float, n_trials: int) -> Population:
    assets = market(rng, drift)
    weights = POPULATIONS[kind](rng, assets, n_trials)
    returns = np.einsum("nta,ta->nt", weights, assets)
    return Population(returns, returns - matched(assets, weights.sum(axis=2)))


def matched(assets: np.ndarray, exposures: np.ndarray) -> np.ndarray:
    """Equal weight at each trial's mean exposure. Shape: (T, A), (N, T) → (N, T)."""
    equal_weight, full = assets.mean(axis=1), np.ones(len(assets))
    return np.array([stats.exposure_matched(equal_weight, full, exposure) for exposure in exposures])
