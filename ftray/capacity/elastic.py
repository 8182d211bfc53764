"""How many jobs of a study a cluster holds at once: whether each can be placed at all, and how that grows.

Takes: the nodes of a cluster, what jobs may ask of them. Gives: a `Capacity`, and an `ElasticCapacity`, where nodes
join while the study runs.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ftray.capacity.cluster_view import ClusterView, cluster_view
from ftray.capacity.nodes import Node
from ftray.capacity.placement import Placement, cpus, gpus
from ftray.errors import SpecError
from ftray.say import Say

Need = tuple[str, Placement]
"""What a job is, in words, and its placement."""


@dataclasses.dataclass(frozen=True)
class Capacity:
    """A cluster's nodes, and everything that a job of a study may ask of them."""

    nodes: tuple[Node, ...]
    needs: tuple[Need, ...]

    @classmethod
    def of(cls, nodes: Sequence[Node], needs: Iterable[Need]) -> "Capacity":
        """Raises: SpecError for a job that could never be placed: Ray would keep it pending for ever, silently."""
        distinct = {f"{what} {placement.bundles}": (what, placement) for what, placement in needs}
        capacity = cls(tuple(nodes), tuple(distinct.values()))
        for what, placement in capacity.needs:
            capacity._check(what, placement)
        return capacity

    @property
    def max_concurrent(self) -> int:
        """How many of the smallest jobs fit at once."""
        return max(1, *(self._n_of(placement) for _, placement in self.needs))

    @property
    def config(self) -> dict[str, Any]:
        """What a job must know to come to the same placement in its own process."""
        return {"nodes": [node.to_mapping() for node in self.nodes]} if any(node.gpu for node in self.nodes) else {}

    @property
    def _cpus(self) -> float:
        return sum(node.n * node.cpus for node in self.nodes)

    def _check(self, what: str, placement: Placement) -> None:
        asked = cpus(placement.bundles)
        if asked > self._cpus:
            raise SpecError(
                f"{what} of this study asks for {asked:g} CPUs ({placement.bundles}) and the cluster has "
                f"{self._cpus:g}: lower trial.ppo.n_env_runners, trial.ppo.cpus_per_env_runner, "
                "trial.ppo.evaluation_cpus or trial.pretraining.cpus"
            )
        n_gpus = sum(node.n * node.n_gpus for node in placement.hosts)
        if gpus(placement.bundles) > n_gpus + 1e-6:
            raise SpecError(
                f"{what} of this study asks for {gpus(placement.bundles):.2f} GPUs ({placement.bundles}) and the "
                f"cluster has {n_gpus} that it fits on: lower trial.ppo.n_env_runners, or set "
                "trial.ppo.env_runners_on_gpu to false"
            )

    def _n_of(self, placement: Placement) -> int:
        """Node by node where a job stays on one node; else by what the cluster has in all."""
        if placement.strategy == "STRICT_PACK":
            return sum(node.n * placement.jobs_per_node(node) for node in self.nodes)
        limits = [self._cpus / max(cpus(placement.bundles), 0.1)]
        if placement.plan:
            limits.append(sum(node.n * node.n_gpus for node in placement.hosts) / float(placement.plan.gpus_per_trial))
        return int(min(limits) + 1e-9)


class ElasticCapacity:
    """The capacity of a cluster whose nodes join one after the other: it grows with them, and never shrinks.

    A node that leaves may come back, so a study asks for the most there ever was: that is what brings it back.
    """

    EVERY = 10.0
    """Seconds between two looks at the nodes."""

    def __init__(
        self,
        needs: Callable[[Sequence[Node]], Iterable[Need]],
        max_concurrent: int | None = None,
        look: Callable[[], ClusterView] = cluster_view,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """needs: what jobs may ask of given nodes. max_concurrent: jobs at once, whatever the cluster holds."""
        self._needs, self._max_concurrent = needs, max_concurrent
        self._look, self._clock, self._sleep = look, clock, sleep
        self._view, self._looked, self._capacity = look(), clock(), Capacity((), ())

    @property
    def now(self) -> Capacity:
        """The capacity at this moment; cheap enough to be asked all the time. `wait` comes first."""
        if self._clock() - self._looked >= self.EVERY:
            self._look_again()
        return self._capacity

    def is_full(self, n_running: int) -> bool:
        """Whether no further job fits: on the nodes that are there, or on those that these jobs bring up."""
        return n_running >= (self._max_concurrent or self.now.max_concurrent)

    def wait(self, say: Say, pending_timeout: float) -> None:
        """Returns when every job of the study can be placed; waits for nodes that are about to join.

        Raises: SpecError for a job that could never be placed, or for which no node joined within so many seconds.
        """
        end, announced = self._clock() + pending_timeout, False
        while True:
            try:
                self._capacity = self._of(self._view)
                return
            except SpecError as error:
                if not self._view.more or self._clock() >= end:
                    raise
                if not announced:
                    say(f"waiting for {self._view.more} nodes that are to join; until then {error}")
                announced = True
            self._sleep(1.0)
            self._view, self._looked = self._view.joined(self._look()), self._clock()

    def _look_again(self) -> None:
        view, self._looked = self._view.joined(self._look()), self._clock()
        if view.nodes != self._view.nodes:
            self._capacity = self._of(view)
        self._view = view

    def _of(self, view: ClusterView) -> Capacity:
        return Capacity.of(view.nodes, self._needs(view.nodes))
