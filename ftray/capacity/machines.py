"""What a cloud's machines have, by the name of their type: cores, GPUs, and the model of these.

Takes: a cluster file. Gives: what its `resources` promise and its machines do not have, and types that are not known
here: only the provider can refuse those.

Sources: the providers' tables of machine types; for EC2 a test compares with the `DescribeInstanceTypes` that moto has.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ftray.capacity.cluster_file import ClusterFile, autoscaling_config
from ftray.vram.gpu_models import canonical_name

ACCELERATOR, LABEL = "accelerator_type:", "ray.io/accelerator-type"
KUBERNETES, GKE = "node.kubernetes.io/instance-type", "cloud.google.com/gke-accelerator"
"""Labels of Kubernetes' nodes: the type of the machine, and on Google's the model of its GPU."""


class Machine(NamedTuple):
    """cpus: virtual cores, as Ray counts them. gpus: how many. gpu: their model, None without one, or if not known."""

    cpus: int
    gpus: int = 0
    gpu: str | None = None


LIKE_G5 = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
LIKE_G7 = {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8}
EC2_GPUS: dict[str, tuple[str, dict[str, int]]] = {
    "g4dn": ("T4", {"12xlarge": 4}),
    "g5": ("A10G", LIKE_G5),
    "g5g": ("T4G", {"16xlarge": 2}),
    "g6": ("L4", LIKE_G5),
    "g6e": ("L40S", LIKE_G5),
    "g7": ("RTX PRO 4500", LIKE_G7),
    "g7e": ("RTX PRO 6000", LIKE_G7),
    "gr6": ("L4", {}),
    "p3": ("V100", {"8xlarge": 4, "16xlarge": 8}),
    "p3dn": ("V100 32G", {"24xlarge": 8}),
    "p4d": ("A100 40G", {"24xlarge": 8}),
    "p4de": ("A100 80G", {"24xlarge": 8}),
    "p5": ("H100", {"48xlarge": 8}),
    "p5e": ("H200", {"48xlarge": 8}),
    "p5en": ("H200", {"48xlarge": 8}),
    "p6-b200": ("B200", {"48xlarge": 8}),
    "p6-b300": ("B300", {"48xlarge": 8}),
}
"""EC2's families with GPUs: their model, and the sizes that have more than one."""

EC2_ODD = re.compile(r"c1|c4|d2|m2|hpc.*")
"""Families whose sizes have other numbers of cores than those of all others."""

GCP_GPUS = {
    "a2-highgpu-1g": Machine(12, 1, "A100 40G"),
    "a2-highgpu-2g": Machine(24, 2, "A100 40G"),
    "a2-highgpu-4g": Machine(48, 4, "A100 40G"),
    "a2-highgpu-8g": Machine(96, 8, "A100 40G"),
    "a2-megagpu-16g": Machine(96, 16, "A100 40G"),
    "a2-ultragpu-1g": Machine(12, 1, "A100 80G"),
    "a2-ultragpu-2g": Machine(24, 2, "A100 80G"),
    "a2-ultragpu-4g": Machine(48, 4, "A100 80G"),
    "a2-ultragpu-8g": Machine(96, 8, "A100 80G"),
    "a3-edgegpu-8g": Machine(208, 8, "H100"),
    "a3-highgpu-1g": Machine(26, 1, "H100"),
    "a3-highgpu-2g": Machine(52, 2, "H100"),
    "a3-highgpu-4g": Machine(104, 4, "H100"),
    "a3-highgpu-8g": Machine(208, 8, "H100"),
    "a3-megagpu-8g": Machine(208, 8, "H100"),
    "a3-ultragpu-8g": Machine(224, 8, "H200"),
    "a4-highgpu-8g": Machine(224, 8, "B200"),
    "g2-standard-4": Machine(4, 1, "L4"),
    "g2-standard-8": Machine(8, 1, "L4"),
    "g2-standard-12": Machine(12, 1, "L4"),
    "g2-standard-16": Machine(16, 1, "L4"),
    "g2-standard-24": Machine(24, 2, "L4"),
    "g2-standard-32": Machine(32, 1, "L4"),
    "g2-standard-48": Machine(48, 4, "L4"),
    "g2-standard-96": Machine(96, 8, "L4"),
}
GCP_SHARED = {"f1-micro": 1, "g1-small": 1, "e2-micro": 2, "e2-small": 2, "e2-medium": 2}
"""Cores of Google's machines whose names do not say them."""

