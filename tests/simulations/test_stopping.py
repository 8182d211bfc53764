"""Of promotions whose seeds are stopped early, hardly any would have opened the gate.

A configuration's seeds are drawn around its true mean, relative to the least ratio that clears; one unit is how far
seeds are apart.
"""

import numpy as np
import pytest

from tests.simulations.promotions import N_SEEDS, Outcome, needed, promoted

REPEATS = 200


def promotions(
    above: float, *, tails: float | None = None, wider: float = 1.0, repeats: int = REPEATS
) -> list[Outcome]:
    random, least = np.random.default_rng(0), needed()
    return [promoted(least + above, random, 1.0, tails, wider) for _ in range(repeats)]


def wrongly_stopped(outcomes: list[Outcome]) -> int:
    return sum(one.opens and one.stopped for one in outcomes)


@pytest.mark.long
@pytest.mark.parametrize("tails", [None, 3.0], ids=["normal", "tails of Student's t with 3 degrees"])
@pytest.mark.parametrize("above", [-0.5, 0.0, 0.5, 1.0])
def test_at_most_two_in_a_hundred_are_stopped_that_would_have_opened_the_gate(above, tails):
    assert wrongly_stopped(promotions(above, tails=tails)) <= 0.02 * REPEATS


@pytest.mark.long
def test_at_most_one_in_ten_is_where_its_seeds_are_twice_as_far_apart_as_the_search_shows():
    assert wrongly_stopped(promotions(1.0, wider=2.0)) <= 0.1 * REPEATS


def test_a_configuration_far_below_the_line_costs_hardly_more_than_a_seed_and_one_above_it_all():
    assert np.mean([one.trained for one in promotions(-3.0, repeats=40)]) < 1.5
    assert np.mean([one.trained for one in promotions(1.0, repeats=40)]) > N_SEEDS - 0.2
