"""Rules about `node_config:`, a machine in its provider's own words, which Ray passes on unread.

Takes: a cluster file that its schemas have passed. Gives: its problems, by the provider's own description of a machine:
from its library where that is installed (`pip install 'ftray[aws]'`, `'ftray[gcp]'`), for Azure from Ray itself. No
provider is asked: whether an instance type or an image really exists shows when it is started.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from ftray.capacity.cluster_file import ClusterFile
from ftray.spec import nearest


def aws(file: ClusterFile) -> Iterator[str]:
    """EC2's RunInstances, by botocore."""
    if file.provider != "aws":
        return
    for name, kind in file.types.items():
        key, config = f"available_node_types.{name}.node_config", kind["node_config"]
        for needed in ("InstanceType", "ImageId"):
            if needed not in config:
                yield f"{key}.{needed}: is missing, and Ray fills in its own, which is years old; give it"
        if not str(config.get("ImageId", "ami-")).startswith(("ami-", "resolve:ssm:/")):
            yield f"{key}.ImageId: must be ami-…, or resolve:ssm:/…, got {config['ImageId']}"
    try:
        from botocore.validate import ParamValidator
    except ImportError:
        return
    for name, kind in file.types.items():
        key, config = f"available_node_types.{name}.node_config", dict(kind["node_config"])
        config.pop("SubnetIds", None)  # Ray's own key: it chooses one of these subnets
        report = ParamValidator().validate({"MinCount": 1, "MaxCount": 1, **config}, _run_instances())
        for line in report.generate_report().splitlines():
            yield f"{key}: {line}"
        yield from _by_enums(key, config, _run_instances())


@functools.cache
def _run_instances() -> Any:
    """The shape of EC2's RunInstances, 1 s to load."""
    from botocore.session import get_session

    return get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _by_enums(key: str, value: Any, shape: Any) -> Iterator[str]:
    """Values that EC2 does not know and botocore's own validation accepts: above all, types of machines."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            if name in getattr(shape, "members", {}):
                yield from _by_enums(f"{key}.{name}", below, shape.members[name])
    elif isinstance(value, list) and hasattr(shape, "member"):
        for number, below in enumerate(value):
            yield from _by_enums(f"{key}[{number}]", below, shape.member)
    elif isinstance(value, str) and (known := getattr(shape, "enum", ())) and value not in known:
        newer = "If it is newer than your botocore: pip install -U boto3"
        yield f"{key}: EC2 knows no {value!r}; {nearest(value, known)}. {newer}"


def gcp(file: ClusterFile) -> Iterator[str]:
    """Compute Engine's Instance, by Google's discovery document."""
    if file.provider != "gcp":
        return
    for name, kind in file.types.items():
        key, config = f"available_node_types.{name}.node_config", kind["node_config"]
        for needed in ("machineType", "disks"):
            if needed not in config:
                yield f"{key}.{needed}: is missing; give it"
    try:
        schemas = _compute_engine()
    except ImportError:
        return
    for name, kind in file.types.items():
        yield from _by_discovery(
            f"available_node_types.{name}.node_config", kind["node_config"], {"$ref": "Instance"}, schemas
        )


@functools.cache
def _compute_engine() -> Mapping[str, Any]:
    import googleapiclient

    document = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
    return json.loads(document.read_text())["schemas"]


def _by_discovery(key: str, value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    """What in a value differs from Google's description of it. schemas: those that a `$ref` names."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {"object": Mapping, "array": list, "string": (str, int), "boolean": bool, "integer": int}
    kind = kinds.get(schema.get("type", ""), object)
    if schema.get("format") in ("int64", "uint64") and not str(value).isdigit():
        yield f"{key}: must be a whole number, got {value!r}"
    elif not isinstance(value, kind):
        yield f"{key}: must be of type {schema['type']}, got {value!r}"
    elif isinstance(value, Mapping):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, below in value.items():
            if name in known or others:
                yield from _by_discovery(f"{key}.{name}", below, known.get(name, others), schemas)
            else:
                yield f"{key}.{name}: no such key; {nearest(str(name), known)}"
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _by_discovery(f"{key}[{number}]", below, schema["items"], schemas)
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{key}: must be one of {', '.join(schema['enum'])}, got {value!r}"


def azure(file: ClusterFile) -> Iterator[str]:
    """The template that Ray deploys a machine with."""
    if file.provider != "azure":
        return
    template = Path(ray.__file__).parent / "autoscaler" / "_private" / "_azure" / "azure-vm-template.json"
    parameters = json.loads(template.read_text())["parameters"]
    known = {name: rule["type"].lower() for name, rule in parameters.items()} | {"availability_zone": "string"}
    kinds = {"string": str, "securestring": str, "int": int, "bool": bool, "object": Mapping, "array": list}
    for name, kind in file.types.items():
        key = f"available_node_types.{name}.node_config"
        given = kind["node_config"].get("azure_arm_parameters") or {}
        for other in set(kind["node_config"]) - {"azure_arm_parameters"}:
            yield f"{key}.{other}: no such key; {nearest(str(other), ['azure_arm_parameters'])}"
        if "vmSize" not in given:
            yield f"{key}.azure_arm_parameters.vmSize: is missing; give it"
        for word, value in given.items():
            if word not in known:
                yield f"{key}.azure_arm_parameters.{word}: no such key; {nearest(str(word), known)}"
            elif not isinstance(value, kinds[known[word]]):
                yield f"{key}.azure_arm_parameters.{word}: must be of type {known[word]}, got {value!r}"
        if given.get("priority", "Regular") not in ("Regular", "Spot"):
            yield f"{key}.azure_arm_parameters.priority: must be Spot or Regular, got {given['priority']!r}"


PROVIDERS = (aws, gcp, azure)