AZURE_GPUS = {
    "Standard_NC4as_T4_v3": Machine(4, 1, "T4"),
    "Standard_NC8as_T4_v3": Machine(8, 1, "T4"),
    "Standard_NC16as_T4_v3": Machine(16, 1, "T4"),
    "Standard_NC64as_T4_v3": Machine(64, 4, "T4"),
    "Standard_NC6s_v3": Machine(6, 1, "V100"),
    "Standard_NC12s_v3": Machine(12, 2, "V100"),
    "Standard_NC24s_v3": Machine(24, 4, "V100"),
    "Standard_NC24rs_v3": Machine(24, 4, "V100"),
    "Standard_NC24ads_A100_v4": Machine(24, 1, "A100 80G"),
    "Standard_NC48ads_A100_v4": Machine(48, 2, "A100 80G"),
    "Standard_NC96ads_A100_v4": Machine(96, 4, "A100 80G"),
    "Standard_NC40ads_H100_v5": Machine(40, 1, "H100 NVL"),
    "Standard_NC80adis_H100_v5": Machine(80, 2, "H100 NVL"),
    "Standard_NV36ads_A10_v5": Machine(36, 1, "A10"),
    "Standard_NV36adms_A10_v5": Machine(36, 1, "A10"),
    "Standard_NV72ads_A10_v5": Machine(72, 2, "A10"),
    "Standard_ND40rs_v2": Machine(40, 8, "V100 32G"),
    "Standard_ND96asr_v4": Machine(96, 8, "A100 40G"),
    "Standard_ND96amsr_A100_v4": Machine(96, 8, "A100 80G"),
    "Standard_ND96isr_H100_v5": Machine(96, 8, "H100"),
    "Standard_ND96isr_H200_v5": Machine(96, 8, "H200"),
}
AZURE = {name.lower(): machine for name, machine in AZURE_GPUS.items()}
AZURE_CORES = re.compile(r"standard_(?:[bef]|d(?=\d+[a-z]*_v[3-9]))(\d+)[a-z]*(?:_v\d)?")
"""Sizes without a GPU whose number is that of their cores. Those of D count so from version 3 on: D3_v2 has four."""


class Promise(NamedTuple):
    """What a cluster file says of a node.

    key: where in the file. kind: with `resources` and `labels`. machine: the name of its type, if the file has one.
    whole: the node has the machine to itself; a pod may share it. added: model and number of the GPUs that Google adds
    to a type without any. model: that of the GPU which a pod asks for.
    """

    key: str
    kind: Mapping[str, Any]
    machine: str | None
    whole: bool = True
    added: tuple[str, int] | None = None
    model: str | None = None


def machine_problems(file: ClusterFile) -> Iterator[str]:
    """Resources that the machines of a node type do not have, or that would stay idle."""
    for promise in _promises(file):
        found = _machine_of(promise, file.provider)
        if found is not None and promise.machine:
            yield from _differing(promise, found, file.provider)
        elif promise.model:
            yield from _other_models(promise, _gpu_of_google(promise.model), f"nodes with {GKE}: {promise.model}")


def unknown_machines(file: ClusterFile) -> Iterator[str]:
    """Types of machines that are not known here: nobody but the provider can say what they have."""
    for promise in _promises(file):
        if promise.machine and _machine_of(promise, file.provider) is None:
            promised = ", ".join(f"{name}: {n}" for name, n in (promise.kind.get("resources") or {}).items())
            check = f"check that it has {promised or 'what trials need'}"
            yield f"{promise.key}: ftray does not know the machine type {promise.machine}: {check}"


