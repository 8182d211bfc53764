"""Nodes: what a cluster has to place trials on, from Ray's own list of them or from a cluster file.

Takes: entries of `ray.nodes()`, or a cluster file. Gives: `Node`s, equal ones counted together.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ftray.capacity.cluster_file import read_cluster_file
from ftray.capacity.machines import machine_problems
from ftray.errors import SpecError
from ftray.vram.gpus import Gpu, known_gpu, local_gpu, model

ACCELERATOR, GIB = "ray.io/accelerator-type", "ftray/gpu-gib"
"""Labels of a node: its GPU's model, set by Ray itself; its GPU's GiB, set by hand where the model is not known."""
PRICE = "ftray/price-per-hour"
"""The label of a node type in a cluster file that says what an hour of it costs, in the currency of your choice."""
RESOURCE = "accelerator_type:"
"""Ray's automatic resource of a node whose GPU it knows, followed by the model."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A kind of node. n: how many there are, or may be. accelerator: Ray's name for the GPU's model, empty if none."""

    name: str
    n: int
    cpus: float
    n_gpus: int = 0
    gpu: Gpu | None = None
    accelerator: str = ""

    def to_mapping(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Node":
        fields: dict[str, Any] = dict(mapping)
        fields["gpu"] = Gpu.from_mapping(fields["gpu"]) if fields["gpu"] else None
        return cls(**fields)


def this_machine() -> Node:
    """This machine as a node, without asking Ray."""
    gpu = local_gpu()
    n_gpus = torch.cuda.device_count() if gpu else 0
    return Node("this machine", 1, float(os.cpu_count() or 1), n_gpus, gpu)


def nodes_of_ray(entries: Iterable[Mapping[str, Any]], here: str = "", local: Gpu | None = None) -> tuple[Node, ...]:
    """The nodes that are alive now, of `ray.nodes()`. here, local: the driver's own node, and the GPU that it sees.

    Raises: SpecError for a GPU whose memory is not known.
    """
    counted: collections.Counter[Node] = collections.Counter()
    for entry in entries:
        if entry["Alive"]:
            resources, sees = entry["Resources"], local if entry["NodeID"] == here else None
            node = _node("", 1, resources, entry.get("Labels") or {}, sees)
            # A job is pinned by the resource: a label without it pins nothing.
            counted[dataclasses.replace(node, accelerator=_accelerator(resources))] += 1
    return tuple(dataclasses.replace(node, n=n) for node, n in counted.items())


def nodes_of_file(path: Path) -> tuple[Node, ...]:
    """The nodes that a cluster file allows, by their type; the head counts once.

    Raises: SpecError for a file that cannot be read or has no node types, for resources that their machines do not
    have, or a GPU whose memory is not known.
    """
    file = read_cluster_file(path)
    head, types = file.node_types()
    for problem in machine_problems(file):
        raise SpecError(f"{path}: {problem}")
    counted = ((name, max(int(kind.get("max_workers", 0)), int(name == head)), kind) for name, kind in types.items())
    return tuple(node_of_type(name, n, kind) for name, n, kind in counted if n > 0)


def node_of_type(name: str, n: int, kind: Mapping[str, Any]) -> Node:
    """A node of a cluster file's type. Raises: SpecError for a GPU whose memory is not known."""
    return _node(name, n, kind.get("resources") or {}, kind.get("labels") or {})


def _node(name: str, n: int, resources: Mapping[str, Any], labels: Mapping[str, Any], local: Gpu | None = None) -> Node:
    """One node; what its own label says of its GPU counts first, then what is seen there, then the model's name."""
    n_gpus, cpus = int(resources.get("GPU", 0)), float(resources.get("CPU", 0))
    accelerator = _accelerator(resources) or str(labels.get(ACCELERATOR, ""))
    if not n_gpus:
        return Node(name or f"{cpus:g} CPUs", n, cpus)
    if labels.get(GIB):
        gib = _labelled_gib(labels[GIB], name)
        gpu = known_gpu(accelerator, gib) if accelerator else Gpu(f"GPU of {gib:g} GiB", gib)
    else:
        gpu = local or _named(accelerator, str(labels.get(ACCELERATOR, "")))
    if gpu is None:
        raise SpecError(
            f"a node{' ' * bool(name)}{name} has {n_gpus} GPU(s) of a kind whose memory is not known "
            f"({accelerator or 'Ray knows no accelerator type'}): give the node the label {GIB}, in GiB as PyTorch "
            f"reports it (ray start --labels {GIB}=23.6, or labels: in the cluster file)"
        )
    return Node(name or f"{n_gpus} × {gpu.name}, {cpus:g} CPUs", n, cpus, n_gpus, gpu, accelerator)


def _accelerator(resources: Mapping[str, Any]) -> str:
    """Ray's name for a node's GPU; the longer one, as a user may set A100-80G where Ray itself sets A100."""
    return max((key.removeprefix(RESOURCE) for key in resources if key.startswith(RESOURCE)), key=len, default="")


def _named(*names: str) -> Gpu | None:
    """The GPU model behind the longest of a node's names that stands for one: A100-80G says more than A100."""
    return next((gpu for name in sorted(names, key=len, reverse=True) if (gpu := model(name))), None)


def _labelled_gib(label: Any, name: str) -> float:
    try:
        gib = float(label)
    except ValueError:
        gib = 0.0
    if gib <= 0:
        raise SpecError(
            f"the label {GIB} of node{' ' * bool(name)}{name} must be GiB as PyTorch reports them, like 23.6, got "
            f"{label!r}: give the right number, or leave the label out where the model is known"
        )
    return gib
