"""What workers need of a cluster's GPUs, measured there: one Ray task per GPU model, each on a GPU of its own.

Takes: a cluster's nodes, workers. Gives: lines, and rows in `RUNS/vram/MODEL.json`, which plans of studies there use.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ftray.capacity.nodes import RESOURCE, Node
from ftray.capacity.placement import PIN
from ftray.errors import ClusterError, SpecError
from ftray.storage import Location
from ftray.vram.gpus import Gpu, Measured
from ftray.vram.measuring import describe_measured, measure
from ftray.vram.rows import save_rows
from ftray.vram.table import Worker

PATIENCE = 1800.0
"""Seconds for all models together: a node may have to come first, and all that uses a GPU must have left it."""

Found = list[tuple[Worker, Measured | None]]
Measure = Callable[[Iterable[Worker]], Iterable[tuple[Worker, Measured | None]]]


def measure_on_cluster(
    nodes: Sequence[Node],
    workers: Sequence[Worker],
    runs: Location,
    measure: Measure = measure,
    patience: float = PATIENCE,
) -> Iterator[str]:
    """Measures workers on one GPU of each model of the running Ray; stores the rows in `runs` as each model is done.

    Nodes that an autoscaler may add are brought up. measure: what is done on the GPU, as `ftray.vram.measuring` does.

    Raises: SpecError without GPUs; ClusterError, after all others are done, for models that could not be measured.
    """
    kinds = gpu_models(nodes)
    if not kinds:
        raise SpecError("measuring needs GPUs, and this cluster has none: run it where there are some")
    pending = {_task(node, pinned=len(kinds) > 1).remote(measure, list(workers)): gpu for gpu, node in kinds}
    yield f"measuring {len(workers)} workers on {', '.join(gpu.name for gpu, _ in kinds)}"
    end, failed = time.monotonic() + patience, list[str]()
    while pending:
        ready, _ = ray.wait(list(pending), timeout=max(0.0, end - time.monotonic()))
        if not ready:
            break
        gpu = pending.pop(ready[0])
        try:
            found = _rows(ready[0])
        except ClusterError as error:
            failed.append(f"{gpu.name}: {error}")
            continue
        yield f"\n{gpu.name}"
        yield from describe_measured(found)
        place = save_rows(runs, gpu, [row for _, row in found if row is not None])
        yield f"stored in {place}, for every plan of a study in {runs}"
    for ref, gpu in pending.items():
        ray.cancel(ref, force=True)
        failed.append(f"{gpu.name}: no whole GPU was free, or not done, within {patience:g} s")
    if failed:
        raise ClusterError(f"each GPU model must be measured, but {'; '.join(failed)}. What was measured is stored")


def gpu_models(nodes: Iterable[Node]) -> list[tuple[Gpu, Node]]:
    """The GPU models of a cluster, each with a kind of node that has it.

    Raises: SpecError for several models, of which Ray does not know one by its accelerator type.
    """
    found: dict[str, Node] = {}
    for node in nodes:
        if node.gpu is not None and (node.gpu.name not in found or node.accelerator):
            found[node.gpu.name] = node
    nameless = [name for name, node in found.items() if not node.accelerator]
    if nameless and len(found) > 1:
        raise SpecError(
            f"of several GPU models each must be known to Ray, and {', '.join(nameless)} is not: give its nodes the "
            f"resource {RESOURCE}NAME"
        )
    return [(node.gpu, node) for node in found.values() if node.gpu is not None]


def _task(node: Node, pinned: bool) -> Any:
    """A whole GPU, so that nothing else runs on it; pinned to the model where there are several.

    Its process ends with the task and gives all memory back.
    """
    resources = {f"{RESOURCE}{node.accelerator}": PIN} if pinned else {}
    return ray.remote(num_gpus=1, num_cpus=1, max_calls=1, max_retries=1, resources=resources)(_measured)


def _measured(measure: Measure, workers: Sequence[Worker]) -> Found:
    return list(measure(workers))


def _rows(ref: Any) -> Found:
    """Raises: ClusterError, in words, for what went wrong there."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        raise ClusterError(str(error.cause).splitlines()[0] if str(error.cause) else repr(error.cause)) from None
    except RayError as error:
        raise ClusterError((str(error).strip().splitlines() or [type(error).__name__])[0]) from None
