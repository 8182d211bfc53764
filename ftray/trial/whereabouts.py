"""Where a trial's process runs, as its folder keeps it."""

from typing import Any

from ftray.nets.gpus import local_gpu
from ftray.results.provenance import machine


def whereabouts() -> dict[str, Any]:
    """The machine, the process, the GPU that it sees, and the versions in it."""
    gpu = local_gpu()
    return {**machine(), "gpu": gpu.name if gpu else None}
