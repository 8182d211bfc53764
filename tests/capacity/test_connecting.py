"""A Ray that does not start is explained in one line."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import ray
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoReply
from ray.core.generated.gcs_service_pb2_grpc import (
    NodeInfoGcsServiceServicer,
    add_NodeInfoGcsServiceServicer_to_server,
)

from ftray.capacity import connecting
from ftray.errors import ClusterError


def test_whatever_ray_raises_at_its_start_is_explained(monkeypatch):
    """A node that takes longer than 30 s to start, as on a busy machine, raises an Exception of no other type."""

    def slow(**options):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(connecting, "check_head", lambda: None)  # another Ray may run on this machine
    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(ClusterError, match=r"Ray must start .* but: The current node timed out .* it logged is in /"):
        connecting.connect({})


class Head(NodeInfoGcsServiceServicer):
    """A head that knows no node before it is asked for the second time."""

    def __init__(self) -> None:
        self.asked = 0

    def GetAllNodeInfo(self, request, context):
        self.asked += 1
        return GetAllNodeInfoReply(node_info_list=[GcsNodeInfo(node_id=b"\xab")] if self.asked > 1 else [])


@pytest.fixture
def head(monkeypatch) -> Iterator[Head]:
    server, head = grpc.server(ThreadPoolExecutor(1)), Head()
    add_NodeInfoGcsServiceServicer_to_server(head, server)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.add_insecure_port('0.0.0.0:0')}")
    server.start()
    yield head
    server.stop(None)


def test_a_node_that_its_head_does_not_know_yet_is_waited_for(head, monkeypatch):
    monkeypatch.setattr(connecting, "find_node_ids", lambda: ["ab"])
    assert connecting.check_head() is not None
    assert head.asked == 2


def test_a_head_without_a_node_on_this_machine_is_refused(head, monkeypatch):
    monkeypatch.setattr(connecting, "find_node_ids", lambda: ["cd"])
    monkeypatch.setattr(connecting, "REGISTERING", 0.3)
    with pytest.raises(ClusterError, match="none of its nodes is on this machine"):
        connecting.check_head()
