"""The step of benchmarks/gpu.py in which several processes share one GPU, torch alone."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_alone import BALANCED, SECONDS, Row, fill, free_gib, small
from measuring import Child, Meter

from ftray.vram.table import GIB, Worker

SHARERS = {False: (1, 2, 5, 10, 20), True: (1, 2)}
"""How many processes share the GPU, by `quick`."""


def sharer(device: str, worker: Worker, seconds: float) -> Iterator[Row]:
    """One of several processes on a GPU; each row is what it did in so many seconds."""
    import torch

    from ftray.vram.measuring import TrainingStep

    torch.set_num_threads(1)
    step, meter = TrainingStep(worker, device), Meter(device)
    meter.seconds(step.train, 3)
    yield {"reserved_gib": torch.cuda.memory_reserved() / GIB if device == "cuda" else 0.0}
    while True:
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            step.train()
            n += 1
            if device == "cuda" and n % 8 == 0:
                torch.cuda.synchronize()
        meter.seconds(lambda: None)
        yield {"steps_per_second": n / (time.perf_counter() - start)}


def sharing(device: str, quick: bool) -> Iterator[Row]:
    """Balanced learners that share the GPU, k at work at once: without MPS, then under it."""
    yield from shared_by(device, quick, {}, "time slices")
    if device == "cuda" and shutil.which("nvidia-cuda-mps-control"):
        with mps() as environment:
            yield from shared_by(device, quick, environment, "MPS")
            yield limited(environment)


def shared_by(device: str, quick: bool, environment: dict[str, str], how: str) -> Iterator[Row]:
    worker, n = (BALANCED if device == "cuda" else small(BALANCED)), max(SHARERS[quick])
    before = free_gib(device)
    children = [Child(sharer, device, worker, SECONDS[quick], environment=environment) for _ in range(n)]
    try:
        for child in children:
            child.ask()
        reserved = sum(child.answer()["reserved_gib"] for child in children)
        context = (before - free_gib(device) - reserved) / n
        yield {"how": how, "processes": n, "context_gib_each": context, "reserved_gib_each": reserved / n}
        alone = None
        for k in SHARERS[quick]:
            for child in children[:k]:
                child.ask()
            rates = [child.answer()["steps_per_second"] for child in children[:k]]
            alone = alone or sum(rates)
            found = {"at_work": k, "steps_per_second": sum(rates), "slowest": min(rates)}
            yield {"how": how, **found, "times_one": sum(rates) / alone}
    finally:
        for child in children:
            child.end()


@contextlib.contextmanager
def mps() -> Iterator[dict[str, str]]:
    """A daemon of our own, gone afterwards; the environment of its clients."""
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for path in environment.values():
            Path(path).mkdir()
        own = os.environ | environment
        subprocess.run(["nvidia-cuda-mps-control", "-d"], env=own, check=True, timeout=20)
        try:
            yield environment
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, env=own, timeout=30, check=False)


def limited(environment: dict[str, str]) -> Row:
    """A client beyond the memory that MPS grants it: how it is refused, and whether its neighbour goes on."""
    limit = {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=2G"}
    neighbour = Child(sharer, "cuda", BALANCED, 0.5, environment=environment)
    greedy = Child(fill, "cuda", 20.0, environment=environment | limit)
    try:
        neighbour.result(), greedy.result()
        found = greedy.result()
        return {"how": "MPS", "limit_gib": 2.0, **found, "neighbour": neighbour.result()}
    except EOFError:
        return {"how": "MPS", "limit_gib": 2.0, "error": f"the process ended with {greedy.end()}"}
    finally:
        neighbour.end(), greedy.end()


STEPS = {"sharing": sharing}
