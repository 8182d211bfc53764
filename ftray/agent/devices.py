"""A process's share of a GPU: what it booked, the cap on what it may allocate, and proof that it stayed within.

Ray books fractions of a GPU and enforces none of them: a process may allocate what it likes, and one that booked
nothing still sees every GPU of its node.
"""

import dataclasses
from collections.abc import Mapping

import torch

from ftray.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class GpuShares:
    """What the processes of a trial book on a GPU, and what each may allocate; all fractions of one GPU.

    learner, env_runner: 1/k, or 0 for the CPU.
    learner_cap, env_runner_cap: of the GPU's memory, for PyTorch's allocator: a share without reserve and CUDA context.
    """

    learner: float = 0.0
    env_runner: float = 0.0
    learner_cap: float = 0.0
    env_runner_cap: float = 0.0


NO_GPU = GpuShares()


def claim(cap: float) -> None:
    """Caps what this process may allocate on its GPU, as a fraction of its memory; 0 leaves a CPU process alone.

    Beyond the cap PyTorch raises its out-of-memory error here, in the process that asked for too much, and not in a
    neighbour's.
    """
    if cap > 0:
        torch.cuda.set_per_process_memory_fraction(cap, 0)


@dataclasses.dataclass(frozen=True)
class Footing:
    """Where a process's module lies. touched_cuda: whether the process has a CUDA context, of whatever size."""

    device: str
    touched_cuda: bool

    @classmethod
    def of(cls, module: torch.nn.Module) -> "Footing":
        return cls(next(module.parameters()).device.type, torch.cuda.is_initialized())


def check_footing(found: Mapping[str, tuple[Footing, float]]) -> None:
    """Proves that exactly those processes use a GPU that booked one. found: by process, its footing and its booking.

    Raises: TrainingError naming the processes and what each booked.
    """
    wrong = []
    for who, (footing, booked) in found.items():
        if booked == 0 and (footing.device == "cuda" or footing.touched_cuda):
            wrong.append(f"{who} uses a CUDA device and booked none")
        elif booked > 0 and footing.device != "cuda":
            wrong.append(f"{who} booked {booked:.3g} of a GPU and computes on the {footing.device}")
    if wrong:
        raise TrainingError(
            f"a process must use the GPU that it booked and no other: {'; '.join(wrong)}. Neighbours on that GPU would "
            "run out of memory; check `ftray vram` and CUDA_VISIBLE_DEVICES."
        )
