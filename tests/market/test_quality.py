"""False prices and volumes and stretches without a move are found where they are, and nowhere else."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ftray.market import Candles, FilesSpec, SimulatorSpec, honest_values, quality_of, read_candles, simulate
from ftray.testing import ohlcv

CLEAN = simulate(SimulatorSpec(n_assets=3, n_bars=600, seed=2))
HOUR, MINUTE, DAY = (np.timedelta64(1, unit) for unit in "hmD")
OHLC = [0, 1, 2, 3]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def with_values(change) -> Candles:
    values = CLEAN.values.copy()
    change(values)
    return dataclasses.replace(CLEAN, values=values)


def multiplied(bar: int, columns: list[int], factor: float, n_bars: int = 1) -> Candles:
    """Some fields of a few bars of the second asset, at a multiple."""
    return with_values(
        lambda values: values[bar : bar + n_bars, 1].__setitem__(
            (slice(None), columns), values[bar : bar + n_bars, 1][:, columns] * factor
        )
    )


def with_gap(candles: Candles, before: int) -> Candles:
    """The same bars, those from a bar on three intervals later."""
    late = np.where(np.arange(len(candles)) >= before, 3 * candles.interval, np.timedelta64(0, "ns"))
    return dataclasses.replace(candles, times=candles.times + late)


def of_interval(candles: Candles, interval: np.timedelta64) -> Candles:
    times = candles.times[0] + np.arange(len(candles)) * interval
    return dataclasses.replace(candles, times=times, interval=interval)


def test_a_clean_market_has_nothing_to_report():
    for one in quality_of(CLEAN):
        assert (one.spikes, one.volume_spikes, one.still, one.longest) == ((), (), 0, None)


@pytest.mark.parametrize(
    ("columns", "factor"),
    [
        pytest.param([1], 10.0, id="a wick up"),
        pytest.param([2], 0.1, id="a wick down"),
        pytest.param([1, 3], 10.0, id="a close, and back"),
        pytest.param([0, 1, 2, 3], 0.1, id="a whole bar, and back"),
    ],
)
@pytest.mark.parametrize("bar", [0, 300, 599])
def test_a_price_that_is_back_one_bar_later_is_a_spike_of_its_asset(columns, factor, bar):
    first, second, third = quality_of(multiplied(bar, columns, factor))
    neighbours = bar in (0, 599) and 3 in columns  # with one neighbour nobody knows which of the two is false
    assert second.spikes == (() if neighbours else ((bar, bar),))
    assert first.spikes == third.spikes == ()


@pytest.mark.parametrize("factor", [10.0, 0.1])
@pytest.mark.parametrize(("n_bars", "found"), [(2, True), (3, True), (5, True), (6, False), (300, False)])
def test_a_price_that_is_back_after_up_to_five_bars_is_one_run_and_one_that_stays_a_move(n_bars, found, factor):
    _, second, _ = quality_of(multiplied(300, OHLC, factor, n_bars))
    assert second.spikes == (((300, 299 + n_bars),) if found else ())


def test_the_bar_that_opens_at_a_false_price_has_one_too():
    def spoil(values: np.ndarray) -> None:
        values[300, 1, [1, 3]] *= 10.0
        values[301, 1, 0] = values[301, 1, 1] = values[300, 1, 3]

    assert quality_of(with_values(spoil))[1].spikes == ((300, 301),)


@pytest.mark.parametrize("bars_apart", [2, 4])
def test_two_runs_side_by_side_are_two(bars_apart):
    def spoil(values: np.ndarray) -> None:
        values[300:303, 1, :4] *= 10.0
        values[303 + bars_apart : 305 + bars_apart, 1, :4] *= 10.0

    found = quality_of(with_values(spoil))[1].spikes
    assert found[0][0] == 300 and found[-1][1] == 304 + bars_apart


@pytest.mark.parametrize("seed", range(3))
def test_crashes_and_rallies_that_are_no_leaps_and_back_are_moves(seed):
    wild = ohlcv(5_000, seed=seed, volatility=0.03)  # bars of 3 % with fat tails, seven times those of hourly candles
    candles = dataclasses.replace(
        CLEAN.of(CLEAN.symbols[:1]), times=CLEAN.times[0] + np.arange(5_000) * HOUR, values=wild[:, None], regimes=None
    )
    (one,) = quality_of(candles)
    assert not one.spikes and not one.volume_spikes


def test_a_volume_of_a_thousand_times_is_found_and_one_of_ten_times_is_news():
    first, second, _ = quality_of(multiplied(300, [4], 1_000.0))
    assert (first.volume_spikes, second.volume_spikes, second.spikes) == ((), (300,), ())
    assert quality_of(multiplied(300, [4], 10.0))[1].volume_spikes == ()


def test_the_first_trades_after_a_stretch_without_any_are_no_false_volume():
    assert quality_of(with_values(lambda values: values[:300, 1, 4].__imul__(0.0)))[1].volume_spikes == ()


def test_nothing_is_compared_across_a_gap_in_time():
    level = with_values(lambda values: values[300, 1].__imul__(1_000.0))  # one bar alone between two gaps
    assert quality_of(level)[1].spikes and quality_of(level)[1].volume_spikes
    found = quality_of(with_gap(with_gap(level, 300), 301))[1]
    assert found.spikes == found.volume_spikes == ()


def test_a_stretch_without_a_move_ends_at_a_gap_in_time():
    still = with_values(lambda values: values[100:140, 0, :4].__setitem__(slice(None), 2.0))
    assert (quality_of(still)[0].still, quality_of(still)[0].longest) == (40, (100, 139))
    two = quality_of(with_gap(still, 112))[0]  # 12 bars and 28
    assert (two.still, two.longest) == (28, (112, 139))
    assert quality_of(with_gap(still, 120))[0].still == 0  # 20 and 20, each less than a day


def test_a_stretch_without_a_move_is_named_from_a_day_of_hours_on():
    def stop(values: np.ndarray) -> None:
        values[:100, 0, :4] = 2.0
        values[200:222, 0, :4] = values[199, 0, 3]
        values[400:423, 0, :4] = values[399, 0, 3]

    first, second, _ = quality_of(with_values(stop))
    assert (first.still, first.longest) == (100 + 24, (0, 99))
    assert second.still == 0


@pytest.mark.parametrize(
    ("interval", "n_bars"), [(5 * MINUTE, 288), (HOUR, 24), (4 * HOUR, 6), (DAY, 6)], ids=["5m", "1h", "4h", "1d"]
)
def test_a_stretch_is_a_day_long_and_at_least_six_bars_whatever_a_bar_is(interval, n_bars):
    for length, found in ((n_bars, n_bars), (n_bars - 1, 0)):
        still = with_values(lambda values, stop=100 + length: values[100:stop, 0, :4].__setitem__(slice(None), 2.0))
        assert quality_of(of_interval(still, interval))[0].still == found


def test_values_without_what_is_false_are_those_from_before_but_for_the_false_bars():
    spoilt = multiplied(300, [*OHLC, 4], 1_000.0, 2).values
    honest = honest_values(spoilt)
    others = np.delete(np.arange(600), [300, 301])
    np.testing.assert_array_equal(honest[others], CLEAN.values[others])
    np.testing.assert_array_equal(honest[300:302, 1, :4], CLEAN.values[299, 1, 3])
    assert honest_values(CLEAN.values) is CLEAN.values


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no candles in {REAL}")
@pytest.mark.parametrize("interval", ["1h", "5m"])
def test_years_of_real_candles_have_crashes_and_outages_and_no_false_price_or_volume(interval):
    for one in quality_of(read_candles(FilesSpec(path=str(REAL / f"binance_{interval}"), interval=interval))):
        assert (one.spikes, one.volume_spikes, one.still) == ((), (), 0), one


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no candles in {REAL}")
@pytest.mark.parametrize("hours", [4, 24])
def test_nor_do_real_candles_of_four_hours_and_of_days(hours):
    hourly = read_candles(FilesSpec(path=str(REAL / "binance_1h")))
    for one in quality_of(longer(hourly, hours)):
        assert (one.spikes, one.volume_spikes, one.still) == ((), (), 0), one


def longer(candles: Candles, n: int) -> Candles:
    """Bars of n bars each, those of whole ones of a segment."""
    starts = np.concatenate([np.arange(s.start, s.stop - n + 1, n) for s in candles.segments])
    parts = candles.values[starts[:, None] + np.arange(n)]
    first, last = parts[:, 0], parts[:, -1]
    high, low, volume = parts[..., 1].max(axis=1), parts[..., 2].min(axis=1), parts[..., 4].sum(axis=1)
    values = np.stack([first[..., 0], high, low, last[..., 3], volume], axis=-1)
    return dataclasses.replace(candles, times=candles.times[starts], values=values, interval=n * candles.interval)
