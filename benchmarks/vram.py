"""The memory of one worker, row by row of the VRAM table: for inference and for a training step."""

from collections.abc import Iterator
from typing import Any

from measuring import Meter, table

from ftray.nets import FTSpec
from ftray.spec import to_mapping
from ftray.vram.measuring import TrainingStep
from ftray.vram.table import REFERENCE, TABLE, Worker

PROMISED = {row.worker: row.gib for row in TABLE}
WORKERS = tuple(PROMISED)
LITERAL = Worker(FTSpec(patch_length=1), REFERENCE)
"""For a GPU: on a CPU a minibatch takes minutes."""


def worker_memory(worker: Worker, device: str) -> Iterator[dict[str, float | None]]:
    """Bytes that a worker needs for inference, and for a training step: forward, backward and optimiser.

    None where they are more than the GPU has.
    """
    import torch

    meter = Meter(device)
    needed: dict[str, float | None] = {"inference_bytes": None, "training_bytes": None}
    try:
        step = TrainingStep(worker, device)
        for name, work in {"inference": step.infer, "training": step.train}.items():
            for _ in range(2):
                meter.seconds(work)
            needed[f"{name}_bytes"] = meter.peak()
    except torch.OutOfMemoryError:
        pass
    yield needed


def worker_row(worker: Worker, needed: dict[str, float | None]) -> dict[str, Any]:
    """What a worker is, what it is promised in GiB, and what it needed."""
    return {
        "name": worker.name,
        "encoder": to_mapping(worker.encoder),
        "promised": PROMISED.get(worker),
        "batch": worker.minibatch,
        "features": worker.layout.size,
        **needed,
    }


COLUMNS = {
    "worker": lambda row: row["name"],
    "inference": lambda row: _gib(row["inference_bytes"], "out of memory"),
    "training step": lambda row: _gib(row["training_bytes"], "out of memory"),
    "promised per worker": lambda row: _gib(row["promised"] and row["promised"] * 2**30, "nothing"),
}


def _gib(size: float | None, otherwise: str) -> str:
    return otherwise if size is None else f"{size / 2**30:.2f} GiB"


def worker_table(rows: list[dict[str, Any]]) -> str:
    return table(COLUMNS, rows)
