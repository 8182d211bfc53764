"""Numbers that come in from Python code: read exactly, or refused with what came.

Takes: anything. Gives: numpy arrays of real or whole numbers, a whole number, a seed. Truth values, text, complex
numbers and objects are no numbers here. Fields of specs have the rules of `ftray.field_rules` instead.

>>> real_numbers([1, 0.5], "actions").tolist()
[1.0, 0.5]
>>> whole_number(2.0, "the number of accounts")
Traceback (most recent call last):
ftray.errors.SpecError: the number of accounts must be a whole number from 0 on, got 2.0
"""

import operator
import reprlib
from typing import Any

import numpy as np

from ftray.errors import DataError, FtrayError, SpecError


def real_numbers(value: Any, noun: str, error: type[FtrayError] = DataError) -> np.ndarray:
    """The array that a value is or can be read as, of whole numbers or floats, which may be NaN or infinite.

    noun: what it is called in the message. error: what is raised.
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiu":  # every step comes by here
        return value
    if np.ma.isMaskedArray(value):
        raise error(f"{noun} must be numbers, and this array has a mask: fill what it hides")
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as problem:  # ragged; a tensor on a GPU
        raise error(f"{noun} must be an array of numbers, got {written(value)}: {problem}") from None
    if found.dtype.kind not in "fiu":
        raise error(f"{noun} must be real numbers, got {written(value)}, of the type {found.dtype}")
    return found


def whole_numbers(value: Any, noun: str, error: type[FtrayError] = DataError) -> np.ndarray:
    """A list of whole numbers as an array. Shape: (n,) int64. Raises: `error`."""
    found = real_numbers(value, noun, error)
    if found.ndim != 1 or found.dtype.kind == "f":
        raise error(f"{noun} must be a list of whole numbers, got {written(value)}")
    if found.dtype == np.int64:
        return found
    whole = found.astype(np.int64)
    if (whole != found).any():
        raise error(f"{noun} must be below 2^63, got {written(value)}")
    return whole


def whole_number(value: Any, noun: str, low: int = 0, high: int | None = None) -> int:
    """A whole number from `low` to `high`, None is no limit; a float is none. Raises: SpecError."""
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or found < low or (high is not None and found > high):
        end = "on" if high is None else f"to {high}"
        raise SpecError(f"{noun} must be a whole number from {low} {end}, got {written(value)}")
    return found


def positive_number(value: Any, noun: str) -> float:
    """A finite number above 0. Raises: SpecError."""
    found = real_numbers(value, noun, SpecError)
    if found.shape != () or not (np.isfinite(found) and found > 0):
        raise SpecError(f"{noun} must be a finite number above 0, got {written(value)}")
    return float(found)


def checked_seed(seed: Any) -> int | None:
    """One seed; None takes one from the system. Raises: SpecError, also for a list of seeds."""
    return None if seed is None else whole_number(seed, "a seed, one for all accounts or None,")


def written(value: Any) -> str:
    """A value as messages print it: on one line, cut where it is long."""
    if isinstance(value, np.ndarray):
        return f"an array of the shape {value.shape}" if value.size > 4 else repr(value.tolist())
    return " ".join(reprlib.repr(value).split())
