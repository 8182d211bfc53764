"""A process's share of a GPU: what it booked, the cap on what it may allocate, and a check that it stayed within.

Ray books fractions of a GPU and enforces none of them: a process can allocate any amount, and one that booked
nothing still sees every GPU of its node.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import torch

from ftray.errors import TrainingError
from ftray.vram.probe import SMALLER
from ftray.vram.table import GIB


def cap_gpu_memory(cap_gib: float, planned_gib: float, cuda: Any = torch.cuda) -> None:
    """Caps what this process may allocate on the GPU that it holds; a cap of 0 leaves a CPU process alone.

    Beyond the cap PyTorch raises its out-of-memory error here, in the process that asked for too much, and not in a
    neighbour's. The cap is a fraction of the GPU at hand, whatever its name promised: Ray names a MIG slice and a vGPU
    after the whole card.

    Raises: TrainingError where there is no GPU, and for one smaller than planned: the shares that others booked there
        are too large as well.
    """
    if cap_gib <= 0:
        return
    if not cuda.is_available():
        raise TrainingError(
            "the job booked a share of a GPU, and torch sees no CUDA device here: check that node's driver and its "
            "build of PyTorch, or hide the GPUs from the driver (CUDA_VISIBLE_DEVICES=) to run on CPUs"
        )
    gib = cuda.get_device_properties(0).total_memory / GIB
    if gib < SMALLER * planned_gib:
        raise TrainingError(
            f"a job needs a GPU of at least the planned {planned_gib:.2f} GiB, and this process's has {gib:.2f} GiB. "
            "Ray names MIG slices, vGPUs and models of several sizes after the whole or the usual card: start that "
            f"node with its own memory (ray start --labels ftray/gpu-gib={gib:.2f}, or labels: in the cluster file)"
        )
    cuda.set_per_process_memory_fraction(min(1.0, cap_gib / gib), 0)


def hide_gpus() -> None:
    """Leaves no GPU visible to this process, which booked none. To be called before anything asks CUDA.

    Ray leaves them visible, and libraries make contexts on what they see.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclasses.dataclass(frozen=True)
class DevicePlacement:
    """Where a process's module lies. touched_cuda: whether the process has a CUDA context, of whatever size."""

    device: str
    touched_cuda: bool

    @classmethod
    def of(cls, module: torch.nn.Module) -> "DevicePlacement":
        return cls(next(module.parameters()).device.type, torch.cuda.is_initialized())


def check_devices(found: Mapping[str, tuple[DevicePlacement, float]]) -> None:
    """Proves that exactly those processes use a GPU that booked one. found: by process, its placement and its booking.

    Raises: TrainingError naming the processes and what each booked.
    """
    wrong = []
    for who, (placement, booked) in found.items():
        if booked == 0 and (placement.device == "cuda" or placement.touched_cuda):
            wrong.append(f"{who} uses a CUDA device and booked none")
        elif booked > 0 and placement.device != "cuda":
            wrong.append(f"{who} booked {booked:.3g} of a GPU and computes on the {placement.device}")
    if wrong:
        raise TrainingError(
            f"a process must use the GPU that it booked and no other: {'; '.join(wrong)}. Neighbours on that GPU would "
            "run out of memory; check `ftray vram` and CUDA_VISIBLE_DEVICES."
        )
