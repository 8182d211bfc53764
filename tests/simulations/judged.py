"""Simulated studies: returns of many trials without training, judged as a study's are.

Legend: R repeats, N trials, T bars, A assets.
"""

import numpy as np

from ftray import stats
from ftray.analysis.luck import ACTIVE_SHARPE, Luck, luck_of
from ftray.metrics import SHARPE, validation

DAILY = 365.0
SINGLE = {"kind": "single"}


def reported(returns: np.ndarray, periods: float, active: bool = False) -> dict[str, float]:
    """The metrics that a trial reports of its returns and that its luck depends on. Shape: (T,)."""
    prefix = "active_" if active else ""
    measures = {
        f"{prefix}sharpe": stats.sharpe(returns, periods),
        f"{prefix}skewness": stats.skewness(returns),
        f"{prefix}kurtosis": stats.kurtosis(returns),
        "active_newey_west" if active else "sharpe_newey_west": stats.sharpe_newey_west(returns, periods),
        "n_bars": float(len(returns)),
        "years": len(returns) / periods,
    }
    return {validation(name): value for name, value in measures.items()}


def luck_of_returns(returns: np.ndarray, chosen: int, periods: float, active: bool = False) -> Luck:
    """What luck explains of one of N trials. Shape: (N, T)."""
    metrics = reported(returns[chosen], periods, active)
    luck = luck_of(metrics, SINGLE, len(returns), stats.effective_trials(returns), ACTIVE_SHARPE if active else SHARPE)
    assert luck is not None
    return luck


def best_of(returns: np.ndarray) -> int:
    """The trial with the highest Sharpe ratio; one that never moves is not a candidate. Shape: (N, T)."""
    deviations = returns.std(axis=1)
    return int(np.argmax(np.where(deviations > 0, returns.mean(axis=1) / np.maximum(deviations, 1e-300), -np.inf)))