def ec2_machine(name: str) -> Machine | None:
    """An EC2 instance type; None for one that is not known here.

    >>> ec2_machine("g6.12xlarge"), ec2_machine("m7i.large"), ec2_machine("g6f.large")
    (Machine(cpus=48, gpus=4, gpu='L4'), Machine(cpus=2, gpus=0, gpu=None), None)
    """
    family, _, size = name.partition(".")
    times = re.fullmatch(r"(\d*)xlarge|metal-(\d+)xl", size)
    tiny = 1 if family in ("t1", "t2") else 2
    burst = {"nano": tiny, "micro": tiny, "small": tiny, "medium": 2} if family.startswith("t") else {"medium": 1}
    cpus = 4 * int(times[1] or times[2] or 1) if times else {"large": 2, **burst}.get(size)
    if cpus is None or EC2_ODD.fullmatch(family):
        return None
    if family in EC2_GPUS:
        model, several = EC2_GPUS[family]
        return Machine(cpus, several.get(size, 1), model)
    return None if re.match(r"g[a-z]?\d|p\d", family) else Machine(cpus)


def gcp_machine(name: str) -> Machine | None:
    """A machine type of Compute Engine; None for one that is not known here.

    >>> gcp_machine("g2-standard-24"), gcp_machine("n2-custom-8-16384"), gcp_machine("a9-highgpu-1g")
    (Machine(cpus=24, gpus=2, gpu='L4'), Machine(cpus=8, gpus=0, gpu=None), None)
    """
    name = name.removesuffix("-nolssd")
    if name in GCP_GPUS:
        return GCP_GPUS[name]
    if name in GCP_SHARED:
        return Machine(GCP_SHARED[name])
    cores = re.fullmatch(r"(?![ag]\d)[a-z]\w*-(?:standard|(?:high|mega|ultra)(?:mem|cpu))-(\d+)(?:-lssd)?", name)
    cores = cores or re.fullmatch(r"(?:[a-z]\w*-)?custom-(\d+)-\d+(?:-ext)?", name)
    return Machine(int(cores[1])) if cores else None


def azure_machine(name: str) -> Machine | None:
    """A size of Azure's virtual machines; None for one that is not known here.

    >>> azure_machine("Standard_NC64as_T4_v3"), azure_machine("Standard_D16s_v5"), azure_machine("Standard_D3_v2")
    (Machine(cpus=64, gpus=4, gpu='T4'), Machine(cpus=16, gpus=0, gpu=None), None)
    """
    cores = AZURE_CORES.fullmatch(name.lower())
    return AZURE.get(name.lower()) or (Machine(int(cores[1])) if cores else None)


FIND = {"aws": ec2_machine, "gcp": gcp_machine, "azure": azure_machine}


def _machine_of(promise: Promise, provider: str) -> Machine | None:
    finders = [FIND[provider]] if provider in FIND else FIND.values()  # Kubernetes does not say whose machines it has
    found = next((machine for find in finders if (machine := find(promise.machine or ""))), None)
    if found is None or found.gpus or promise.added is None:
        return found
    return found._replace(gpus=promise.added[1], gpu=_gpu_of_google(promise.added[0]))


def _promises(file: ClusterFile) -> Iterator[Promise]:
    if file.is_kubernetes:
        for manifest in file.documents:
            if str(manifest.get("apiVersion")).startswith("ray.io/"):
                yield from _of_manifest(manifest, file)
    for name, kind in file.types.items() if file.provider in FIND else ():
        key, config = f"available_node_types.{name}", kind.get("node_config")
        if not isinstance(config, Mapping):
            continue
        if file.provider == "gcp":
            found = str(config.get("machineType") or "").rpartition("/")[2]
            yield Promise(key, kind, found, added=_added(config.get("guestAccelerators")))
        else:
            arm = config.get("azure_arm_parameters")
            place = config if file.provider == "aws" else arm if isinstance(arm, Mapping) else {}
            found = place.get("InstanceType" if file.provider == "aws" else "vmSize")
            yield Promise(key, kind, str(found) if found else None)


