"""Schemas: which keys a file may have, and of which type each of them is.

Takes: a tree, a JSON schema. Gives: problems that name the key; the rules of the other modules trust what has passed.
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


def schema_errors(tree: Any, schema: Schema, root: str = "") -> Iterator[str]:
    """How a tree breaks a schema, with the nearest right name for a wrong one. root: the key that the tree is at."""
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
def ray_schema() -> Schema:
    """Ray's own schema of a cluster file."""
    return json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def _only(required: Iterable[str] = (), **known: Schema) -> Schema:
    return {"type": "object", "properties": known, "additionalProperties": False, "required": list(required)}


def _some(required: Iterable[str] = (), **known: Schema) -> Schema:
    """Like `_only`, but the tree may have other keys as well."""
    return {"type": "object", "properties": known, "required": list(required)}


def _list(items: Schema, n_min: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": n_min}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _pod(name: str) -> Schema:
    """What Kubernetes calls by that name."""
    return {"$ref": f"#/$defs/{name}"}


TEXT, NUMBER, YES_NO, ANY = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}
TEXTS = _map(TEXT)

FTRAY_SCHEMA = _some(
    metadata=_only(runs=TEXT, worker=_only(["resources"], resources=_map(NUMBER), labels=TEXTS)),
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
"""What Ray's schema leaves open and the rules of this package rely on."""

_GROUP = {"rayStartParams": TEXTS, "template": _pod("PodTemplateSpec"), "resources": TEXTS, "labels": TEXTS}
_HEAD = _only(["rayStartParams", "template"], **_GROUP, serviceType=TEXT, enableIngress=YES_NO, headService=_some())
_WORKERS = _only(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    **_GROUP, groupName=TEXT, replicas=NUMBER, minReplicas=NUMBER, maxReplicas=NUMBER, idleTimeoutSeconds=NUMBER,
    priority=NUMBER, suspend=YES_NO, numOfHosts=NUMBER, scaleStrategy=_some(),
)  # fmt: skip
_AUTOSCALER = _some(
    version={"enum": ["v1", "v2"]}, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    idleTimeoutSeconds=NUMBER, image=TEXT, imagePullPolicy=TEXT, resources=_pod("ResourceRequirements"),
    securityContext=_pod("SecurityContext"), env=_list(_pod("EnvVar")), envFrom=_list(_pod("EnvFromSource")),
    volumeMounts=_list(_pod("VolumeMount")),
)  # fmt: skip
_CLUSTER = _only(
    ["rayVersion", "authOptions", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"],
    rayVersion=TEXT, authOptions=_some(["mode"]), enableInTreeAutoscaling=YES_NO, suspend=YES_NO, managedBy=TEXT,
    autoscalerOptions=_AUTOSCALER, headGroupSpec=_HEAD, workerGroupSpecs=_list(_WORKERS, 1),
    headServiceAnnotations=TEXTS, gcsFaultToleranceOptions=_some(), upgradeStrategy=_some(),
)  # fmt: skip
_JOB = _only(
    ["entrypoint", "shutdownAfterJobFinishes", "rayClusterSpec"],
    entrypoint=TEXT, rayClusterSpec=_CLUSTER, metadata=TEXTS, runtimeEnvYAML=TEXT, jobId=TEXT, managedBy=TEXT,
    suspend=YES_NO, shutdownAfterJobFinishes=YES_NO, ttlSecondsAfterFinished=NUMBER, activeDeadlineSeconds=NUMBER,
    backoffLimit=NUMBER, submissionMode=TEXT, entrypointNumCpus=ANY, entrypointNumGpus=ANY, entrypointResources=TEXT,
    submitterPodTemplate=_pod("PodTemplateSpec"), submitterConfig=_some(), deletionStrategy=_some(),
)  # fmt: skip
_MANIFEST = {"apiVersion": {"const": "ray.io/v1"}, "kind": TEXT, "metadata": _some(["name"], name=TEXT, labels=TEXTS)}


@functools.cache
def kuberay_schemas() -> Mapping[str, Schema]:
    """The schemas of KubeRay's manifests by kind: its own keys as its API reference has them, for 1.5 and later, and
    Kubernetes' own schema of the pods in them."""
    pods = json.loads(Path(__file__).with_name("pod_template.json").read_text())["$defs"]
    pods["PodTemplateSpec"]["required"] = ["spec"]  # Kubernetes knows defaults for these, a pod of Ray has none
    pods["PodSpec"]["properties"]["containers"]["minItems"] = 1
    pods["Container"]["required"] = ["name", "image"]
    specs = {"RayCluster": _CLUSTER, "RayJob": _JOB}
    required = ["apiVersion", "metadata", "spec"]
    return {kind: {**_only(required, **_MANIFEST, spec=spec), "$defs": pods} for kind, spec in specs.items()}
