"""Manifests of KubeRay: checked by what Ray's own autoscaler makes of them, and by rules of ours.

The operator's own schema lies in the Kubernetes cluster: `kubectl apply --dry-run=server -f FILE` asks it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftray.cluster.file import ClusterFile
from ftray.cluster.installing import image_problems
from ftray.cluster.settings import left_open
from ftray.errors import SpecError
from ftray.spec import nearest
from ftray.trial.nodes import derive_from_manifest, node_of_type

KINDS = ("RayCluster", "RayJob")
CLUSTER = (
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    "headServiceAnnotations", "gcsFaultToleranceOptions", "suspend", "managedBy", "upgradeStrategy",
)  # fmt: skip
HEAD = ("rayStartParams", "template", "resources", "labels", "serviceType", "enableIngress", "headService")
WORKER = (
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "resources", "labels",
    "idleTimeoutSeconds", "priority", "suspend", "numOfHosts", "scaleStrategy",
)  # fmt: skip
JOB = (
    "entrypoint", "rayClusterSpec", "clusterSelector", "metadata", "runtimeEnvYAML", "jobId", "managedBy", "suspend",
    "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit", "submissionMode",
    "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "submitterPodTemplate", "submitterConfig",
    "deletionStrategy",
)  # fmt: skip
"""Keys that KubeRay 1.5 knows, as far down as a typo costs a night."""


def check_manifests(manifests: Sequence[Mapping[str, Any]], path: Path) -> Iterator[str]:
    """What is wrong with the RayClusters and RayJobs of a file; other kinds are Kubernetes' own affair."""
    for manifest in manifests:
        kind = str(manifest.get("kind"))
        if not str(manifest.get("apiVersion")).startswith("ray.io/"):
            continue
        if kind not in KINDS:
            yield f"kind: no such kind {kind!r} here; {nearest(kind, KINDS)}"
            continue
        yield from left_open(ClusterFile(path, {kind: manifest}))
        spec = manifest.get("spec") or {}
        key = f"{kind}.spec"
        if kind == "RayJob":
            yield from _unknown(key, spec, JOB)
            if not spec.get("entrypoint"):
                yield f"{key}.entrypoint: must be the command that runs the study"
            if not spec.get("shutdownAfterJobFinishes"):
                yield f"{key}.shutdownAfterJobFinishes: must be true: else its machines are billed when it has ended"
            key, spec = f"{key}.rayClusterSpec", spec.get("rayClusterSpec") or {}
        yield from _cluster(key, spec, manifest, path)


def _cluster(key: str, spec: Mapping[str, Any], manifest: Mapping[str, Any], path: Path) -> Iterator[str]:
    ray = ClusterFile(path, {}).constraints.get("ray", "")
    yield from _unknown(key, spec, CLUSTER)
    if spec.get("rayVersion") != ray:
        yield f"{key}.rayVersion: must be {ray}, as constraints.txt says, got {spec.get('rayVersion')!r}"
    if (spec.get("authOptions") or {}).get("mode") != "token":
        yield f"{key}.authOptions.mode: must be token: else whoever reaches the head runs what he likes"
    if spec.get("enableInTreeAutoscaling") is not True:
        yield f"{key}.enableInTreeAutoscaling: must be true: else no worker ever comes, or goes"
    groups = [(f"{key}.headGroupSpec", spec.get("headGroupSpec") or {}, HEAD)]
    workers = spec.get("workerGroupSpecs") or ()
    groups += [(f"{key}.workerGroupSpecs[{number}]", group, WORKER) for number, group in enumerate(workers)]
    for name, group, known in groups:
        yield from _unknown(name, group, known)
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 0)
        if isinstance(least, int) and isinstance(most, int) and most < least:
            yield f"{name}.maxReplicas: must be at least minReplicas, {least}, got {most}"
        for container in ((group.get("template") or {}).get("spec") or {}).get("containers") or ():
            image = str(container.get("image", ""))
            yield from image_problems(f"{name}.template.spec.containers.image", image, ray)
    try:
        derived = derive_from_manifest(manifest, path)
    except SpecError as error:
        yield f"{key}: {error}"
        return
    for name, kind in derived["available_node_types"].items():
        place = f"{key} group {name}"
        try:
            node = node_of_type(name, 1, kind)
        except SpecError as error:
            yield f"{place}: labels: {error}"
            continue
        if "gpu" in name and not node.n_gpus:
            yield f"{place}: resources.limits must give it nvidia.com/gpu, but Ray finds no GPU in it"


def _unknown(key: str, given: Mapping[str, Any], known: Sequence[str]) -> Iterator[str]:
    for name in given:
        if name not in known:
            yield f"{key}.{name}: no such key; {nearest(str(name), known)}"
