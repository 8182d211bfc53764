"""Which live GPU nodes are of the types that a study's jobs may go to."""

from ftray.capacity.cluster_view import max_of
from ftray.capacity.nodes import Node
from ftray.capacity.probing import gpu_types, live_types
from ftray.vram.gpus import known_gpu, parse_gpu

FILE = tuple(Node(f"{model}-spot", 4, 16.0, 1, parse_gpu(model), model) for model in ("L4", "T4"))


def live(model: str, gib: float, cpus: float = 16.0) -> Node:
    return Node(f"1 × {model}", 1, cpus, 1, known_gpu(model, gib), model)


def test_live_nodes_whose_labels_say_more_than_their_model_are_of_the_cluster_files_types():
    nodes = {"head": live("H100", 79.1), "a": live("L4", 22.04), "b": live("L4", 22.04), "c": live("T4", 14.75)}
    hosts = gpu_types(max_of(nodes.values(), FILE))[1:]
    assert [host.gpu for host in hosts] == [node.gpu for node in FILE], "a plan goes by the file, which says less"
    assert live_types(hosts, nodes.items()) == {"a": hosts[0], "c": hosts[1]}


def test_a_slice_of_a_gpu_is_another_type_than_the_whole():
    hosts = gpu_types((*FILE, live("L4", 5.4)))
    assert len(hosts) == 3
    assert live_types(hosts, {"slice": live("L4", 5.5)}.items()) == {"slice": hosts[2]}
    assert live_types(FILE, {"slice": live("L4", 5.5)}.items()) == {}


def test_machines_of_several_sizes_with_one_gpu_are_tried_once_with_the_smallest_size():
    (host,) = gpu_types((FILE[0], live("L4", 21.6, cpus=8.0), live("L4", 22.04, cpus=4.0), Node("cpu", 3, 4.0)))
    assert host.gpu == known_gpu("L4", 21.6)
    assert list(live_types([host], {"a": live("L4", 22.04, cpus=4.0)}.items())) == ["a"]
