"""A limit on waiting: Ray silently keeps a request pending for ever that no node can grant."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from ftray.errors import NeverPlacedError


class PendingLimit(Callback):
    """Stops a study in which jobs wait for resources and none has run for so many seconds.

    Resources that running jobs will free are worth waiting for, however long; nothing else is certain to come. A
    cluster that scales up starts its nodes within the limit.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds, self.clock = seconds, clock
        self._since: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks into a snapshot that is never restored."""
        return {}

    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Raises: NeverPlacedError with what was asked for and what there is."""
        waiting = [trial for trial in trials if trial.status == Trial.PENDING]
        if not waiting or any(trial.status == Trial.RUNNING for trial in trials):
            self._since = None
            return
        if self._since is None:
            self._since = self.clock()
        if self.clock() - self._since >= self.seconds:
            raise NeverPlacedError(
                f"the jobs of a study need resources, and {len(waiting)} waited {self.seconds:g} s for them while none "
                f"ran. {_asked(waiting[0])}; {_there()}. Start the nodes that are missing, free what others hold, or "
                "ask for less; nothing is lost, the same command continues."
            )


def _asked(trial: Any) -> str:
    request = trial.placement_group_factory
    return f"{trial.config['id']} asks for {request.bundles} ({request.strategy})"


def _there() -> str:
    total, free = ray.cluster_resources(), ray.available_resources()
    names = [name for name in total if name in ("CPU", "GPU", "memory") or name.startswith("accelerator_type:")]
    nodes = sum(node["Alive"] for node in ray.nodes())
    amounts = ", ".join(
        f"{_format_amount(name, total)} {name} ({_format_amount(name, free)} free)" for name in sorted(names)
    )
    return f"the cluster has {nodes} nodes with {amounts}"


def _format_amount(name: str, resources: Mapping[str, float]) -> str:
    amount = resources.get(name, 0.0)
    return f"{amount / 2**30:.1f} GiB" if name == "memory" else f"{amount:g}"
