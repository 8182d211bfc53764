"""What can be predicted on a simulated market: the part of a bar's return that the bars before it determine.

Takes: the unpredictable parts of all returns, and their volatilities. Gives: the score of every bar and asset, of unit
variance, known before the bar opens: strength x volatility x score is the return to expect.

Legend: T bars, A assets.
"""

from collections.abc import Callable

import numpy as np

MOMENTUM_BARS, REVERSION_BARS, LEAD_BARS = 12.0, 4.0, 6.0
"""Half-lives, in bars."""
MOTIF = np.repeat([1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0], 3)
"""Signs of the last 24 bars, the latest first: a Thue-Morse sequence, orthogonal to every quadratic in time. A moving
average, and what else weighs the past smoothly, sees next to nothing of it."""

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(unpredictable parts in units of volatility, volatilities) → scores, each (T, A)."""


def persistent(noise: np.ndarray, half_life: float) -> np.ndarray:
    """The stationary AR(1) process of unit variance that white noise (T, ...) drives; `half_life` in bars.

    The recursion over T bars takes log2(T) passes: after the pass with shift s, a bar sums its last 2 s innovations.
    """
    decay = 0.5 ** (1.0 / half_life)
    series = noise * np.sqrt(1.0 - decay**2)
    series[0] = noise[0]
    shift = 1
    while shift < len(series) and decay**shift > 1e-12:
        series[shift:] += decay**shift * series[:-shift]
        shift *= 2
    return series


def _one_bar_later(series: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(series[:1]), series[:-1]])


def momentum(surprises: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """An asset goes on as it went: the exponential average of its last surprises."""
    return _one_bar_later(persistent(surprises, MOMENTUM_BARS))


def mean_reversion(surprises: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """An asset gives back what it won."""
    return -_one_bar_later(persistent(surprises, REVERSION_BARS))


def lead_lag(surprises: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """All assets follow the first one, which follows none."""
    scores = np.repeat(_one_bar_later(persistent(surprises[:, :1], LEAD_BARS)), surprises.shape[1], axis=1)
    scores[:, 0] = 0.0
    return scores


def motif(surprises: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """An asset follows a pattern spread over its last 24 bars, `MOTIF`."""
    scores = np.zeros_like(surprises)
    for lag, sign in enumerate(MOTIF, start=1):
        scores[lag:] += sign * surprises[:-lag]
    return scores / np.sqrt(len(MOTIF))


def volatility_timing(surprises: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """An asset rises while its volatility is low and falls while it is high."""
    level = np.log(volatility)
    return -_one_bar_later((level - level.mean(axis=0)) / level.std(axis=0))


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern for pattern in (momentum, mean_reversion, lead_lag, motif, volatility_timing)
}
