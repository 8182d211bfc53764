"""A cluster of one's own machines, from `ray up` to `ray down`, and what becomes of a study when machines fail.

The tests are scenes of one life of one cluster, in this order. A worker that is cut off is given up after a minute; the
scenes that need no second worker run in that minute.
"""

from collections.abc import Iterator

import pytest

from .namespaces import missing
from .own_machines import FAULTS, OwnMachines, own_machines

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def own() -> Iterator[OwnMachines]:
    with own_machines() as machines:
        machines.comes_up()
        yield machines


@pytest.fixture(scope="module")
def struck(own: OwnMachines) -> OwnMachines:
    """The machines, after every worker was struck in mid-study."""
    own.strikes()
    return own


def test_a_plug_in_that_the_laptop_alone_has_is_imported_on_every_machine_of_its_study(own):
    own.runs_a_plug_in_of_the_laptops()


def test_a_study_runs_on_all_workers_and_its_results_are_on_shared_storage(own):
    own.runs_a_study()


def test_a_study_survives_that_its_driver_is_killed(own):
    own.survives_its_drivers_death()


def test_a_driver_on_a_machine_outside_the_cluster_is_refused(struck):
    struck.refuses_a_driver_on_the_laptop()


def test_a_study_that_trains_is_submitted_shown_and_fetched_by_ftray(struck):
    struck.submits_with_ftray()


def test_the_page_of_a_study_comes_through_the_tunnel(struck):
    struck.shows_the_page()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_survives_that_a_worker_is(struck, fault):
    struck.survives(fault)


def test_a_study_that_was_struck_is_whole_and_so_is_its_cluster(struck):
    struck.is_whole_again()


def test_ray_down_leaves_no_process_on_any_machine(own):
    own.goes_down()
