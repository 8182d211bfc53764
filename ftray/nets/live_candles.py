"""Candles that a policy decides on: what must hold of them, as training held it.

Takes: candles, what the policy was trained on. Gives: nothing, or an error with what came.
"""

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftray.errors import DataError, WeightsError
from ftray.features.history import check_interval
from ftray.market import Candles, Reach, moment
from ftray.numeric import written

CLOCKS_APART = np.timedelta64(5, "s")
"""How far an exchange's clock may be ahead of this machine's."""


def check_candles(candles: Any, symbols: Sequence[str], interval: np.timedelta64 | None) -> None:
    """Refuses candles of other assets, bars of another length, out of order or not over yet, and prices that no market
    has.

    interval: of the bars that the policy was trained on; None where that is not known.

    Raises: WeightsError for other assets; DataError.
    """
    if not isinstance(candles, Candles):
        raise DataError(f"a policy observes Candles, as ftray.load_market gives them; got {written(candles)}")
    if candles.symbols != tuple(symbols):
        raise WeightsError(
            f"this policy trades {', '.join(symbols)}, in this order, and the candles are of "
            f"{', '.join(candles.symbols)}: pass candles.of(policy.layout.symbols)"
        )
    check_interval(interval, candles)
    _check_times(candles)
    low, prices = candles.column("low"), candles.values[..., :4]
    legal = np.isfinite(candles.values).all() and (low > 0.0).all() and (prices >= low[..., None]).all()
    if not (legal and (prices <= candles.column("high")[..., None]).all()):
        raise DataError("prices must be finite and above 0, with open and close between low and high, and are not")


def check_length(candles: Candles, reach: Reach) -> None:
    """Refuses candles that do not end with a whole observation. Raises: DataError with the bars or the gap."""
    runs = candles.segments
    unbroken, needed = (len(runs[-1]) if runs else 0), reach.lookback + reach.warm_up
    if unbroken >= needed:
        return
    rule = (
        f"an observation needs {needed} bars without a gap: {reach.lookback} of its lookback, and before them "
        f"{reach.warm_up} that indicators need"
    )
    if unbroken == len(candles):
        raise DataError(f"{rule}; got {unbroken}")
    before, after = (moment(candles.times[bar]) for bar in (runs[-1].start - 1, runs[-1].start))
    raise DataError(f"{rule}; after the last gap, from the bar at {before} to the one at {after}, there are {unbroken}")


def _check_times(candles: Candles) -> None:
    times, end = candles.times, candles.times[-1:] + candles.interval
    if (late := np.flatnonzero(~(times[1:] > times[:-1]))).size:
        before, at = (moment(time) for time in times[late[0] : late[0] + 2])
        raise DataError(f"the times of candles must increase, and a bar at {at} comes after one at {before}")
    now = np.datetime64(datetime.datetime.now(datetime.UTC).replace(tzinfo=None), "ns")
    if candles.regimes is None and (end > now + CLOCKS_APART).any():
        raise DataError(
            f"a policy decides after a bar's close, and the last one closes at {moment(end[0])}: it is not over yet"
        )
