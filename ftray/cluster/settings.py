"""Rules about a cluster file's settings: names, node types, where results are stored, what must not be in a file.

Takes: a cluster file that its schemas have passed. Gives: its problems.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ftray.capacity.cluster_file import PLACEHOLDER, ClusterFile
from ftray.capacity.nodes import PRICE, node_of_type
from ftray.cluster.installing import COMMANDS
from ftray.errors import SpecError, StorageError
from ftray.spec import nearest
from ftray.storage import is_url

KEYS = {
    "aws": "region availability_zone cache_stopped_nodes security_group use_internal_ips key_pair cloudwatch",
    "gcp": "region availability_zone project_id cache_stopped_nodes use_internal_ips",
    "azure": "location resource_group subscription_id availability_zone cache_stopped_nodes use_internal_ips "
    "use_external_head_ip msi_name msi_resource_group subnet_mask unique_id tags",
    "local": "head_ip worker_ips external_head_ip coordinator_address",
}
"""The keys that Ray 2.60 reads under `provider:`, by its type; Ray's schema accepts any key there."""
NEEDED = {
    "aws": ("region",),
    "gcp": ("region", "availability_zone", "project_id"),
    "azure": ("location", "resource_group", "subscription_id"),
    "local": ("head_ip", "worker_ips"),
}
SECRETS = re.compile(r"\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|(?:secret|password|token)\w*=[^\s$]", re.I)
RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")


def names(file: ClusterFile) -> Iterator[str]:
    """Keys that Ray would fill in by itself if they were missing."""
    if file.provider != "local":
        for key in ("available_node_types", "head_node_type", "max_workers", "idle_timeout_minutes"):
            if key not in file.tree:
                yield f"{key}: is missing, and Ray fills in its own; give it"
    head = file.tree.get("head_node_type")
    if head is not None and file.types and head not in file.types:
        yield f"head_node_type: must be one of available_node_types, got {head!r}; {nearest(str(head), file.types)}"
    if file.tree.get("upscaling_speed", 1) <= 0:
        yield "upscaling_speed: must be greater than 0: with 0 no worker ever starts"
    if file.tree.get("idle_timeout_minutes", 5) <= 0:
        yield "idle_timeout_minutes: must be greater than 0: a worker would stop before its first trial starts"
    if not (file.tree.get("auth") or {}).get("ssh_user"):
        yield "auth.ssh_user: must name the user who logs in on the machines"
    for name in COMMANDS:
        if name not in file.tree:
            yield f"{name}: is missing, and Ray fills in its own, which installs another Ray; give it, [] if empty"


def provider(file: ClusterFile) -> Iterator[str]:
    """Keys under `provider:`, where Ray's schema accepts every typo."""
    given = file.tree["provider"]
    if file.provider not in KEYS:
        if file.provider != "external":
            yield f"provider.type: no such provider {file.provider!r}; {nearest(file.provider, KEYS)}"
        return
    known = ("type", *KEYS[file.provider].split())
    for key in given:
        if key in ("aws_credentials", "gcp_credentials"):
            yield f"provider.{key}: no credential belongs in a file; leave it to the provider's own tools"
        elif key not in known:
            yield f"provider.{key}: no such key; {nearest(str(key), known)}"
    for key in NEEDED[file.provider]:
        if not given.get(key) and "coordinator_address" not in given:
            yield f"provider.{key}: is missing; give it"
    if file.provider in ("aws", "gcp", "azure") and given.get("cache_stopped_nodes", True):
        yield (
            "provider.cache_stopped_nodes: must be false: else an idle worker is stopped, not terminated, and its "
            "disk is still billed"
        )
    region = given.get("region", "")
    for zone in str(given.get("availability_zone", region)).split(","):
        if file.provider in ("aws", "gcp") and not zone.strip().startswith(region):
            yield f"provider.availability_zone: must be in provider.region, {region}, got {zone.strip()}"
    for number, rule in enumerate((given.get("security_group") or {}).get("IpPermissions") or ()):
        if (rule.get("FromPort"), rule.get("ToPort")) != (22, 22):
            yield (
                f"provider.security_group.IpPermissions[{number}]: only port 22 may be open, got {rule}; whoever "
                "reaches Ray's dashboard runs any code there: use its tunnel, `ray dashboard`"
            )


