"""Shapes: which keys a file may have and of which type each is, told by the key.

Takes: a tree, a JSON schema. Gives: problems in words; the rules of the other modules trust what has passed.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import ray

from ftray.spec import nearest

Schema = Mapping[str, Any]


def misshapen(tree: Any, schema: Schema, root: str = "") -> Iterator[str]:
    """What a schema says of a tree, with the nearest right name for a wrong one. root: the key that the tree is at."""
    for error in jsonschema.Draft7Validator(schema).iter_errors(tree):
        key = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        key = key.removeprefix(".")
        if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
            known = error.schema.get("properties", {})
            for name in sorted(set(map(str, error.instance)) - set(known)):
                yield f"{key}{'.' * bool(key)}{name}: no such key; {nearest(name, known)}"
        elif missing := re.match(r"'(\w+)' is a required property", error.message):
            yield f"{key}{'.' * bool(key)}{missing[1]}: is required and missing"
        else:
            yield f"{key or 'the file'}: {error.message}"


@functools.cache
def of_ray() -> Schema:
    """Ray's own schema of a cluster file."""
    return json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def _of(required: Iterable[str] = (), **known: Schema) -> Schema:
    return {"type": "object", "properties": known, "additionalProperties": False, "required": list(required)}


def _some(required: Iterable[str] = (), **known: Schema) -> Schema:
    """Like `_of`, but others may stand beside."""
    return {"type": "object", "properties": known, "required": list(required)}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


TEXT, NUMBER, YES_NO, ANY = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}
TEXTS = _map(TEXT)

OURS = _some(
    metadata=_of(runs=TEXT, worker=_of(["resources"], resources=_map(NUMBER), labels=TEXTS)),
    provider=_some(
        head_ip=TEXT,
        worker_ips=_list(TEXT),
        availability_zone=TEXT,
        security_group=_some(IpPermissions=_list(_some())),
    ),
    available_node_types=_map(_some(node_config=_some(azure_arm_parameters=_some()))),
    file_mounts=TEXTS,
    initialization_commands=_list(TEXT),
)
"""What Ray's schema leaves open, and the rules rest on."""

_AMOUNTS = _map({"type": ["string", "integer"]})
_CONTAINER = _some(
    ["name", "image"], name=TEXT, image=TEXT, env=_list(_some(["name"])), resources=_some(limits=_AMOUNTS)
)
_POD = _some(["spec"], spec=_some(["containers"], containers=_list(_CONTAINER, 1), tolerations=_list(_some())))
_GROUP = {"rayStartParams": TEXTS, "template": _POD, "resources": TEXTS, "labels": TEXTS}
_HEAD = _of(["rayStartParams", "template"], **_GROUP, serviceType=TEXT, enableIngress=YES_NO, headService=_some())
_WORKERS = _of(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    **_GROUP, groupName=TEXT, replicas=NUMBER, minReplicas=NUMBER, maxReplicas=NUMBER, idleTimeoutSeconds=NUMBER,
    priority=NUMBER, suspend=YES_NO, numOfHosts=NUMBER, scaleStrategy=_some(),
)  # fmt: skip
_CLUSTER = _of(
    ["rayVersion", "authOptions", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"],
    rayVersion=TEXT, authOptions=_some(["mode"]), enableInTreeAutoscaling=YES_NO, suspend=YES_NO, managedBy=TEXT,
    autoscalerOptions=_some(version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=NUMBER), headGroupSpec=_HEAD,
    workerGroupSpecs=_list(_WORKERS, 1), headServiceAnnotations=TEXTS, gcsFaultToleranceOptions=_some(),
    upgradeStrategy=_some(),
)  # fmt: skip
_JOB = _of(
    ["entrypoint", "shutdownAfterJobFinishes", "rayClusterSpec"],
    entrypoint=TEXT, rayClusterSpec=_CLUSTER, metadata=TEXTS, runtimeEnvYAML=TEXT, jobId=TEXT, managedBy=TEXT,
    suspend=YES_NO, shutdownAfterJobFinishes=YES_NO, ttlSecondsAfterFinished=NUMBER, activeDeadlineSeconds=NUMBER,
    backoffLimit=NUMBER, submissionMode=TEXT, entrypointNumCpus=ANY, entrypointNumGpus=ANY, entrypointResources=TEXT,
    submitterPodTemplate=_some(), submitterConfig=_some(), deletionStrategy=_some(),
)  # fmt: skip
_KUBERNETES = {"apiVersion": {"const": "ray.io/v1"}, "kind": TEXT, "metadata": _some(["name"], name=TEXT, labels=TEXTS)}
OF_KUBERAY = {
    "RayCluster": _of(["apiVersion", "metadata", "spec"], **_KUBERNETES, spec=_CLUSTER),
    "RayJob": _of(["apiVersion", "metadata", "spec"], **_KUBERNETES, spec=_JOB),
}
"""Keys that KubeRay 1.5 knows, by kind, as far down as a typo costs a night."""
