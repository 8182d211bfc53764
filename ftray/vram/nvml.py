"""What GPU this process has, without initialising CUDA: a context takes 0.5 GiB, which a CPU process has not booked.

NVML, the driver's own library, knows every GPU and its memory at no cost. It knows nothing of CUDA_VISIBLE_DEVICES,
and its order is the one of the PCI bus, whereas CUDA counts the fastest GPU first. Where NVML does not answer (a
Jetson, memory shared with the CPU) or cannot know which GPU CUDA counts first (several models in one machine without
CUDA_DEVICE_ORDER=PCI_BUS_ID), a short-lived process asks CUDA.
"""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pynvml
import torch

from ftray.errors import TrainingError
from ftray.vram.table import GIB

UNRESERVED = 0.97
"""Of NVML's total, what PyTorch sees where the driver (before 510) does not say what it keeps for itself: 0.97 on a T4
to 0.99 on an H100."""

ASK = """
import json, torch
found = torch.cuda.get_device_properties(0)
print(json.dumps([found.name, found.total_memory]))
"""

Found = tuple[str, float]
"""A GPU's name as the driver gives it, and its GiB as PyTorch sees them."""


class NvmlUnavailableError(Exception):
    """NVML is missing, does not answer, or cannot know which GPU is CUDA's first."""


@functools.lru_cache(maxsize=1)
def asked_elsewhere() -> Found:
    """CUDA's answer, from a process that ends with it. Raises: TrainingError with what that process said."""
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    if asked.returncode:
        said = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
        raise TrainingError(
            f"PyTorch says that it can use a GPU here, and could not read its memory: {said}. Hide the GPU "
            "(CUDA_VISIBLE_DEVICES=) to run on the CPU"
        )
    name, n_bytes = json.loads(asked.stdout.splitlines()[-1])
    return name, n_bytes / GIB


def gpu_in_sight(
    nvml: Any = pynvml,
    cuda: Any = torch.cuda,
    environment: Mapping[str, str] = os.environ,
    elsewhere: Callable[[], Found] = asked_elsewhere,
) -> Found | None:
    """The first GPU that is visible to this process and that PyTorch can use; None without one."""
    if not cuda.is_available():  # counts devices, and makes no context
        return None
    if cuda.is_initialized():
        found = cuda.get_device_properties(0)
        return found.name, found.total_memory / GIB
    try:
        found = first_visible(nvml, environment)
    except NvmlUnavailableError:
        return elsewhere()
    return found or elsewhere()  # CUDA sees a GPU, so there is one


def first_visible(nvml: Any = pynvml, environment: Mapping[str, str] = os.environ) -> Found | None:
    """The first GPU or MIG slice that CUDA_VISIBLE_DEVICES leaves to this process, by NVML alone; None without one.

    Raises: NvmlUnavailableError.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlUnavailableError(str(error)) from None
    try:
        handle = _first(nvml, environment)
        return None if handle is None else (nvml.nvmlDeviceGetName(handle), _bytes(nvml, handle) / GIB)
    except nvml.NVMLError as error:
        raise NvmlUnavailableError(str(error)) from None
    finally:
        nvml.nvmlShutdown()


def _first(nvml: Any, environment: Mapping[str, str]) -> Any:
    """The handle of the first visible device; None for an empty list, and for a name that fits nothing, which ends
    CUDA's list."""
    first = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.startswith("MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(first)
        except nvml.NVMLError:
            return None
    devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    if first.startswith("GPU-"):  # CUDA takes the beginning of one, if it is no other's
        fitting = [device for device in devices if nvml.nvmlDeviceGetUUID(device).startswith(first)]
        return _slice_of(nvml, fitting[0]) if len(fitting) == 1 else None
    number = re.match(r"\+?\d+", first)
    if number is None or int(number[0]) >= len(devices):
        return None
    if environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        models = {nvml.nvmlDeviceGetName(device) for device in devices}
        if len(models) > 1:
            raise NvmlUnavailableError(f"CUDA orders {', '.join(sorted(models))} in its own way")
    return _slice_of(nvml, devices[int(number[0])])


def _slice_of(nvml: Any, device: Any) -> Any:
    """The first MIG slice of a GPU that is cut into slices, which is all that CUDA shows of it; else the GPU."""
    try:
        cut, _ = nvml.nvmlDeviceGetMigMode(device)
    except nvml.NVMLError:  # a model that knows no slices
        return device
    if not cut:
        return device
    for i in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            return nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, i)
        except nvml.NVMLError:  # none in this place
            continue
    return None


def _bytes(nvml: Any, handle: Any) -> float:
    """What PyTorch sees: the total without what the driver keeps. NVML says 79.65 GiB of an H100, PyTorch 79.1."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return UNRESERVED * nvml.nvmlDeviceGetMemoryInfo(handle).total
    return memory.total - memory.reserved
