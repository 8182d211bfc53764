"""The steps of benchmarks/gpu.py on one process at a time, torch alone: the card, memory, contexts, caps, speed.

Each is a generator of rows. On a CPU they run the same processes at small sizes; what only a GPU has is left out.
"""

import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from measuring import Child, Meter, machine

from ftray.nets import PRESETS, FTSpec, MLPSpec
from ftray.vram.table import GIB, REFERENCE, TABLE, Worker

PACKAGES = ("torch", "numpy", "einops")
Row = dict[str, Any]

SECONDS = {False: 2.0, True: 0.3}
"""How long a speed is measured for, by `quick`."""
CAP_GIB, BLOCK = 2.0, 32 * 2**20
"""The cap that a process claims, and the bytes of the blocks that it then takes until there are no more."""

MLP = Worker(MLPSpec(), REFERENCE)
BALANCED = Worker(PRESETS["balanced"], REFERENCE)
SPEEDS = {
    "MLP-512": MLP,
    "FT small": Worker(PRESETS["small"], REFERENCE),
    "FT balanced": BALANCED,
    "FT large": Worker(PRESETS["large"], REFERENCE),
    "FT balanced, patch 12": Worker(FTSpec(patch_length=12), REFERENCE),
    "FT balanced, patch 1": Worker(FTSpec(patch_length=1), REFERENCE),
}
MODES = ("float32", "TF32", "TF32, graph")


def small(worker: Worker) -> Worker:
    """The same work in a size that a CPU does in a moment."""
    return dataclasses.replace(worker, minibatch=4, no_grad=4, n_bars=500, n_samples=64)


def facts(device: str, quick: bool) -> Iterator[Row]:
    """The card and the software on it, and the rates that everything else is compared with."""
    import torch

    yield machine(device, PACKAGES)
    if device == "cuda":
        fields = "name,driver_version,memory.total,memory.used,mig.mode.current,compute_mode,clocks.sm,power.limit"
        yield {"nvidia-smi": output_of("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")}
        yield {"nvidia-smi -L": output_of("nvidia-smi", "-L"), "mps": shutil.which("nvidia-cuda-mps-control")}
        seen = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        yield {
            "gib": seen.total_memory / GIB,
            "free_gib": free / GIB,
            "total_gib": total / GIB,
            "capability": list(torch.cuda.get_device_capability()),
            "cuda": torch.version.cuda,
            "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
        }
    yield {"matrix_rates": matrix_rates(device, 1_024 if quick or device == "cpu" else 8_192)}


def matrix_rates(device: str, n: int) -> dict[str, float]:
    """Floating-point operations per second of an n × n product."""
    import torch

    meter, rates = Meter(device), {}
    for name, dtype in {"float32": torch.float32, "TF32": torch.float32, "bfloat16": torch.bfloat16}.items():
        with precision(name):
            a, b = torch.randn(2, n, n, device=device, dtype=dtype)
            meter.seconds(lambda a=a, b=b: a @ b, 3)
            rates[name] = 2 * n**3 / meter.seconds(lambda a=a, b=b: a @ b, 10)
    return rates


