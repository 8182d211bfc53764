"""Whether PyTorch can use a GPU: a process of its own computes on it; and what is wrong, as text.

Takes: nothing. Gives: `GpuFacts`.
"""

import contextlib
import dataclasses
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import torch

from ftray.vram.table import GIB

DRIVERS = {11: 450, 12: 525, 13: 580}
"""The oldest driver that serves a CUDA major version, by NVIDIA's notes on minor version compatibility."""

SMALLER = 0.98
"""A GPU with less than this part of the memory that was planned with is another one than was planned for."""


@dataclasses.dataclass(frozen=True)
class GpuFacts:
    """What a process sees of its GPU.

    torch: its version, empty where not even that is known. cuda: the version that it is built for, empty for a build
    without. gib: as PyTorch sees it. error: why the GPU is of no use; empty where it computed.
    """

    torch: str
    cuda: str = ""
    driver: str = ""
    device: str = ""
    gib: float = 0.0
    error: str = ""

    @property
    def usable(self) -> bool:
        return not self.error

    def to_mapping(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def probe_gpu() -> GpuFacts:
    """Computes on the process's GPU. To be called where CUDA may be initialised: it holds a context from then on."""
    facts = GpuFacts(str(torch.__version__), torch.version.cuda or "", driver_version())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            if not torch.cuda.is_available():
                said = [str(warning.message).splitlines()[0] for warning in warned]
                return dataclasses.replace(facts, error=(said or ["torch sees no CUDA device"])[0])
            square = torch.ones(64, 64, device="cuda")
            total = float((square @ square).sum())
            found = torch.cuda.get_device_properties(0)
            gib = found.total_memory / GIB
        except Exception as error:  # a driver, a library or a card may raise anything
            return dataclasses.replace(facts, error=(str(error) or repr(error)).splitlines()[0])
    wrong = "" if total == 64**3 else f"a product of two matrices of ones summed to {total:g}, not to {64**3}"
    return dataclasses.replace(facts, device=found.name, gib=round(gib, 2), error=wrong)


def driver_version() -> str:
    """The version of NVIDIA's driver, like 580.65.06; empty where none answers."""
    with contextlib.suppress(OSError):
        if found := re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", _kernel_module()):
            return found[1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout.split()
        return said[0] if said else ""
    return ""


def _kernel_module() -> str:
    return Path("/proc/driver/nvidia/version").read_text()


def why_unusable(facts: GpuFacts) -> str | None:
    """Why torch cannot use a GPU that is there, in words; None where it can."""
    if facts.usable:
        return None
    if not facts.torch:
        return f"the task that tries it fails with: {facts.error}"
    driver = f"this node has {facts.driver}" if facts.driver else "no driver answers on this node"
    if not facts.cuda:
        return f"torch {facts.torch} is built without CUDA ({driver}): {facts.error}"
    least = DRIVERS.get(int(facts.cuda.split(".")[0]))
    if least and (not facts.driver or int(facts.driver.split(".")[0]) < least):
        return f"torch {facts.torch} is built for CUDA {facts.cuda}, which needs driver {least} or later; {driver}"
    return f"torch {facts.torch} (CUDA {facts.cuda}, driver {facts.driver or 'unknown'}) fails with: {facts.error}"


def why_smaller(facts: GpuFacts, planned_gib: float) -> str | None:
    """What a plan assumed and what is there, where the GPU is smaller than planned."""
    if not facts.usable or facts.gib >= SMALLER * planned_gib:
        return None
    return f"the plan assumed {planned_gib:.2f} GiB and {facts.device} has {facts.gib:.2f}"
