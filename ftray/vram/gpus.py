"""GPUs: the one at hand, those that people and Ray name, and what was measured on them.

Takes: a model's name as PyTorch, Ray or a person writes it, or a number of GiB. Gives: a `Gpu`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ftray.errors import SpecError
from ftray.files import cache_dir
from ftray.spec import nearest
from ftray.vram.gpu_models import CONTEXTS, MODELS, canonical_name, gib_of
from ftray.vram.nvml import gpu_in_sight
from ftray.vram.table import CONTEXT_GIB, GIB, SLACK, Worker, beyond_reference, predicted

RESERVE = 0.11
"""Of the memory that a GPU reports, left to the driver, other processes and an allocator's fragments."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a worker of that `Worker.key` took: bytes that PyTorch reserved, and the size of the CUDA context.

    at: when it was measured, ISO 8601; empty where it was not noted.
    """

    key: str
    reserved_bytes: int
    context_bytes: int
    at: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU model. gib: what it reports, as PyTorch sees it. measured: workers that were measured on one of these."""

    name: str
    gib: float
    measured: tuple[Measured, ...] = ()

    @property
    def usable_gib(self) -> float:
        """What can be shared out: all but the reserve."""
        return (1.0 - RESERVE) * self.gib

    @property
    def context_gib(self) -> float:
        """A process's CUDA context: the largest that was measured on this GPU, or on its model."""
        known = CONTEXTS.get(self.name.split()[0], CONTEXT_GIB)
        return max((row.context_bytes / GIB for row in self.measured), default=known)

    def needs(self, worker: Worker) -> tuple[float, str]:
        """GiB that a worker needs, CUDA context included, and where the number comes from.

        `measured` beats `table` beats `formula`.
        """
        for row in self.measured:
            if row.key == worker.key:
                return (SLACK * row.reserved_bytes + row.context_bytes) / GIB + beyond_reference(worker), "measured"
        return predicted(worker, self.context_gib)

    def with_rows(self, rows: tuple[Measured, ...]) -> "Gpu":
        """With rows that count before those of the same key that it has."""
        merged = {row.key: row for row in (*self.measured, *rows)}
        return dataclasses.replace(self, measured=tuple(merged.values()))

    def to_mapping(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Gpu":
        rows = tuple(Measured(**row) for row in mapping["measured"])
        return cls(str(mapping["name"]), float(mapping["gib"]), rows)


def local_gpu() -> Gpu | None:
    """The GPU of this process, the first that CUDA_VISIBLE_DEVICES leaves it, with what was measured on its model.

    None where there is none, or none that PyTorch can use. Never initialises CUDA: a process that booked no GPU takes
    no memory of one by asking. NVML answers; see `ftray.vram.nvml` for where it cannot.
    """
    if torch.version.cuda is None:
        return None
    found = gpu_in_sight()
    return known_gpu(*found) if found else None


def parse_gpu(text: str) -> Gpu:
    """The GPU that a person names, by its model or by its GiB alone.

    Raises: SpecError with the known models.

    >>> parse_gpu("rtx-3060").gib, parse_gpu("NVIDIA A100-SXM4-80GB").name, parse_gpu("12").gib
    (11.76, 'A100 80G', 12.0)
    """
    try:
        gib = float(text.lower().removesuffix("gib").removesuffix("gb"))
    except ValueError:
        gpu = model(text)
        if gpu is None:
            raise SpecError(
                f"no known GPU {text!r}; {nearest(canonical_name(text), MODELS)}. For another one give the GiB that it "
                "reports"
            ) from None
        return gpu
    if not 0 < gib < math.inf:
        raise SpecError(f"a GPU has a finite number of GiB above 0, got {text}")
    return Gpu(f"GPU of {gib:g} GiB", gib)


def model(name: str) -> Gpu | None:
    """The GPU of that model, if it is known."""
    gib = gib_of(canonical_name(name))
    return None if gib is None else known_gpu(name, gib)


def known_gpu(name: str, gib: float) -> Gpu:
    """A GPU with what was measured on its model."""
    name = canonical_name(name)
    return Gpu(name, gib, read_measured(name))


def measured_file(name: str) -> Path:
    """Where what was measured on a GPU model is kept."""
    return cache_dir() / "vram" / measured_name(name)


def measured_name(name: str) -> str:
    """The name of a GPU model's file of measured rows."""
    return f"{canonical_name(name).replace('/', '-')}.json"


def read_measured(name: str) -> tuple[Measured, ...]:
    """What was measured on a GPU model; nothing where nothing was.

    Raises: SpecError for a file that cannot be read.
    """
    path = measured_file(name)
    try:
        return parse_measured(path.read_text(), path)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} must be readable ({error}): delete it and measure again") from None


def parse_measured(text: str | bytes, source: Path | str) -> tuple[Measured, ...]:
    """The rows of a file of measured rows. Raises: SpecError, naming `source`, for anything else."""
    try:
        content = json.loads(text)
        return tuple(Measured(**{"at": content.get("at", ""), **row}) for row in content["rows"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{source} must hold what was measured on a GPU ({error}): delete it and measure again"
        ) from None
