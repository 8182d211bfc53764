"""Manifests of KubeRay: checked by their shape, by what Ray's own autoscaler makes of them, and by rules of ours.

The operator's whole schema lies in the Kubernetes cluster: `kubectl apply --dry-run=server -f FILE` asks it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftray.capacity.nodes import derive_from_manifest, node_of_type
from ftray.cluster.file import ClusterFile
from ftray.cluster.installing import image_problems
from ftray.cluster.settings import left_open
from ftray.cluster.shapes import OF_KUBERAY, misshapen
from ftray.errors import SpecError
from ftray.spec import nearest


def check_manifests(manifests: Sequence[Mapping[str, Any]], path: Path) -> Iterator[str]:
    """What is wrong with the RayClusters and RayJobs of a file; other kinds are Kubernetes' own affair."""
    if not any(str(manifest.get("kind")).startswith("Ray") for manifest in manifests):
        yield f"kind: must be one of {', '.join(OF_KUBERAY)} in one of the manifests of {path}"
    for manifest in manifests:
        kind = str(manifest.get("kind"))
        if kind not in OF_KUBERAY:
            if kind.startswith("Ray") or str(manifest.get("apiVersion")).startswith("ray.io/"):
                yield f"kind: no such kind {kind!r} here; {nearest(kind, OF_KUBERAY)}"
            continue
        yield from left_open(ClusterFile(path, {kind: manifest}))
        wrong = list(misshapen(manifest, OF_KUBERAY[kind], kind))
        yield from wrong or _job(kind, manifest, path)


def _job(kind: str, manifest: Mapping[str, Any], path: Path) -> Iterator[str]:
    key, spec = f"{kind}.spec", manifest["spec"]
    if kind == "RayJob":
        if not spec["shutdownAfterJobFinishes"]:
            yield f"{key}.shutdownAfterJobFinishes: must be true: else its machines are billed when it has ended"
        key, spec = f"{key}.rayClusterSpec", spec["rayClusterSpec"]
    yield from _cluster(key, spec, manifest, path)


def _cluster(key: str, spec: Mapping[str, Any], manifest: Mapping[str, Any], path: Path) -> Iterator[str]:
    ray = ClusterFile(path, {}).constraints.get("ray", "")
    if spec["rayVersion"] != ray:
        yield f"{key}.rayVersion: must be {ray}, as constraints.txt says, got {spec['rayVersion']!r}"
    if spec["authOptions"]["mode"] != "token":
        yield f"{key}.authOptions.mode: must be token: else whoever reaches the head runs what he likes"
    if not spec["enableInTreeAutoscaling"]:
        yield f"{key}.enableInTreeAutoscaling: must be true: else no worker ever comes, or goes"
    groups = [(f"{key}.headGroupSpec", spec["headGroupSpec"])]
    groups += [(f"{key}.workerGroupSpecs[{n}]", group) for n, group in enumerate(spec["workerGroupSpecs"])]
    for name, group in groups:
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 0)
        if most < least:
            yield f"{name}.maxReplicas: must be at least minReplicas, {least}, got {most}"
        for n, container in enumerate(group["template"]["spec"]["containers"]):
            yield from image_problems(f"{name}.template.spec.containers[{n}].image", container["image"], ray)
    try:
        derived = derive_from_manifest(manifest, path)
    except SpecError as error:
        yield f"{key}: {error}"
        return
    for name, kind in derived["available_node_types"].items():
        try:
            node = node_of_type(name, 1, kind)
        except SpecError as error:
            yield f"{key} group {name}: labels: {error}"
            continue
        if "gpu" in name and not node.n_gpus:
            yield f"{key} group {name}: resources.limits must give it nvidia.com/gpu, but Ray finds no GPU in it"
