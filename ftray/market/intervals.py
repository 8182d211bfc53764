"""The length of a bar, as exchanges write it: `5m`, `1h`, `1d`."""

import re

import numpy as np

from ftray.errors import SpecError

INTERVAL_UNITS = {"s": "s", "m": "m", "h": "h", "d": "D", "w": "W"}


def parse_interval(text: str) -> np.timedelta64:
    """The length of a bar, in nanoseconds.

    Raises: SpecError about `interval`, the key it has in every market, for anything but a positive number and a unit.

    >>> parse_interval("4h") / np.timedelta64(1, "m")
    np.float64(240.0)
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdw])", text)
    if match is None:
        units = ", ".join(INTERVAL_UNITS)
        raise SpecError(
            f"must be a number and a unit out of {units}, such as '5m' or '1h'; got {text!r}", ("interval",)
        )
    return np.timedelta64(int(match[1]), INTERVAL_UNITS[match[2]]).astype("timedelta64[ns]")
