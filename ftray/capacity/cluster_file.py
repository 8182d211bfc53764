"""A cluster's YAML of any kind as one value: the file of `ray up`, or the manifests of KubeRay.

Takes: a path. Gives: a `ClusterFile`, and the node types that the cluster's autoscaler may start.
"""

import dataclasses
import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.errors import SpecError
from ftray.yaml_reader import check_keys

PLACEHOLDER = re.compile(r"\bYOUR-[A-Z-]+")
"""What the files of `cluster/` hold where the user must fill something in."""


@dataclasses.dataclass(frozen=True)
class ClusterFile:
    """documents: what the file holds, at least one mapping; their types are right once the schemas have passed them."""

    path: Path
    documents: tuple[Mapping[str, Any], ...]

    @property
    def tree(self) -> Mapping[str, Any]:
        """The first document: `ray up` reads no other one."""
        return self.documents[0]

    @property
    def is_kubernetes(self) -> bool:
        return any("apiVersion" in document for document in self.documents)

    @property
    def provider(self) -> str:
        provider = self.tree.get("provider")
        return str(provider.get("type")) if isinstance(provider, Mapping) else ""

    @property
    def types(self) -> Mapping[str, Mapping[str, Any]]:
        """`available_node_types` by name; none for machines of your own."""
        return self.tree.get("available_node_types") or {}

    @property
    def workers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return ((name, kind) for name, kind in self.types.items() if name != self.tree.get("head_node_type"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What Ray leaves to its users: `runs` and `worker`."""
        found = self.tree.get("metadata")
        return found if isinstance(found, Mapping) else {}

    def node_types(self) -> tuple[str, dict[str, Mapping[str, Any]]]:
        """The head's type, and all types by name, each with `resources`, `labels` and `max_workers`.

        Machines of your own have no types: their workers are what `metadata: worker:` says.

        Raises: SpecError for a file without types.
        """
        manifests = (tree for tree in self.documents if str(tree.get("apiVersion", "")).startswith("ray.io/"))
        manifest = next(manifests, None)
        tree = autoscaling_config(manifest, self.path) if manifest else self.tree
        if not manifest and self.provider == "local":
            return "head", {"head": {"resources": {"CPU": 0}}, "worker": self._own_worker()}
        types = tree.get("available_node_types")
        if not isinstance(types, Mapping) or not types:
            raise SpecError(
                f"{self.path} must be a cluster file of `ray up` with available_node_types, or a KubeRay manifest"
            )
        most = {"max_workers": tree.get("max_workers", 1)}
        for name, kind in types.items():
            _check_type(f"{self.path}: available_node_types.{name}", kind)
        return str(tree.get("head_node_type")), {str(name): {**most, **kind} for name, kind in types.items()}

    def _own_worker(self) -> Mapping[str, Any]:
        worker = self.metadata.get("worker")
        if not isinstance(worker, Mapping):
            raise SpecError(
                f"{self.path} must say what a worker has, as Ray asks the machines only when they run: "
                "metadata: {worker: {resources: {CPU: 16, GPU: 1}, labels: {ray.io/accelerator-type: RTX-3090}}}"
            )
        ips = self.tree["provider"].get("worker_ips") or ()
        if not isinstance(ips, list | tuple):
            raise SpecError(f"{self.path}: provider.worker_ips must be a list of addresses, got {ips!r}")
        own = {"max_workers": len(ips) or self.tree.get("max_workers", 0), **worker}
        _check_type(f"{self.path}: metadata.worker", own)
        return own


def _check_type(key: str, kind: Any) -> None:
    """Raises SpecError for a node type of which no plan can be made: a file may be read that no schema has passed."""
    if not isinstance(kind, Mapping):
        raise SpecError(f"{key} must be a mapping with resources, got {kind!r}")
    for section in ("resources", "labels"):
        if not isinstance(kind.get(section) or {}, Mapping):
            raise SpecError(f"{key}.{section} must be a mapping, got {kind[section]!r}")
    counts = {f".resources.{name}": n for name, n in (kind.get("resources") or {}).items()}
    counts |= {f".{name}": kind[name] for name in ("min_workers", "max_workers") if name in kind}
    for name, n in counts.items():
        if isinstance(n, bool) or not isinstance(n, int | float) or not 0 <= n < math.inf:
            raise SpecError(f"{key}{name} must be a number, at least 0, got {n!r}")
    for name, text in (kind.get("labels") or {}).items():
        if not isinstance(text, str):
            raise SpecError(f"{key}.labels.{name} must be text, in quotes, got {text!r}")


def read_cluster_file(path: Path) -> ClusterFile:
    """Reads a cluster file of any kind.

    Raises: SpecError for a file that cannot be read, gives a key twice, or holds anything but mappings.
    """
    path = Path(path)
    try:
        documents = tuple(tree for tree in yaml.load_all(path.read_text(), Loader=_UniqueKeys) if tree is not None)
    except FileNotFoundError:
        raise SpecError(
            f"{path} must be a YAML file that can be read, but does not exist. Begin with one of `cluster/` in ftray's "
            "repository or source distribution: `ray up` copies parts of that folder to machines, so a wheel has none"
        ) from None
    except RecursionError:
        raise SpecError(f"{path} must be a YAML file that can be read, but is nested too deeply") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise SpecError(f"{path} must be a YAML file that can be read, but: {words}") from None
    if not documents or not all(isinstance(tree, Mapping) for tree in documents):
        raise SpecError(f"{path} must hold a mapping: a cluster file of `ray up`, or a manifest of KubeRay")
    return ClusterFile(path, documents)


def autoscaling_config(manifest: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A RayCluster, or a RayJob's, as the YAML of `ray up` that Ray's own autoscaler makes of it in the cluster.

    Raises: SpecError with Ray's words for a manifest that it cannot read.
    """
    from ray.autoscaler._private.kuberay import autoscaling_config as kuberay

    kuberay.logger.setLevel(logging.CRITICAL)  # it logs what it also raises
    derive = kuberay._derive_autoscaling_config_from_ray_cr
    try:
        spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
        return derive({"metadata": {"name": "", "namespace": "", **manifest["metadata"]}, "spec": spec})
    except Exception as error:  # Ray raises whatever its code runs into
        words = str(error).splitlines()[0] if str(error) else repr(error)
        raise SpecError(f"{path}: Ray's autoscaler cannot read this manifest: {words}") from None


_Loader: type[yaml.SafeLoader] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # where libyaml is there, 10 times faster


class _UniqueKeys(_Loader):
    """Refuses a key that is given twice: YAML itself silently keeps the last one."""

    def construct_document(self, node: yaml.Node) -> Any:
        check_keys(node)
        return super().construct_document(node)
