"""Out of memory: described, recorded in the trial's folder, and followed by a retry with the next smaller memory plan.

Takes: errors of PyTorch or of an env runner; a trial's folder. Gives: `OutOfMemoryError`, the plan to retry with.
"""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import torch

from ftray.agent.memory_errors import out_of_memory_in
from ftray.errors import OutOfMemoryError
from ftray.metrics import USED_GIB
from ftray.runs import TrialFolder
from ftray.spec import to_mapping
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.spec import TrialSpec
from ftray.vram.plan import VramPlan

LEARNER = "learner"


@contextlib.contextmanager
def translate_out_of_memory(spec: TrialSpec, memory_plan: MemoryPlan) -> Iterator[None]:
    """Translates every out-of-memory error in the block to an `OutOfMemoryError` that explains what to do.

    Raises: OutOfMemoryError.
    """
    try:
        yield
    except Exception as error:
        line = str(error) if isinstance(error, OutOfMemoryError) else out_of_memory_in(error)
        if line is None:
            raise
        process = getattr(error, "process", LEARNER)
        raise OutOfMemoryError(
            f"a trial must fit into the memory that it may use, and its {process} did not with "
            f"{memory_plan.describe(spec)}: {line}. The last checkpoint is kept: retry from there with a smaller "
            "memory plan.",
            process,
        ) from error


def memory_plan_of(folder: TrialFolder) -> MemoryPlan:
    """The memory plan that a trial is to continue with: its own folder records how often it ran out of memory."""
    earlier = folder.out_of_memories()
    return MemoryPlan(**(earlier[-1]["next"] or earlier[-1]["shape"])) if earlier else FULL


def step_down(
    folder: TrialFolder, spec: TrialSpec, memory_plan: MemoryPlan, error: OutOfMemoryError, plan: VramPlan | None = None
) -> MemoryPlan | None:
    """Records in the trial's folder, from its process, that a memory plan was too large; returns the next, if any."""
    smaller, is_learner = memory_plan.smaller(spec), error.process == LEARNER
    folder.out_of_memory(
        process=error.process,
        predicted_gib=plan and (plan.learner_gib if is_learner else plan.env_runner_gib),
        observed_gib=peak_gib() if is_learner else None,  # an env runner that died no longer reports its own
        shape=to_mapping(memory_plan),
        next=to_mapping(smaller),
        error=str(error),
    )
    return smaller


def never_fitted(folder: TrialFolder, spec: TrialSpec) -> str:
    """Why a trial failed when no memory plan is small enough: all that was tried, and the GiB it used."""
    tried = [
        f"{MemoryPlan(**event['shape']).describe(spec)} ({_gib(event['predicted_gib'])} predicted, "
        f"{_gib(event['observed_gib'])} observed)"
        for event in folder.out_of_memories()
    ]
    return (
        f"out of memory with every memory plan; tried: {'; '.join(tried)}. Choose a smaller trial.encoder or "
        "trial.ppo.minibatch_size, fewer trials per GPU, or a GPU with more memory."
    )


def memory_in_use() -> dict[str, float]:
    """The GPU memory of a trial's own process, the learner's, as a metric; empty without a GPU."""
    used = peak_gib()
    return {} if used is None else {USED_GIB: used}


def release_memory() -> None:
    """Frees what a trial that ran out of memory still holds in this process, before its retry here."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    """The most GPU memory that this process held at once, in GiB, as its allocator counts; None without a GPU."""
    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_initialized() else None


def _gib(value: Any) -> str:
    return "unknown" if value is None else f"{value:.2f} GiB"
