"""Candles: holes in time end segments, and every change changes the fingerprint."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import DataError, SpecError
from ftray.market import Candles, Segment, SimulatorSpec, parse_interval, simulate

HOUR = np.timedelta64(1, "h")


def candles_at(hours, n_assets=2):
    times = np.datetime64("2024-01-01", "ns") + np.array(hours, dtype=int) * HOUR
    return Candles(("A", "B")[:n_assets], times, np.ones((len(hours), n_assets, 5)), HOUR)


def test_a_segment_ends_at_every_hole_in_time():
    assert candles_at([0, 1, 2, 5, 6, 9]).segments == (Segment(0, 3), Segment(3, 5), Segment(5, 6))
    assert candles_at([]).segments == ()


def test_a_segment_is_cut_to_a_range_and_may_become_empty():
    assert Segment(3, 9).within(5, 20) == Segment(5, 9)
    assert len(Segment(3, 9).within(9, 20)) == len(Segment(3, 9).within(0, 3)) == 0


def test_values_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"\(3, 2, 5\), got \(3, 2, 4\)"):
        Candles(("A", "B"), candles_at([0, 1, 2]).times, np.ones((3, 2, 4)), HOUR)


def test_a_year_has_365_days_of_bars():
    assert candles_at([0, 1]).bars_per_year == 8_760


@pytest.mark.parametrize("field", ["symbols", "times", "values", "interval"])
def test_every_change_changes_the_fingerprint(field):
    candles = simulate(SimulatorSpec(n_bars=10, n_assets=2))
    values = candles.values.copy()
    values[3, 1, 4] = np.nextafter(values[3, 1, 4], np.inf)
    changes = {
        "symbols": ("A", "B"),
        "times": candles.times + np.timedelta64(1, "ns"),
        "values": values,
        "interval": np.timedelta64(2, "h"),
    }
    assert dataclasses.replace(candles).fingerprint == candles.fingerprint
    assert dataclasses.replace(candles, **{field: changes[field]}).fingerprint != candles.fingerprint


@pytest.mark.parametrize(("text", "minutes"), [("5m", 5), ("1h", 60), ("1d", 1_440), ("1w", 10_080), ("30s", 0.5)])
def test_intervals_are_read_as_exchanges_write_them(text, minutes):
    assert parse_interval(text) / np.timedelta64(1, "m") == minutes


@pytest.mark.parametrize("text", ["", "h", "1", "-1h", "0h", "1M", "1.5h", "1h "])
def test_anything_else_is_no_interval(text):
    with pytest.raises(SpecError, match="number and a unit"):
        parse_interval(text)
