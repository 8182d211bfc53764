"""What a cluster is and may become: its nodes, and those that its autoscaler may add.

Takes: Ray's own list of nodes, and the cluster file that `ray up` left on the head. Gives: a `ClusterView`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ray

from ftray.capacity.cluster_file import read_cluster_file
from ftray.capacity.nodes import Node, nodes_of_file, nodes_of_ray
from ftray.vram.gpus import local_gpu

CLUSTER_FILE, FTRAY_CLUSTER = "~/ray_bootstrap_config.yaml", "FTRAY_CLUSTER"
"""Where `ray up` leaves its file on the head; the variable that names another one, where that is not how it came up."""
HEAD, GROUP = "node:__internal_head__", "ray.io/node-group"
"""Ray's resource of the head alone; Ray's label of a node's type in a cluster that an autoscaler looks after."""

ABOUT = 0.05
"""How much two sizes of one GPU may differ: by the driver's version, and what it keeps; models differ by more."""


@dataclasses.dataclass(frozen=True)
class ClusterView:
    """nodes: as many of each kind as there are or may be. more: further ones, unknown before they are there."""

    nodes: tuple[Node, ...]
    more: int = 0

    def joined(self, later: "ClusterView") -> "ClusterView":
        """With what was seen later: a node that went may come back."""
        return ClusterView(max_of(self.nodes, later.nodes), later.more)


def max_of(*several: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes of several lists, each kind as often as the list has it that has most of it.

    A node says what its GPU really has, a cluster file names the model: where they are about equal, it is one kind, and
    the smaller size counts.
    """
    found: list[Node] = []
    for nodes in several:
        here: list[Node] = []
        for node in nodes:
            _join(here, node, sum)
        for node in here:
            _join(found, node, max)
    return tuple(found)


def _join(kinds: list[Node], node: Node, count: Callable[[tuple[int, int]], int]) -> None:
    """Adds a node to the kinds, or counts it with the one that it is of."""
    for place, kind in enumerate(kinds):
        if _alike(kind, node):
            more, gpus = max(kind, node, key=lambda one: one.n), [one.gpu for one in (kind, node) if one.gpu]
            smaller = min(gpus, key=lambda gpu: gpu.gib, default=None)
            kinds[place] = dataclasses.replace(more, n=count((kind.n, node.n)), gpu=smaller)
            return
    kinds.append(node)


def _alike(one: Node, other: Node) -> bool:
    if (one.cpus, one.n_gpus) != (other.cpus, other.n_gpus):
        return False
    return share_gpu_type(one, other)


def share_gpu_type(one: Node, other: Node) -> bool:
    """Whether two nodes have the same GPU, or none, however many there are: GiB that are about equal are the same."""
    if one.accelerator != other.accelerator:
        return False
    if one.gpu is None or other.gpu is None:
        return one.gpu is other.gpu
    return one.gpu.name == other.gpu.name and abs(one.gpu.gib / other.gpu.gib - 1) < ABOUT


def cluster_view() -> ClusterView:
    """The view of the running Ray. Raises: SpecError for a GPU whose memory is not known."""
    named = os.environ.get(FTRAY_CLUSTER)
    file, entries, at_hand = Path(named or CLUSTER_FILE).expanduser(), ray.nodes(), nodes_at_hand()
    here = next(entry for entry in entries if entry["NodeID"] == ray.get_runtime_context().get_node_id())
    tree = read_cluster_file(file).tree if named or file.exists() else {}
    if not named and not made_by(tree, here):
        return ClusterView(at_hand)
    if own := tree.get("provider", {}).get("worker_ips"):
        return ClusterView(at_hand, max(0, len(own) + 1 - sum(entry["Alive"] for entry in entries)))
    return ClusterView(max_of(at_hand, nodes_of_file(file)))


def nodes_at_hand() -> tuple[Node, ...]:
    """The nodes of the running Ray. Raises: SpecError for a GPU whose memory is not known."""
    entries = ray.nodes()
    has_gpus = any(entry["Resources"].get("GPU") for entry in entries if entry["Alive"])
    here = ray.get_runtime_context().get_node_id()
    return nodes_of_ray(entries, here, local_gpu() if has_gpus else None)


def made_by(tree: Mapping[str, Any], head: Mapping[str, Any]) -> bool:
    """Whether a node of `ray.nodes()` is the head of the very cluster that a file describes: a machine that was one
    once may have the file still."""
    label = (head.get("Labels") or {}).get(GROUP)
    return HEAD in head["Resources"] and label is not None and label == tree.get("head_node_type")
