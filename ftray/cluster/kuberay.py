"""Checks manifests of KubeRay: by their schema, by what Ray's own autoscaler reads in them, and by rules of ftray.

Takes: a cluster file. Gives: its problems. The CRD that the cluster itself has installed checks even more:
`kubectl apply --dry-run=server -f FILE`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ray.autoscaler._private.kuberay.utils import parse_quantity

from ftray.capacity.cluster_file import ClusterFile, autoscaling_config
from ftray.capacity.machines import machine_problems
from ftray.capacity.nodes import Node, node_of_type
from ftray.cluster.installing import image_problems, pinned_versions, project_root
from ftray.cluster.schemas import kuberay_schemas, schema_errors
from ftray.cluster.settings import unfilled_placeholders
from ftray.errors import SpecError
from ftray.spec import nearest


def check_manifests(file: ClusterFile) -> Iterator[str]:
    """What is wrong with the RayClusters and RayJobs of a file; Kubernetes itself checks manifests of other kinds."""
    schemas = kuberay_schemas()
    if not any(str(manifest.get("kind")).startswith("Ray") for manifest in file.documents):
        yield f"kind: must be one of {', '.join(schemas)} in one of the manifests of {file.path}"
    for manifest in file.documents:
        kind = str(manifest.get("kind"))
        if kind not in schemas:
            if kind.startswith("Ray") or str(manifest.get("apiVersion")).startswith("ray.io/"):
                yield f"kind: no such kind {kind!r} here; {nearest(kind, schemas)}"
            continue
        yield from unfilled_placeholders(ClusterFile(file.path, ({kind: manifest},)))
        wrong = list(schema_errors(manifest, schemas[kind], kind))
        yield from wrong or _problems(ClusterFile(file.path, (manifest,)))


def _problems(file: ClusterFile) -> Iterator[str]:
    """What is wrong with one manifest that its schema has passed."""
    key, spec = f"{file.tree['kind']}.spec", file.tree["spec"]
    if "rayClusterSpec" in spec:
        if not spec["shutdownAfterJobFinishes"]:
            yield f"{key}.shutdownAfterJobFinishes: must be true: else its machines are billed after it has ended"
        key, spec = f"{key}.rayClusterSpec", spec["rayClusterSpec"]
    ray = pinned_versions(project_root(file.path)).get("ray", "")
    if spec["rayVersion"] != ray:
        yield f"{key}.rayVersion: must be {ray}, as constraints.txt says, got {spec['rayVersion']!r}"
    if spec["authOptions"]["mode"] != "token":
        yield f"{key}.authOptions.mode: must be token: else whoever reaches the head runs any code there"
    if not spec["enableInTreeAutoscaling"]:
        yield f"{key}.enableInTreeAutoscaling: must be true: else no worker ever starts or stops"
    if spec.get("autoscalerOptions", {}).get("idleTimeoutSeconds", 60) <= 0:
        yield (
            f"{key}.autoscalerOptions.idleTimeoutSeconds: must be greater than 0: a worker would stop before its first "
            "trial starts"
        )
    if not any(group["maxReplicas"] for group in spec["workerGroupSpecs"]):
        yield f"{key}.workerGroupSpecs: one group must have maxReplicas above 0: else no trial ever runs"
    groups = [(f"{key}.headGroupSpec", spec["headGroupSpec"])]
    groups += [(f"{key}.workerGroupSpecs[{n}]", group) for n, group in enumerate(spec["workerGroupSpecs"])]
    for name, group in groups:
        n_min, n_max = group.get("minReplicas", 0), group.get("maxReplicas", 0)
        if n_max < n_min:
            yield f"{name}.maxReplicas: must be at least minReplicas, {n_min}, got {n_max}"
        for n, container in enumerate(group["template"]["spec"]["containers"]):
            yield from image_problems(f"{name}.template.spec.containers[{n}].image", container["image"], ray)
    yield from _node_type_problems(key, file, spec)


def _node_type_problems(key: str, file: ClusterFile, spec: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the nodes that Ray's autoscaler reads in a manifest. spec: that of the cluster."""
    pods = {group["groupName"]: group["template"]["spec"] for group in spec["workerGroupSpecs"]}
    try:
        types = autoscaling_config(file.tree, file.path)["available_node_types"]
    except SpecError as error:
        yield f"{key}: {error}"
        return
    for name, kind in types.items():
        try:
            node = node_of_type(name, 1, kind)
        except SpecError as error:
            yield f"{key} group {name}: labels: {error}"
            continue
        if "gpu" in name and not node.n_gpus:
            yield f"{key} group {name}: resources.limits must give it nvidia.com/gpu, but Ray finds no GPU in it"
        yield from (f"{key} group {name}: {problem}" for problem in _beyond_limits(node, pods.get(name, {})))
    yield from (f"{key} {problem}" for problem in machine_problems(file))


def _beyond_limits(node: Node, pod: Mapping[str, Any]) -> Iterator[str]:
    """Where `rayStartParams` or a group's `resources` promise other resources than the pod's limits: Ray believes them.

    Ray rounds a part of a core up. It runs in a pod's first container.
    """
    limits = (pod["containers"][0].get("resources") or {}).get("limits") or {} if pod else {}
    for name, n, limit in (("CPU", node.cpus, "cpu"), ("GPU", node.n_gpus, "nvidia.com/gpu")):
        try:
            most = math.ceil(parse_quantity(str(limits[limit]))) if limit in limits else n
        except ValueError:
            yield f"limits.{limit}: must be a quantity, like 4 or 500m, got {limits[limit]!r}"
            continue
        if n > most or (name == "GPU" and n != most):
            must = f"{'at most ' * (name == 'CPU')}{most}"
            yield f"Ray's {name} must be {must}, the pod's limit of {limit}, got {n:g}: leave it out of rayStartParams"
