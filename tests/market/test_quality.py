"""False prices and stretches without a move are found where they are, and nowhere else."""

import dataclasses

import numpy as np
import pytest

from ftray.market import Candles, SimulatorSpec, quality_of, simulate

CLEAN = simulate(SimulatorSpec(n_assets=3, n_bars=600, seed=2))


def with_values(change) -> Candles:
    values = CLEAN.values.copy()
    change(values)
    return dataclasses.replace(CLEAN, values=values)


def multiply(values: np.ndarray, bar: int, columns: list[int], factor: float) -> None:
    values[bar, 1, columns] *= factor


def test_a_clean_market_has_nothing_to_report():
    for one in quality_of(CLEAN):
        assert (one.spikes, one.still, one.longest, one.never_moves) == ((), 0, None, False)


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
    first, second, third = quality_of(with_values(lambda values: multiply(values, bar, columns, factor)))
    neighbours = bar in (0, 599) and 3 in columns  # with one neighbour nobody knows which of the two is false
    assert second.spikes == (() if neighbours else (bar,))
    assert first.spikes == third.spikes == ()


def test_a_price_that_stays_is_a_move_and_no_spike():
    found = quality_of(with_values(lambda values: values[300:, 1, :4].__imul__(10.0)))
    assert [one.spikes for one in found] == [(), (), ()]


def test_a_stretch_without_a_move_is_named_from_a_day_of_hours_on():
    def stop(values: np.ndarray) -> None:
        values[:100, 0, :4] = 2.0
        values[200:222, 0, :4] = values[199, 0, 3]
        values[400:423, 0, :4] = values[399, 0, 3]

    first, second, _ = quality_of(with_values(stop))
    assert (first.still, first.longest) == (100 + 24, (0, 99)) and not first.never_moves
    assert second.still == 0


def test_an_asset_with_one_price_never_moves():
    first, *others = quality_of(with_values(lambda values: values[:, 0, :4].__setitem__(slice(None), 3.0)))
    assert first.never_moves and first.still == 600 and not any(one.never_moves for one in others)
