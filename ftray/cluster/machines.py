"""What a cloud's machines have, by the name of their type: cores, GPUs, and the model of these.

Takes: a cluster file. Gives: what its `resources` promise and its machines do not have. A type that is not known here
is left to the provider.

Sources: the providers' tables of machine types; for EC2 a test compares with the `DescribeInstanceTypes` that moto has.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ftray.capacity.cluster_file import ClusterFile

ACCELERATOR = "accelerator_type:"


class Machine(NamedTuple):
    """cpus: virtual cores, as Ray counts them. gpus: how many. gpu: their model, as Ray writes it; None without one."""

    cpus: int
    gpus: int = 0
    gpu: str | None = None


LIKE_G5 = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
EC2_GPUS: dict[str, tuple[str, dict[str, int]]] = {
    "g4dn": ("T4", {"12xlarge": 4}),
    "g5": ("A10G", LIKE_G5),
    "g5g": ("T4G", {"16xlarge": 2}),
    "g6": ("L4", LIKE_G5),
    "g6e": ("L40S", LIKE_G5),
    "gr6": ("L4", {}),
    "p3": ("V100", {"8xlarge": 4, "16xlarge": 8}),
    "p3dn": ("V100", {"24xlarge": 8}),
    "p4d": ("A100", {"24xlarge": 8}),
    "p4de": ("A100", {"24xlarge": 8}),
    "p5": ("H100", {"48xlarge": 8}),
    "p5e": ("H200", {"48xlarge": 8}),
    "p5en": ("H200", {"48xlarge": 8}),
    "p6-b200": ("B200", {"48xlarge": 8}),
}
"""EC2's families with GPUs: their model, and the sizes that have more than one."""

EC2_ODD = re.compile(r"c1|c4|d2|m2|hpc.*")
"""Families whose sizes have other numbers of cores than those of all others."""

GCP_GPUS = {
    "a2-highgpu-1g": Machine(12, 1, "A100"),
    "a2-highgpu-2g": Machine(24, 2, "A100"),
    "a2-highgpu-4g": Machine(48, 4, "A100"),
    "a2-highgpu-8g": Machine(96, 8, "A100"),
    "a2-megagpu-16g": Machine(96, 16, "A100"),
    "a2-ultragpu-1g": Machine(12, 1, "A100"),
    "a2-ultragpu-2g": Machine(24, 2, "A100"),
    "a2-ultragpu-4g": Machine(48, 4, "A100"),
    "a2-ultragpu-8g": Machine(96, 8, "A100"),
    "a3-highgpu-1g": Machine(26, 1, "H100"),
    "a3-highgpu-2g": Machine(52, 2, "H100"),
    "a3-highgpu-4g": Machine(104, 4, "H100"),
    "a3-highgpu-8g": Machine(208, 8, "H100"),
    "a3-megagpu-8g": Machine(208, 8, "H100"),
    "g2-standard-4": Machine(4, 1, "L4"),
    "g2-standard-8": Machine(8, 1, "L4"),
    "g2-standard-12": Machine(12, 1, "L4"),
    "g2-standard-16": Machine(16, 1, "L4"),
    "g2-standard-24": Machine(24, 2, "L4"),
    "g2-standard-32": Machine(32, 1, "L4"),
    "g2-standard-48": Machine(48, 4, "L4"),
    "g2-standard-96": Machine(96, 8, "L4"),
}

AZURE_GPUS = {
    "Standard_NC4as_T4_v3": Machine(4, 1, "T4"),
    "Standard_NC8as_T4_v3": Machine(8, 1, "T4"),
    "Standard_NC16as_T4_v3": Machine(16, 1, "T4"),
    "Standard_NC64as_T4_v3": Machine(64, 4, "T4"),
    "Standard_NC24ads_A100_v4": Machine(24, 1, "A100"),
    "Standard_NC48ads_A100_v4": Machine(48, 2, "A100"),
    "Standard_NC96ads_A100_v4": Machine(96, 4, "A100"),
    "Standard_NC40ads_H100_v5": Machine(40, 1, "H100"),
    "Standard_NC80adis_H100_v5": Machine(80, 2, "H100"),
    "Standard_NV36ads_A10_v5": Machine(36, 1, "A10"),
    "Standard_NV72ads_A10_v5": Machine(72, 2, "A10"),
    "Standard_ND96asr_v4": Machine(96, 8, "A100"),
    "Standard_ND96amsr_A100_v4": Machine(96, 8, "A100"),
    "Standard_ND96isr_H100_v5": Machine(96, 8, "H100"),
}


