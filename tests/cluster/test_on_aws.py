"""The AWS cluster file, from `ray up` to `ray down`: spot nodes come for trials that wait, one is taken back, they go.

The tests are scenes of one life of one cluster, in this order.
"""

from collections.abc import Iterator

import pytest

from .namespaces import missing
from .on_aws import OnAws, on_aws

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def aws() -> Iterator[OnAws]:
    with on_aws() as cluster:
        cluster.comes_up()
        yield cluster


def test_trials_that_wait_bring_up_as_many_spot_nodes_as_the_plan_says(aws):
    aws.scales_up()


def test_trials_of_a_node_that_is_taken_back_continue_from_object_storage_on_another_one(aws):
    aws.survives_reclaim()


def test_nodes_that_nothing_waits_for_go(aws):
    aws.scales_down()


def test_ray_down_leaves_no_instance(aws):
    aws.goes_down()
