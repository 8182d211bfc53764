"""Every indicator forgets in time where its history began; benchmarks/warm_up.py measures how long that takes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import talib

from ftray.features.indicators import FORGOTTEN, INDICATORS, Indicator
from ftray.testing import ohlcv

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from warm_up import HORIZON, TOLERANCES, warm_up_data

CANDLES = ohlcv(4 * HORIZON, seed=2)


def needed(compute) -> dict[float, int | None]:
    (report,) = warm_up_data(CANDLES, [Indicator("tested", compute, warm_up=0)])
    return report.needed


@pytest.fixture(scope="module")
def reports():
    return warm_up_data(CANDLES)


@pytest.mark.parametrize("name", INDICATORS)
def test_every_indicator_has_forgotten_its_start_within_its_declared_warm_up(reports, name):
    (report,) = [report for report in reports if report.name == name]
    assert report.is_enough, report


def test_a_function_of_the_bar_alone_needs_no_warm_up():
    assert set(needed(lambda ohlcv: ohlcv[:, 3]).values()) == {0}


def test_a_mean_of_the_last_20_bars_needs_19_more():
    def mean(ohlcv: np.ndarray) -> np.ndarray:
        values = np.full(len(ohlcv), np.nan)
        values[19:] = np.lib.stride_tricks.sliding_window_view(ohlcv[:, 3], 20).mean(axis=1)
        return values

    assert set(needed(mean).values()) == {19}


def test_an_exponential_mean_is_forgotten_at_its_own_rate():
    """It loses 2 / (n + 1) of its start per bar: 2.3 decades per (n + 1) / 2 bars."""
    bars = needed(lambda ohlcv: talib.EMA(np.ascontiguousarray(ohlcv[:, 3]), 50))
    decades = 25.5 * np.log(10)
    assert bars[1e-6] - bars[1e-2] == pytest.approx(4 * decades, rel=0.1)


def test_what_never_forgets_is_reported_as_such():
    assert needed(lambda ohlcv: np.cumsum(ohlcv[:, 3]))[FORGOTTEN] is None


def test_a_finer_tolerance_never_needs_fewer_bars(reports):
    for report in reports:
        bars = [np.inf if report.needed[t] is None else report.needed[t] for t in TOLERANCES]
        assert bars == sorted(bars)