def _added(accelerators: Any) -> tuple[str, int] | None:
    """Model and number of the GPUs that Google adds to a machine: the API allows one kind."""
    for one in accelerators if isinstance(accelerators, list) else ():
        if isinstance(one, Mapping) and str(n := one.get("acceleratorCount", 1)).isdigit():
            return str(one.get("acceleratorType")).rpartition("/")[2], int(n)
    return None


def _of_manifest(manifest: Mapping[str, Any], file: ClusterFile) -> Iterator[Promise]:
    """Pods that ask for a type of machine, or on Google's Kubernetes for a GPU."""
    types = autoscaling_config(manifest, file.path)["available_node_types"]
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    for group in spec.get("workerGroupSpecs") or ():
        name, asked = group["groupName"], group["template"]["spec"].get("nodeSelector")
        if isinstance(asked, Mapping):
            machine, model = (str(asked.get(label) or "") for label in (KUBERNETES, GKE))
            yield Promise(f"group {name}", types[name], machine, whole=False, model=model)


def _gpu_of_google(accelerator: str) -> str:
    return "A100 40G" if accelerator == "nvidia-tesla-a100" else canonical_name(accelerator)


def _differing(promise: Promise, machine: Machine, provider: str) -> Iterator[str]:
    key, name = f"{promise.key}.resources", promise.machine
    resources = promise.kind.get("resources") or {}
    cpus, gpus = resources.get("CPU"), resources.get("GPU")
    if isinstance(cpus, int | float) and cpus > machine.cpus:
        then = "trials would share cores" if promise.whole else "such a pod never starts"
        yield f"{key}.CPU: must be at most {machine.cpus}, the cores of {name}, got {cpus}: {then}"
    if gpus is None and machine.gpus and promise.whole and provider != "aws":  # Ray asks EC2 for what is left out
        yield f"{key}.GPU: must be {machine.gpus}, those of {name}, and is missing: they would be paid and never used"
    elif isinstance(gpus, int | float) and (gpus > machine.gpus or (promise.whole and gpus != machine.gpus)):
        must = machine.gpus if promise.whole else f"at most {machine.gpus}"
        lost = "are not there: trials would wait or fail" if gpus > machine.gpus else "are left: paid, and never used"
        yield f"{key}.GPU: must be {must}, those of {name}, got {gpus}; the others {lost}"
    if machine.gpus == 0 or machine.gpu:
        yield from _other_models(promise, machine.gpu or "", str(name))


def _other_models(promise: Promise, gpu: str, where: str) -> Iterator[str]:
    """Other models than the machine's own, `gpu`, which is empty without one, by Ray's resource or by a label."""
    resources, labels = promise.kind.get("resources") or {}, promise.kind.get("labels") or {}
    said = [
        (f"resources.{ACCELERATOR}", str(one)[len(ACCELERATOR) :])
        for one in map(str, resources)
        if one.startswith(ACCELERATOR)
    ]
    if labels.get(LABEL):
        said.append((f"labels.{LABEL}: ", str(labels[LABEL])))
    for key, model in said:
        if not gpu:
            yield f"{promise.key}.{key}{model}: {where} has no GPU: leave it out, or name a type that has one"
        elif not _is_same(canonical_name(model), gpu):
            right = f"{ACCELERATOR * key.endswith(ACCELERATOR)}{gpu.replace(' ', '-')}"
            yield f"{promise.key}.{key}{model}: must be {right}, the GPU of {where}"


def _is_same(one: str, other: str) -> bool:
    """Whether two names may stand for one model: Ray calls an A100 of either size A100."""
    return one == other or one.startswith(f"{other} ") or other.startswith(f"{one} ")
