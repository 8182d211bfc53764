"""Closed trades against values worked out by hand, and against a queue of lots."""

from collections import deque

import numpy as np
import pytest

from ftray import stats


def test_a_sale_closes_the_oldest_units_first():
    """10 units for 100, 10 for 200; 15 sold for 300 had cost 100 + 100 and were held 10 × 5 + 5 × 3 over 15."""
    found = stats.closed_trades([10, 10, -15, -5], [-100, -200, 300, 100], [0, 2, 5, 6])
    assert found.at.tolist() == [2, 3]
    assert found.cost == pytest.approx([200, 100]) and found.profit == pytest.approx([100, 0])
    assert found.held == pytest.approx([65 / 15, 4])


def test_without_sales_nothing_is_closed():
    for units in ([], [1.0, 2.0]):
        assert [len(one) for one in stats.closed_trades(units, units, units)] == [0] * 4


@pytest.mark.parametrize("seed", range(5))
def test_matching_on_the_running_sum_is_matching_lot_by_lot(seed):
    chance, held = np.random.default_rng(seed), 0.0
    units = []
    for _ in range(2_000):
        wanted = held * chance.choice([0.0, 0.5, 1.5]) if held else 1.0 + chance.random()
        units.append(wanted - held if wanted != held else 0.5)
        held += units[-1]
    units, times = np.array(units), np.cumsum(chance.random(2_000))
    cash = -units * chance.uniform(90, 110, 2_000) - 0.1
    found, lots, expected = stats.closed_trades(units, cash, times), deque(), []
    for unit, paid, time in zip(units, cash, times, strict=True):
        if unit > 0:
            lots.append([unit, -paid / unit, time])
            continue
        left, cost, age = -unit, 0.0, 0.0
        while left > 1e-12 and lots:
            part = min(left, lots[0][0])
            cost, age, left = cost + part * lots[0][1], age + part * (time - lots[0][2]), left - part
            lots[0][0] -= part
            if lots[0][0] <= 1e-12:
                lots.popleft()
        expected.append((paid - cost, cost, age / -unit))
    np.testing.assert_allclose(np.transpose(found[1:]), expected, rtol=1e-6, atol=1e-6)
