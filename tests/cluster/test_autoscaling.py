"""Trials that wait bring up exactly the nodes that the VRAM plan says, and nodes that nothing waits for go."""

import json
import math

import pytest

from .hosts import ROOT, Hosts
from .namespaces import missing
from .own_machines import QUIET

SHARES = (7, 5)
"""Trials that share a GPU; two of them do in `test_on_aws`."""

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def cases():
    """Made on a host of its own: Ray ends all of its kind by name when it starts and stops fake nodes."""
    with Hosts() as hosts:
        host = hosts.add("alone", 30, environment=QUIET | {"RAY_AUTH_MODE": "disabled"}).boot()
        out = host.run(f"cd {ROOT} && python -m tests.cluster.fake_nodes {' '.join(map(str, SHARES))}", seconds=600)
        assert host.processes() == []
    return {case["share"]: case for case in map(json.loads, filter(lambda line: line[0] == "{", out.splitlines()))}


@pytest.mark.parametrize("share", SHARES)
def test_nodes_come_for_shares_of_a_gpu_as_the_plan_says_and_go_when_idle(cases, share):
    case = cases[share]
    print(case)
    assert case["asked"] == [{"CPU": 1.0, "GPU": 1 / share}]
    assert case["trials"] == share + 1 and case["planned"] == math.ceil((share + 1) / share) == 2
    assert case["most"] == case["planned"]
