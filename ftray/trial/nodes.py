"""Nodes: what a cluster has to place trials on, from Ray's own list of them or from a cluster file.

Takes: entries of `ray.nodes()`, or the YAML of `ray up`. Gives: `Node`s, equal ones counted together.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.errors import SpecError
from ftray.nets.gpus import Gpu, known_gpu, model

ACCELERATOR, GIB = "ray.io/accelerator-type", "ftray/gpu-gib"
"""Labels of a node: its GPU's model, set by Ray itself; its GPU's GiB, set by hand where the model is not known."""
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


def nodes_of_ray(entries: Iterable[Mapping[str, Any]], here: str = "", local: Gpu | None = None) -> tuple[Node, ...]:
    """The nodes that are alive now, of `ray.nodes()`. here, local: the driver's own node, and the GPU that it sees.

    Raises: SpecError for a GPU whose memory nothing tells.
    """
    counted: collections.Counter[Node] = collections.Counter()
    for entry in entries:
        if entry["Alive"]:
            resources, sees = entry["Resources"], local if entry["NodeID"] == here else None
            node = _node("", 1, resources, entry.get("Labels") or {}, sees)
            # A job can only be led to what is there: a label without its resource leads nowhere.
            counted[dataclasses.replace(node, accelerator=_accelerator(resources))] += 1
    return tuple(dataclasses.replace(node, n=n) for node, n in counted.items())


def nodes_of_file(path: Path) -> tuple[Node, ...]:
    """The nodes that a cluster file of `ray up` allows, by their type; the head counts once.

    Raises: SpecError for a file without node types, or a GPU whose memory nothing tells.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the cluster file {path}: {error}") from None
    types = tree.get("available_node_types") if isinstance(tree, Mapping) else None
    if not isinstance(types, Mapping) or not types:
        raise SpecError(f"{path} must be a cluster file of `ray up` with available_node_types")
    nodes = []
    for name, kind in types.items():
        is_head = name == tree.get("head_node_type")
        n = max(int(kind.get("max_workers", tree.get("max_workers", 1))), int(is_head))
        nodes += [_node(str(name), n, kind.get("resources") or {}, kind.get("labels") or {})] * (n > 0)
    return tuple(nodes)


def _node(name: str, n: int, resources: Mapping[str, Any], labels: Mapping[str, Any], local: Gpu | None = None) -> Node:
    """One node; what its own label says of its GPU counts first, then what is seen there, then the model's name."""
    n_gpus, cpus = int(resources.get("GPU", 0)), float(resources.get("CPU", 0))
    accelerator = _accelerator(resources) or str(labels.get(ACCELERATOR, ""))
    if not n_gpus:
        return Node(name or f"{cpus:g} CPUs", n, cpus)
    if labels.get(GIB):
        gib = float(labels[GIB])
        gpu = known_gpu(accelerator, gib) if accelerator else Gpu(f"GPU of {gib:g} GiB", gib)
    else:
        gpu = local or model(accelerator)
    if gpu is None:
        raise SpecError(
            f"a node{' ' * bool(name)}{name} has {n_gpus} GPU(s) of a kind whose memory is not known "
            f"({accelerator or 'Ray tells no accelerator type'}): give the node the label {GIB}, in GiB as PyTorch "
            f"reports it (ray start --labels {GIB}=23.6, or labels: in the cluster file)"
        )
    return Node(name or f"{n_gpus} × {gpu.name}, {cpus:g} CPUs", n, cpus, n_gpus, gpu, accelerator)


def _accelerator(resources: Mapping[str, Any]) -> str:
    return next((key.removeprefix(RESOURCE) for key in resources if key.startswith(RESOURCE)), "")
