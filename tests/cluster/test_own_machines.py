"""A cluster of one's own machines, from `ray up` to `ray down`, and what becomes of a study when machines fail.

The tests are scenes of one life of one cluster, in this order.
"""

from collections.abc import Iterator

import pytest

from .hosts import missing
from .own_machines import FAULTS, OwnMachines, own_machines

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def own() -> Iterator[OwnMachines]:
    with own_machines() as machines:
        machines.comes_up()
        yield machines


def test_a_study_runs_on_both_workers_and_its_results_lie_on_shared_storage(own):
    own.runs_a_study()


def test_a_driver_on_a_machine_outside_the_cluster_is_refused_in_words(own):
    own.refuses_a_driver_on_the_laptop()


def test_a_study_that_trains_is_submitted_looked_at_and_fetched_by_ftray(own):
    own.submits_with_ftray()


def test_the_page_of_a_study_comes_through_the_tunnel(own):
    own.shows_the_page()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_survives_that_a_worker_is(own, fault):
    own.survives(fault.replace(" ", "-"), *FAULTS[fault])


def test_a_study_survives_that_its_driver_is_killed(own):
    own.survives_its_drivers_death()


def test_ray_down_leaves_no_process_on_any_machine(own):
    own.goes_down()
