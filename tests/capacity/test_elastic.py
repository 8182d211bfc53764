"""A cluster whose nodes come while a study runs: how many jobs start, and what they wait for."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from ftray.capacity.cluster_view import FTRAY_CLUSTER, ClusterView, cluster_view, made_by, max_of
from ftray.capacity.elastic import ElasticCapacity
from ftray.capacity.nodes import Node
from ftray.errors import SpecError
from ftray.study import StudySpec, parse_study
from ftray.study.placing import needs_of
from ftray.vram.gpus import known_gpu, parse_gpu
from tests.study.by_hand import Hand
from tests.study.tiny import TINY

HEAD, SPOT = Node("head", 1, 0.0), Node("spot", 4, 16.0, 1, parse_gpu("L4"), "L4")
WORKER = Node("2 CPUs", 1, 2.0)


def study_of(**search: object) -> StudySpec:
    trial = TINY["trial"] | {"encoder": TINY["trial"]["encoder"]["choice"][0]}
    return parse_study({"name": "grows", "trial": trial, "search": {"n_trials": 9, **search}})


class Cluster:
    """Nodes that a test lets join, and a clock that it turns on."""

    def __init__(self, *nodes: Node, more: int = 0):
        self.view, self.seconds, self.slept = ClusterView(nodes, more), 0.0, 0
        self.later: dict[int, ClusterView] = {}  # what it becomes after so many sleeps

    def capacity(self, **search: object) -> ElasticCapacity:
        spec = study_of(**search)
        return ElasticCapacity(
            lambda nodes: needs_of(spec, nodes),
            spec.search.max_concurrent,
            look=lambda: self.view,
            clock=lambda: self.seconds,
            sleep=self.sleep,
        )

    def becomes(self, *nodes: Node, more: int = 0) -> None:
        self.view = ClusterView(nodes, more)
        self.seconds += ElasticCapacity.EVERY

    def sleep(self, seconds: float) -> None:
        self.seconds, self.slept = self.seconds + seconds, self.slept + 1
        self.view = self.later.get(self.slept, self.view)


def waited(capacity: ElasticCapacity, pending_timeout: float = 300.0) -> list[str]:
    lines: list[str] = []
    capacity.wait(lines.append, pending_timeout)
    return lines


def test_room_grows_with_the_nodes_that_join_and_stays_when_one_goes():
    cluster = Cluster(HEAD, WORKER, more=1)
    capacity = cluster.capacity()
    assert waited(capacity) == [] and capacity.now.max_concurrent == 2
    cluster.becomes(HEAD, Node("2 CPUs", 2, 2.0))
    assert capacity.now.max_concurrent == 4 and capacity.is_full(4) and not capacity.is_full(3)
    cluster.becomes(HEAD)
    assert capacity.now.max_concurrent == 4
    cluster.becomes(HEAD, Node("8 CPUs", 1, 8.0))
    assert capacity.now.max_concurrent == 12


def test_the_nodes_are_listed_only_at_intervals():
    cluster = Cluster(WORKER)
    capacity = cluster.capacity()
    waited(capacity)
    cluster.view, cluster.seconds = ClusterView((Node("2 CPUs", 2, 2.0),)), ElasticCapacity.EVERY / 2
    assert capacity.now.max_concurrent == 2
    cluster.seconds = ElasticCapacity.EVERY
    assert capacity.now.max_concurrent == 4


def test_nodes_that_may_come_count_from_the_start_and_max_concurrent_counts_before_them():
    capacity = Cluster(HEAD, SPOT).capacity()
    assert waited(capacity) == []
    plan = capacity.now.needs[0][1].plan
    assert plan is not None and capacity.now.max_concurrent == 4 * min(plan.trials_per_gpu, 16)
    assert capacity.now.config["nodes"][1]["n"] == 4
    few = Cluster(HEAD, SPOT).capacity(max_concurrent=3)
    waited(few)
    assert few.is_full(3) and not few.is_full(2)


def test_a_study_waits_for_nodes_that_are_on_their_way_and_for_no_others():
    cluster = Cluster(HEAD, more=2)
    capacity = cluster.capacity()
    cluster.later[3] = ClusterView((HEAD, WORKER), more=1)
    (line,) = waited(capacity)
    assert "waiting for 2 nodes that are to join" in line and "the cluster has 0" in line
    assert cluster.slept == 3 and capacity.now.max_concurrent == 2
    with pytest.raises(SpecError, match=r"asks for 1 CPUs .* and the cluster has 0"):
        waited(Cluster(HEAD).capacity())
    hopeless = Cluster(HEAD, more=1)
    with pytest.raises(SpecError, match="asks for 1 CPUs"):
        waited(hopeless.capacity(), pending_timeout=7)
    assert hopeless.slept == 7


def test_the_searcher_hands_out_as_many_jobs_as_there_is_room_for(tmp_path):
    cluster = Cluster(HEAD, Node("1 CPU", 1, 1.0))
    capacity = cluster.capacity()
    waited(capacity)
    hand = Hand(study_of(), tmp_path / "run")
    hand.searcher.capacity = capacity
    first, _ = hand.start()
    assert hand.searcher.suggest("too many") is None
    cluster.becomes(HEAD, Node("1 CPU", 2, 1.0))
    hand.start()
    assert hand.searcher.suggest("too many") is None
    hand.finish(first, {"validation/sharpe": 1.0})
    hand.start()


def test_kinds_of_nodes_count_once_however_they_are_called():
    there, may_be = Node("1 × L4, 16 CPUs", 1, 16.0, 1, parse_gpu("L4"), "L4"), (HEAD, SPOT)
    assert max_of((HEAD, there), may_be) == (HEAD, SPOT)
    on_demand = Node("on-demand", 2, 16.0, 1, parse_gpu("L4"), "L4")
    assert [node.n for node in max_of((HEAD, SPOT, on_demand), (there,))] == [1, 6]
    assert max_of((there, WORKER), may_be)[0].n == 4


def test_a_node_that_reports_its_gpus_memory_is_one_of_those_that_the_file_names_by_model():
    says = Node("there", 1, 16.0, 1, known_gpu("L4", 22.04), "L4")
    slice_of_one = Node("slice", 1, 16.0, 1, known_gpu("L4", 5.4), "L4")
    assert max_of((HEAD, says), (HEAD, SPOT)) == (HEAD, SPOT), "planned for as the file says, which is less"
    less = dataclasses.replace(says, gpu=known_gpu("L4", 21.6))
    (both,) = max_of((SPOT,), (less,))
    assert (both.n, both.gpu) == (4, less.gpu)
    assert max_of((SPOT,), (slice_of_one,)) == (SPOT, slice_of_one)


def test_only_the_head_of_the_files_own_cluster_believes_the_file():
    tree = yaml.safe_load("{head_node_type: head, available_node_types: {}}")
    head = {"Resources": {"node:__internal_head__": 1.0}, "Labels": {"ray.io/node-group": "head"}}
    assert made_by(tree, head)
    assert not made_by(tree, head | {"Labels": {}})  # a Ray that was started by hand where a head once was
    assert not made_by(tree, head | {"Labels": {"ray.io/node-group": "local.cluster.node"}})
    assert not made_by(tree, head | {"Resources": {"CPU": 2.0}})


@pytest.mark.ray
def test_a_manifest_of_kuberay_says_which_workers_may_come(cluster, monkeypatch):
    manifest = Path(__file__).parents[2] / "cluster" / "kuberay.yaml"
    monkeypatch.setenv(FTRAY_CLUSTER, str(manifest))
    nodes = cluster_view().nodes
    assert [(node.n, node.cpus, node.n_gpus, node.accelerator) for node in nodes if node.n_gpus] == [(4, 14.0, 1, "L4")]
    assert any(node.cpus == 2 for node in nodes), "and what is there counts too"