@contextlib.contextmanager
def precision(mode: str) -> Iterator[None]:
    """float32 products in TF32 where the mode's name says so."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode.startswith("TF32")
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def memory(device: str, quick: bool) -> Iterator[Row]:
    """What each worker of the VRAM table takes, and whether its row is kept."""
    from ftray.vram.measuring import TrainingStep, measure
    from ftray.vram.table import predicted

    rows = [row.worker for row in TABLE]
    asked = [*rows, Worker(MLPSpec(), REFERENCE, minibatch=64), Worker(FTSpec(patch_length=1), REFERENCE, minibatch=64)]
    asked += [Worker(FTSpec(patch_length=12), REFERENCE)]
    if device == "cpu":  # a CPU's memory is another matter: only the work is done
        for worker in asked[: 2 if quick else None]:
            TrainingStep(small(worker), device).train()
            yield {"worker": worker.name, "gib": None}
        return
    for worker, found in measure(asked):
        gib, source = predicted(worker)
        row: Row = {"worker": worker.name, "promised_gib": gib, "source": source, "gib": None}
        if found is not None:
            reserved, context = found.reserved_bytes / GIB, found.context_bytes / GIB
            row |= {"gib": reserved + context, "reserved_gib": reserved, "context_gib": context}
            row["kept"] = row["gib"] <= gib
        yield row


def held(device: str, worker: Worker) -> Iterator[Row]:
    """A process on its way to a training step; each row says what PyTorch holds."""
    import torch

    from ftray.vram.measuring import TrainingStep

    def row(stage: str) -> Row:
        if device == "cuda":
            torch.cuda.synchronize()
        return {"stage": stage, "reserved": torch.cuda.memory_reserved() if device == "cuda" else 0}

    if device == "cuda":
        torch.cuda.init()
    yield row("bare")
    kept = torch.ones(1, device=device)
    yield row("a tensor")
    kept = kept[:, None] @ kept[None]
    yield row("a matrix product")
    step = TrainingStep(worker, device)
    yield row("the model")
    for _ in range(3):
        step.train()
    yield row("training steps")
    step.infer()
    yield row("a pass without gradients")
    del kept


def contexts(device: str, quick: bool) -> Iterator[Row]:
    """What a process takes besides what PyTorch reserves, stage by stage, as another process sees it."""
    import torch

    cases = [("LAZY", "MLP-512"), ("LAZY", "FT balanced"), ("EAGER", "FT balanced")]
    for loading, name in cases[: 1 if quick else None]:
        sized = small(SPEEDS[name]) if device == "cpu" else SPEEDS[name]
        before = torch.cuda.mem_get_info()[0] if device == "cuda" else 0
        child = Child(held, device, sized, environment={"CUDA_MODULE_LOADING": loading})
        while (stage := child.result()) is not None:
            taken = before - torch.cuda.mem_get_info()[0] if device == "cuda" else 0
            context = (taken - stage["reserved"]) / GIB
            yield {"loading": loading, "worker": name, "stage": stage["stage"], "context_gib": context}
        child.join()


def fill(device: str, gib: float) -> Iterator[Row]:
    """A process that claims its cap and takes blocks until it is refused; then it gives all back and goes on."""
    import torch

    from ftray.agent.devices import cap_gpu_memory

    if device == "cuda":
        cap_gpu_memory(gib, torch.cuda.get_device_properties(0).total_memory / GIB)
    yield {"claimed_gib": gib}
    blocks: list[torch.Tensor] = []
    error = None
    try:
        while device == "cuda" or len(blocks) < 2:
            blocks.append(torch.empty(BLOCK, dtype=torch.uint8, device=device))
    except torch.OutOfMemoryError as refused:
        error = str(refused).splitlines()[0]
    reserved = torch.cuda.memory_reserved() / GIB if device == "cuda" else len(blocks) * BLOCK / GIB
    yield {"reserved_gib": reserved, "error": error}
    blocks.clear()
    if device == "cuda":
        torch.cuda.empty_cache()
    a = torch.ones(256, 256, device=device)
    yield {"after": float((a @ a).sum()), "still": torch.cuda.memory_reserved() / GIB if device == "cuda" else 0.0}


def caps(device: str, quick: bool) -> Iterator[Row]:
    """A process at its cap: refused there and not before, its neighbour unharmed; what the driver counts for both."""
    from ftray.vram.table import CONTEXT_GIB

    greedy, neighbour, before = Child(fill, device, CAP_GIB), Child(fill, device, CAP_GIB), free_gib(device)
    yield {"greedy": greedy.result(), "neighbour": neighbour.result()}
    full = greedy.result()
    yield full | {"of_cap": full["reserved_gib"] / CAP_GIB, "both_take_gib": before - free_gib(device)}
    if device == "cuda":
        counted = output_of("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
        yield {"driver_counts": counted, "share_gib": CAP_GIB + CONTEXT_GIB}
    yield {"neighbour at its cap": neighbour.result()}
    yield {"greedy afterwards": greedy.result(), "neighbour afterwards": neighbour.result()}
    greedy.end(), neighbour.end()


def speed(device: str, worker: Worker, modes: tuple[str, ...], seconds: float) -> Iterator[Row]:
    """Training steps per second of one worker alone, mode by mode, and its arithmetic."""
    from torch.utils.flop_counter import FlopCounterMode

    from ftray.vram.measuring import TrainingStep

    for mode in modes:
        with precision(mode):
            step, meter = TrainingStep(worker, device), Meter(device)
            with FlopCounterMode(display=False) as counter:
                step.train()
            work = graphed(step) if mode.endswith("graph") else step.train
            once = meter.seconds(work, 3)
            each = meter.seconds(work, max(1, int(seconds / once)))
            flops, gib = counter.get_total_flops(), meter.peak() / GIB
        yield {"mode": mode, "steps_per_second": 1.0 / each, "flops_per_second": flops / each, "reserved_gib": gib}
        del step, work


def graphed(step: Any) -> Callable[[], None]:
    """A training step as one CUDA graph: what it would take without a launch per kernel."""
    import torch

    for group in step.optimiser.param_groups:
        group["capturable"] = True
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step.train()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step.train()
    return graph.replay


def speeds(device: str, quick: bool) -> Iterator[Row]:
    """Training steps per second of every encoder, in every mode, and their ratio to the MLP's in the same mode."""
    base: dict[str, float] = {}
    modes = MODES[:1] if device == "cpu" else MODES
    for name, worker in SPEEDS.items():
        if device == "cpu" and worker.encoder == FTSpec(patch_length=1):
            continue  # even the smallest batch of it takes a minute there
        sized = small(worker) if device == "cpu" else worker
        child = Child(speed, device, sized, modes, SECONDS[quick])
        try:
            while (row := child.result()) is not None:
                base.setdefault(row["mode"], row["steps_per_second"])
                yield {"worker": name, **row, "times_the_mlp": base[row["mode"]] / row["steps_per_second"]}
        except EOFError:
            yield {"worker": name, "error": f"the process ended with {child.end()}"}
        child.end()


def free_gib(device: str) -> float:
    import torch

    return torch.cuda.mem_get_info()[0] / GIB if device == "cuda" else 0.0


def output_of(*command: str) -> str:
    """What a program prints; why not, where it cannot."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"


STEPS = {"facts": facts, "memory": memory, "contexts": contexts, "caps": caps, "speeds": speeds}
