"""The checks on what statistics are given: an array that passed one is float64 and finite."""

import numpy as np
from numpy.typing import ArrayLike


def checked_returns(returns: ArrayLike) -> np.ndarray:
    """Simple returns per bar. Shape: (T,), T ≥ 1."""
    returns = checked_series(returns, "returns")
    if returns.min() < -1.0:
        bar = int(np.argmin(returns))
        raise ValueError(f"returns must be at least -1 (all equity lost), got {returns[bar]:g} at bar {bar}")
    return returns


def checked_equity(equity: ArrayLike) -> np.ndarray:
    """Equity in any currency. Shape: (T,), T ≥ 1."""
    equity = checked_series(equity, "equity")
    if equity[0] <= 0.0 or equity.min() < 0.0:
        raise ValueError(f"equity must start above 0 and never fall below it, got {equity[0]:g} and {equity.min():g}")
    return equity


def checked_series(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must have the shape (bars,) with at least one bar, got {values.shape}")
    if not np.isfinite(values).all():
        bar = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name} must be finite, got {values[bar]} at bar {bar}")
    return values


def checked_along(values: ArrayLike, returns: np.ndarray, name: str) -> np.ndarray:
    """Values that belong to returns, one by one."""
    values = checked_series(values, name)
    if len(values) != len(returns):
        raise ValueError(f"{name} must have one value per return: {len(returns)}, got {len(values)}")
    return values


def checked_matrix(values: ArrayLike, rows: str, columns: str, min_rows: int = 1) -> np.ndarray:
    """A matrix with at least `min_rows` rows. Shape: (rows, columns)."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) < min_rows or not values.size:
        raise ValueError(f"expected the shape ({rows}, {columns}) with at least {min_rows} {rows}, got {values.shape}")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"values must be finite, got {values[row, column]} at row {row} of {rows}, column {column}")
    return values


def checked_periods(periods_per_year: float) -> float:
    return checked_positive(periods_per_year, "periods_per_year")


def checked_positive(value: float, name: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}")
    return float(value)


def checked_trials(n_trials: float) -> float:
    if not (np.isfinite(n_trials) and n_trials >= 1):
        raise ValueError(f"n_trials must be a number of at least 1, got {n_trials}")
    return float(n_trials)


def checked_confidence(confidence: float) -> float:
    if not 0.5 <= confidence < 1.0:
        raise ValueError(f"confidence must be at least 0.5 and below 1, got {confidence}")
    return float(confidence)