def own_machines(file: ClusterFile) -> Iterator[str]:
    """Machines of your own: all of them work all the time, and only the file itself says what they have."""
    if file.provider != "local":
        return
    given = file.tree["provider"]
    if file.types:
        yield "available_node_types: machines of your own have none: list them in provider.worker_ips"
    ips = list(given.get("worker_ips") or ())
    for ip in sorted({str(ip) for ip in ips if ips.count(ip) > 1 or ip == given.get("head_ip")}):
        yield f"provider.worker_ips: must name every machine once, and not the head, got {ip} again"
    for key in ("min_workers", "max_workers"):
        if ips and file.tree.get(key, len(ips)) != len(ips):
            yield f"{key}: must be the number of worker_ips, {len(ips)}, got {file.tree[key]}; or leave it out"
    worker = file.metadata.get("worker")
    if not isinstance(worker, Mapping):
        yield (
            "metadata.worker: must say what a worker has, {resources: {CPU: 16, GPU: 1}, labels: "
            "{ray.io/accelerator-type: RTX-3090}}, as Ray asks the machines only when they run"
        )
    else:
        yield from _resource_problems("metadata.worker", worker)


def node_types(file: ClusterFile) -> Iterator[str]:
    """How many of each type, what one has, and what it costs."""
    n_max = file.tree.get("max_workers", 0)
    n_min = sum(kind.get("min_workers", 0) for _, kind in file.workers)
    if n_min > n_max:
        yield f"max_workers: must be at least the sum of the types' min_workers, {n_min}, got {n_max}"
    if file.types and not any(kind.get("max_workers", n_max) for _, kind in file.workers):
        yield "available_node_types: one type besides the head's must have max_workers above 0: else no trial ever runs"
    for name, kind in file.types.items():
        key = f"available_node_types.{name}"
        low, high = kind.get("min_workers", 0), kind.get("max_workers", n_max)
        if low < 0 or high < low:
            yield f"{key}.max_workers: must be at least min_workers, {low}, and that at least 0, got {high}"
        if high > n_max:
            yield f"{key}.max_workers: must be at most the cluster's max_workers, {n_max}, got {high}"
        yield from _resource_problems(key, kind)
        price = (kind.get("labels") or {}).get(PRICE)
        if file.provider in ("aws", "gcp", "azure") and not _is_price(price):
            got = "nothing" if price is None else repr(price)
            yield f'{key}.labels.{PRICE}: must be the price of an hour, in quotes, like "1.32", got {got}'


def _resource_problems(key: str, kind: Mapping[str, Any]) -> Iterator[str]:
    """The resources of a node: under Ray's own names, with a GPU whose memory is known."""
    resources = kind.get("resources") or {}
    if "CPU" not in map(str.upper, resources):
        yield f"{key}.resources.CPU: must be given: the plan of a study counts CPUs"
    for name in resources:
        right = next((known for known in RESOURCES if known.lower() == str(name).lower()), name)
        if name != right:
            yield f"{key}.resources.{name}: must be spelt {right}: Ray would take {name} for a resource of your own"
    for name, value in (kind.get("labels") or {}).items():
        if not isinstance(value, str) or not re.fullmatch(r"([a-zA-Z0-9]([\w.-]*[a-zA-Z0-9])?)?", value):
            yield f"{key}.labels.{name}: must be text of letters, digits, '-', '_' and '.', in quotes, got {value!r}"
    try:
        node_of_type(key.rpartition(".")[2], 1, kind)
    except (SpecError, ValueError) as error:
        yield f"{key}.labels: {error}"


def _is_price(price: Any) -> bool:
    return isinstance(price, str) and re.fullmatch(r"\d+(\.\d+)?", price) is not None


def results(file: ClusterFile) -> Iterator[str]:
    """Where results are stored: a place that every machine reaches and may write to."""
    runs = file.metadata.get("runs")
    try:
        if not isinstance(runs, str) or not (is_url(runs) or runs.startswith("/")):
            yield f"metadata.runs: must be s3://…, gs://…, abfs://… or a shared folder's absolute path, got {runs!r}"
            return
    except StorageError as error:
        yield f"metadata.runs: {error}"
        return
    role = {"aws": ("s3://", "IamInstanceProfile"), "gcp": ("gs://", "serviceAccounts")}.get(file.provider)
    for name, kind in file.workers:
        if role and runs.startswith(role[0]) and role[1] not in kind["node_config"]:
            yield (
                f"available_node_types.{name}.node_config.{role[1]}: is missing: Ray gives a role to the head alone, "
                f"and without one a worker may not write to {runs}"
            )


def unfilled_placeholders(file: ClusterFile) -> Iterator[str]:
    """Placeholders that the user must fill in, and secrets that do not belong in a file."""
    for key, text in _texts("", file.tree):
        if found := PLACEHOLDER.search(text):
            yield f"{key}: {found[0]} must be filled in, got {text}"
        if SECRETS.search(text):
            yield f"{key}: looks like a secret; no credential belongs in a file: use a role, or the provider's tools"


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _texts(f"{key}.{name}" if key else str(name), below)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _texts(f"{key}[{number}]", below)
    elif isinstance(value, str):
        yield key, value


SETTINGS = (names, provider, own_machines, node_types, results, unfilled_placeholders)
