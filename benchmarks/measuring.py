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


class Child:
    """A process that works on request: one result of `work` after the other, None at its end.

    environment: what its environment has besides this process's own.
    """

    def __init__(self, work: Callable[..., Iterator[Any]], *arguments: Any, environment: dict[str, str] | None = None):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, work, *arguments), daemon=True)
        before = {name: os.environ.get(name) for name in environment or {}}
        os.environ.update(environment or {})
        try:
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()

    def ask(self) -> None:
        """Asks for the next result, without waiting for it."""
        self._pipe.send(True)

    def answer(self) -> Any:
        """Waits for the result that was asked for. Raises: EOFError if the process died."""
        return self._pipe.recv()

    def result(self) -> Any:
        """The next result."""
        self.ask()
        return self.answer()

    def end(self) -> int:
        """Ends the process, at once if it is at work; its exit code."""
        self._process.terminate()
        self._process.join()
        return self._process.exitcode or 0

    def join(self) -> None:
        self._process.join()


def serve(pipe: Any, work: Callable[..., Iterator[Any]], *arguments: Any) -> None:
    """A process's whole life: one result per request, None at the end; between two requests it is idle."""
    results, result = work(*arguments), ...
    while result is not None:
        pipe.recv()
        result = next(results, None)
        pipe.send(result)


def in_processes(
    work: Callable[..., Iterator[Any]], items: Sequence[Any], *arguments: Any, by_turns: bool = True
) -> list[list[Any]]:
    """What `work` yields for every item, each in a process of its own that is idle while another one works.

    They take turns, one result at a time, or run one after the other.
    """
    if not by_turns:
        return [in_processes(work, [item], *arguments)[0] for item in items]
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    results: list[list[Any]] = [[] for _ in items]
    children: dict[int, Child] = {}
    for i, item in enumerate(items):
        children[i] = Child(work, item, *arguments)
        _turn(children, results, i)
    while children:
        for i in list(children):
            _turn(children, results, i)
    return results


def _turn(children: dict[int, Child], results: list[list[Any]], i: int) -> None:
    result = children[i].result()
    if result is None:
        children.pop(i).join()
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
    """What figures depend on: device, cores, load average, versions."""
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