def machines(file: ClusterFile) -> Iterator[str]:
    """Resources that the machines of a node type do not have, or that would stay idle."""
    find = {"aws": _of_ec2, "gcp": _of_gcp, "azure": _of_azure}.get(file.provider)
    for name, kind in file.types.items() if find else ():
        found = find(kind["node_config"]) if find else None
        if found is not None:
            key = f"available_node_types.{name}.resources"
            yield from _differing(key, kind.get("resources") or {}, *found, file.provider)


def ec2_machine(name: str) -> Machine | None:
    """An EC2 instance type; None for one that is not known here.

    >>> ec2_machine("g6.12xlarge"), ec2_machine("m7i.large"), ec2_machine("g6f.large")
    (Machine(cpus=48, gpus=4, gpu='L4'), Machine(cpus=2, gpus=0, gpu=None), None)
    """
    family, _, size = name.partition(".")
    times = re.fullmatch(r"(\d*)xlarge", size)
    small = {"large": 2, "medium": 2 if family.startswith("t") else 1}.get(size)
    cpus = 4 * int(times[1] or 1) if times else small
    if cpus is None or EC2_ODD.fullmatch(family):
        return None
    if family in EC2_GPUS:
        model, several = EC2_GPUS[family]
        return Machine(cpus, several.get(size, 1), model)
    return None if re.match(r"g[a-z]?\d|p\d", family) else Machine(cpus)


def _of_ec2(config: Mapping[str, Any]) -> tuple[str, Machine] | None:
    name = str(config.get("InstanceType"))
    found = ec2_machine(name)
    return None if found is None else (name, found)


def _of_gcp(config: Mapping[str, Any]) -> tuple[str, Machine] | None:
    """GPUs belong to the type, or are added to a machine of another type."""
    name = str(config.get("machineType")).rpartition("/")[2]
    if name in GCP_GPUS:
        return name, GCP_GPUS[name]
    cores = re.fullmatch(r"[a-z]\w*-(?:standard|highmem|highcpu)-(\d+)", name)
    if cores is None:
        return None
    added = [one for one in config.get("guestAccelerators") or () if isinstance(one, Mapping)]
    n_gpus = sum(int(one.get("acceleratorCount", 1)) for one in added)
    return name, Machine(int(cores[1]), n_gpus)


def _of_azure(config: Mapping[str, Any]) -> tuple[str, Machine] | None:
    name = str((config.get("azure_arm_parameters") or {}).get("vmSize"))
    if name in AZURE_GPUS:
        return name, AZURE_GPUS[name]
    cores = re.fullmatch(r"Standard_[BDEF](\d+)[a-z]*(?:_v\d)?", name)
    return None if cores is None else (name, Machine(int(cores[1])))


def _differing(key: str, resources: Mapping[str, Any], name: str, machine: Machine, provider: str) -> Iterator[str]:
    cpus, gpus = resources.get("CPU"), resources.get("GPU")
    if isinstance(cpus, int | float) and cpus > machine.cpus:
        yield f"{key}.CPU: must be at most {machine.cpus}, the cores of {name}, got {cpus}: trials would share cores"
    if gpus is None and machine.gpus and provider != "aws":  # on EC2 Ray asks the provider for what is left out
        yield f"{key}.GPU: must be {machine.gpus}, those of {name}, and is missing: they would be paid and never used"
    elif isinstance(gpus, int | float) and gpus != machine.gpus:
        lost = "are not there: trials would wait or fail" if gpus > machine.gpus else "are left: paid, and never used"
        yield f"{key}.GPU: must be {machine.gpus}, those of {name}, got {gpus}; the others {lost}"
    models = [str(one).removeprefix(ACCELERATOR) for one in resources if str(one).startswith(ACCELERATOR)]
    for model in models:
        if machine.gpu is not None and not model.upper().startswith(machine.gpu):
            yield f"{key}.{ACCELERATOR}{model}: must be {ACCELERATOR}{machine.gpu}, the GPU of {name}"
        elif not machine.gpus:
            yield f"{key}.{ACCELERATOR}{model}: {name} has no GPU: leave it out, or name a type that has one"
