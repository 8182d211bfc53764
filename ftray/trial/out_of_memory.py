"""Out of memory: told in words, noted in the trial's folder, and answered with the next smaller shape.

Takes: errors of PyTorch or of an env runner; a trial's folder. Gives: `OutOfMemoryError`, the `Shape` to go on with.
"""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import torch

from ftray.agent.out_of_memory import out_of_memory_in
from ftray.errors import OutOfMemoryError
from ftray.metrics import USED_GIB
from ftray.runs import TrialFolder
from ftray.spec import to_mapping
from ftray.trial.shape import WHOLE, Shape
from ftray.trial.spec import TrialSpec
from ftray.vram.plan import VramPlan

LEARNER = "learner"


@contextlib.contextmanager
def told_out_of_memory(spec: TrialSpec, shape: Shape) -> Iterator[None]:
    """Whatever says within the block that memory ran out, becomes an `OutOfMemoryError` that says what to do."""
    try:
        yield
    except Exception as error:
        told = str(error) if isinstance(error, OutOfMemoryError) else out_of_memory_in(error)
        if told is None:
            raise
        process = getattr(error, "process", LEARNER)
        raise OutOfMemoryError(
            f"a trial must fit into the memory that it may use, and its {process} did not with {shape.describe(spec)}: "
            f"{told}. The last checkpoint is kept: go on from there with a smaller shape.",
            process,
        ) from error


def shape_of(folder: TrialFolder) -> Shape:
    """The shape that a trial is to go on with: its own folder knows how often it did not fit."""
    earlier = folder.out_of_memories()
    return Shape(**(earlier[-1]["next"] or earlier[-1]["shape"])) if earlier else WHOLE


def step_down(
    folder: TrialFolder, spec: TrialSpec, shape: Shape, error: OutOfMemoryError, plan: VramPlan | None = None
) -> Shape | None:
    """Notes in the trial's folder that a shape was too large, as the trial's own process; the next one, if any."""
    smaller, is_learner = shape.smaller(spec), error.process == LEARNER
    folder.out_of_memory(
        process=error.process,
        predicted_gib=plan and (plan.learner_gib if is_learner else plan.env_runner_gib),
        observed_gib=peak_gib() if is_learner else None,  # what an env runner held, it took with it
        shape=to_mapping(shape),
        next=to_mapping(smaller),
        error=str(error),
    )
    return smaller


def never_fitted(folder: TrialFolder, spec: TrialSpec) -> str:
    """Why a trial failed that found no smaller shape: everything that was tried, and what it took."""
    tried = [
        f"{Shape(**event['shape']).describe(spec)} ({_gib(event['predicted_gib'])} predicted, "
        f"{_gib(event['observed_gib'])} observed)"
        for event in folder.out_of_memories()
    ]
    return (
        f"out of memory in every shape; tried: {'; '.join(tried)}. Choose a smaller trial.encoder or "
        "trial.ppo.minibatch_size, fewer trials per GPU, or a GPU with more memory."
    )


def memory_in_use() -> dict[str, float]:
    """What a trial's row tells of the GPU memory of its own process, the learner's; nothing without a GPU."""
    used = peak_gib()
    return {} if used is None else {USED_GIB: used}


def release_memory() -> None:
    """Gives back what a trial that ran out of memory still holds in this process, before it goes on here."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    """The most GPU memory that this process held at once, in GiB, as its allocator counts; None without a GPU."""
    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_initialized() else None


def _gib(value: Any) -> str:
    return "unknown" if value is None else f"{value:.2f} GiB"
