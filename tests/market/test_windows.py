"""Windows: chronological, apart, and never across a hole in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftray.errors import DataError, SpecError
from ftray.market import Segment, SimulatorSpec, Window, WindowsSpec, fold, simulate, split


@given(
    n_bars=st.integers(1, 50_000),
    lookback=st.integers(1, 200),
    holding=st.integers(1, 100),
    validation=st.floats(0.001, 0.49),
    test=st.floats(0.001, 0.49),
    extra=st.none() | st.integers(0, 300),
)
def test_windows_are_in_time_order_at_least_a_purge_apart_and_long_enough(
    n_bars, lookback, holding, validation, test, extra
):
    reach = lookback + holding
    purge = None if extra is None else reach + extra
    spec = WindowsSpec(validation=validation, test=test, purge=purge, holding=holding)
    evaluated = [round(n_bars * validation), round(n_bars * test)]
    if min(*evaluated, n_bars - sum(evaluated) - 2 * (purge or reach)) < reach:
        with pytest.raises(DataError, match="window must hold at least"):
            split(n_bars, spec, lookback)
        return
    windows = split(n_bars, spec, lookback)
    (train,), (validation,) = windows.train, windows.validation
    assert train.start == 0 and windows.test.stop == n_bars
    assert validation.start - train.stop == (purge or reach)
    assert windows.test.start - validation.stop == (purge or reach)
    assert [len(validation), len(windows.test)] == evaluated


def test_without_a_test_window_validation_ends_with_the_bars_like_that_of_other_folds():
    windows = split(1_000, WindowsSpec(test=0.0, validation=0.2), lookback=60)
    assert (windows.train, windows.validation) == ((Window(0, 716),), (Window(800, 1_000),))
    assert len(windows.test) == 0
    assert fold(1_000, WindowsSpec(test=0.0, validation=0.2), lookback=60).windows == (windows,)


def test_a_study_needs_bars_to_validate_on():
    with pytest.raises(SpecError, match="validation: must be above 0 and below 1, got 0"):
        WindowsSpec(validation=0.0)


def test_a_purge_below_lookback_and_holding_is_refused():
    with pytest.raises(SpecError, match=r"purge: must be at least lookback \+ holding = 60 \+ 24 = 84 bars, got 83"):
        split(10_000, WindowsSpec(purge=83), lookback=60)
    assert split(10_000, WindowsSpec(purge=84), lookback=60) == split(10_000, WindowsSpec(), lookback=60)


@pytest.mark.parametrize(
    ("n_bars", "settings", "words"),
    [
        (300, {}, "the train window must hold .* = 84 bars, got 42 .300 bars in all"),
        (400, {}, "the validation window must hold .* got 60"),
        (10_000, {"test": 1e-6}, "the test window must hold .* got 0"),
        (300, {"test": 0.0, "validation": 0.2}, "the validation window .* got 60 .*less 1 purge gap of 84"),
    ],
)
def test_a_window_that_is_too_short_is_refused_with_the_numbers(n_bars, settings, words):
    with pytest.raises(DataError, match=words):
        split(n_bars, WindowsSpec(**settings), lookback=60)


def test_fractions_must_leave_bars_for_training():
    with pytest.raises(SpecError, match="must leave bars for training"):
        WindowsSpec(validation=0.5, test=0.5)


def test_the_segments_of_a_window_cover_it_and_span_no_hole():
    candles = simulate(SimulatorSpec(n_bars=300, n_assets=1, n_outages=6))
    window = Window(40, 260)
    segments = window.segments(candles)
    bars = np.concatenate([np.arange(s.start, s.stop) for s in segments])
    np.testing.assert_array_equal(bars, np.arange(40, 260))
    for segment in segments:
        steps = np.diff(candles.times[segment.start : segment.stop])
        assert np.all(steps == candles.interval)


def test_a_window_that_ends_at_a_hole_gets_no_empty_segment():
    candles = simulate(SimulatorSpec(n_bars=100, n_assets=1, n_outages=1))
    first, second = candles.segments
    assert Window(0, first.stop).segments(candles) == (first,)
    assert Window(second.start, 100).segments(candles) == (second,)
    assert Window(first.stop - 1, second.start + 1).segments(candles) == (
        Segment(first.stop - 1, first.stop),
        Segment(second.start, second.start + 1),
    )
    assert Window(5, 5).segments(candles) == ()
