"""What the benchmarks measure with: clock, peak memory, processes that take turns, and a table to print it in.

Linux: peak memory is read from /proc.
"""

import importlib.metadata
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

LOOKBACKS = {106: 1, 988: 10, 5_888: 60}
"""Bars of the reference market's window, by the floats of an observation."""


def reference_layout(features: int) -> Any:
    """Observations of 7 assets and 14 indicators."""
    from ftray.features import ObservationLayout

    return ObservationLayout(tuple("ABCDEFG"), tuple(f"indicator_{i}" for i in range(14)), LOOKBACKS[features])


class Meter:
    """A device's clock and peak memory.

    On a CPU seconds are processor time, which a busy machine stretches less than wall time, and bytes are resident
    memory above what the process held when the meter was made. On a GPU seconds are wall time and bytes are what
    PyTorch reserved (`torch.cuda.max_memory_reserved`): a CUDA context comes on top.
    """

    def __init__(self, device: str):
        self.cuda = device == "cuda"
        self.clock = time.perf_counter if self.cuda else time.process_time
        self.bare = 0
        if self.cuda:
            import torch

            torch.cuda.init()
        self.peak()
        self.bare = 0 if self.cuda else _resident("VmRSS")

    def peak(self) -> int:
        """Bytes above the bare process at the peak since the last call."""
        if self.cuda:
            import torch

            peak = torch.cuda.max_memory_reserved()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            peak = _resident("VmHWM")
            Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is the present size
        return peak - self.bare

    def seconds(self, work: Callable[[], Any], calls: int = 1) -> float:
        """Seconds per call."""
        self._wait()
        start = self.clock()
        for _ in range(calls):
            work()
        self._wait()
        return (self.clock() - start) / calls

    def _wait(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.synchronize()


def _resident(field: str) -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields[field].split()[0])


def serve(pipe: Any, work: Callable[..., Iterator[Any]], *arguments: Any) -> None:
    """A process's whole life: one result per request, None at the end."""
    for result in work(*arguments):
        pipe.recv()
        pipe.send(result)
    pipe.recv()
    pipe.send(None)


def in_processes(
    work: Callable[..., Iterator[Any]], items: Sequence[Any], *arguments: Any, by_turns: bool = True
) -> list[list[Any]]:
    """What `work` yields for every item, each in a process of its own that is idle while another one works.

    They take turns, one result at a time, or run one after the other.
    """
    if not by_turns:
        return [in_processes(work, [item], *arguments)[0] for item in items]
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    context, pipes, processes, results = multiprocessing.get_context("spawn"), {}, [], [[] for _ in items]
    for i, item in enumerate(items):
        pipes[i], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, work, item, *arguments), daemon=True))
        processes[i].start()
        theirs.close()
        _turn(pipes, results, i)
    while pipes:
        for i in list(pipes):
            _turn(pipes, results, i)
    for process in processes:
        process.join()
    return results


def _turn(pipes: dict[int, Any], results: list[list[Any]], i: int) -> None:
    pipes[i].send(True)
    result = pipes[i].recv()
    if result is None:
        del pipes[i]
    else:
        results[i].append(result)


def table(columns: dict[str, Callable[[dict[str, Any]], str]], rows: list[dict[str, Any]]) -> str:
    """Lines of aligned columns, the first one flush left."""
    lines = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))])
        for line in lines
    )


def machine(device: str, packages: tuple[str, ...]) -> dict[str, Any]:
    """What figures must be read beside: device, cores, load average, versions."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else next(iter(models), platform.machine()),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }
