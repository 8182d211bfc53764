"""What a study's jobs ask of a cluster: whether each can be placed at all, and how many fit at once.

Takes: a study, the nodes of a cluster. Gives: a `Capacity`, with the placement of every job that the study may draw, and
`ElasticCapacity`, where nodes join while the study runs.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from ftray.capacity.cluster_view import ClusterView, cluster_view
from ftray.capacity.local_ray import Say
from ftray.capacity.nodes import Node
from ftray.errors import SpecError
from ftray.study.spec import StudySpec
from ftray.trial.resources import Placement, cpus, gpus, place_pretraining, place_trial


@dataclasses.dataclass(frozen=True)
class Capacity:
    """A cluster's nodes, and everything that a job of a study may ask of them: what it is, and its placement."""

    nodes: tuple[Node, ...]
    needs: tuple[tuple[str, Placement], ...]

    @classmethod
    def of(cls, study: StudySpec, nodes: Sequence[Node]) -> "Capacity":
        """Raises: SpecError for a job that could never be placed: it would stay pending for ever, without a word from
        Ray."""
        found: dict[str, tuple[str, Placement]] = {}
        for filled in study.space.ends():
            spec, asked = study.trial(filled), []
            if study.search.job == "trial":
                asked.append(("a trial", place_trial(spec, nodes)))
            if spec.encoder_to_pretrain:
                asked.append(("a pre-training job", place_pretraining(spec, nodes)))
            found |= {f"{what} {placement.bundles}": (what, placement) for what, placement in asked}
        room = cls(tuple(nodes), tuple(found.values()))
        for what, placement in room.needs:
            room._check(what, placement)
        return room

    @property
    def at_once(self) -> int:
        """How many of the smallest jobs fit at once."""
        return max(1, *(self._at_once(placement) for _, placement in self.needs))

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

    def _at_once(self, placement: Placement) -> int:
        """Node by node where a job stays on one node; else by what the cluster has in all."""
        if placement.strategy == "STRICT_PACK":
            return sum(node.n * placement.at_once(node) for node in self.nodes)
        limits = [self._cpus / max(cpus(placement.bundles), 0.1)]
        if placement.plan:
            limits.append(sum(node.n * node.n_gpus for node in placement.hosts) / float(placement.plan.gpus_per_trial))
        return int(min(limits) + 1e-9)


class ElasticCapacity:
    """The room of a cluster whose nodes come one after the other: it grows with them, and never shrinks.

    A node that goes may come back, so a study asks for as much as there ever was: that is what brings it back.
    """

    EVERY = 10.0
    """Seconds between two looks at the nodes."""

    def __init__(
        self,
        study: StudySpec,
        look: Callable[[], ClusterView] = cluster_view,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.study, self._look, self._clock, self._sleep = study, look, clock, sleep
        self._outlook, self._looked, self._room = look(), clock(), Capacity((), ())

    @property
    def now(self) -> Capacity:
        """The room as it is now; cheap enough to be asked all the time. `wait` comes first."""
        if self._clock() - self._looked >= self.EVERY:
            self._look_again()
        return self._room

    def full(self, n_out: int) -> bool:
        """Whether so many jobs are as many as there is room for: now, or with the nodes that they bring up."""
        return n_out >= (self.study.search.max_concurrent or self.now.at_once)

    def wait(self, say: Say) -> None:
        """Sees to it that every job of the study can be placed, waiting for nodes that are on their way.

        Raises: SpecError for a job that could never be placed, or for which no node came within `pending_timeout`.
        """
        end, told = self._clock() + self.study.search.pending_timeout, False
        while True:
            try:
                self._room = Capacity.of(self.study, self._outlook.nodes)
                return
            except SpecError as error:
                if not self._outlook.more or self._clock() >= end:
                    raise
                if not told:
                    say(f"waiting for {self._outlook.more} nodes that are to join; as yet {error}")
                told = True
            self._sleep(1.0)
            self._outlook, self._looked = self._outlook.joined(self._look()), self._clock()

    def _look_again(self) -> None:
        outlook, self._looked = self._outlook.joined(self._look()), self._clock()
        if outlook.nodes != self._outlook.nodes:
            self._room = Capacity.of(self.study, outlook.nodes)
        self._outlook = outlook
