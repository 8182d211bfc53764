"""Where a trial's process runs, as its folder keeps it."""

from typing import Any

from ftray.runs.provenance import machine
from ftray.vram.gpus import local_gpu


def whereabouts() -> dict[str, Any]:
    """The machine, the process, the GPU that it sees, and the versions in it."""
    gpu = local_gpu()
    return {**machine(), "gpu": gpu.name if gpu else None}
