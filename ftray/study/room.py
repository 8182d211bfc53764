"""What a study's jobs ask of the cluster at hand: whether each can be placed at all, and how many fit at once.

Takes: a study, the nodes of a cluster. Gives: a `Room`, with the placement of every job that the study may draw.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ftray.errors import SpecError
from ftray.study.spec import StudySpec
from ftray.trial.nodes import Node
from ftray.trial.resources import Placement, cpus, gpus, place_pretraining, place_trial


@dataclasses.dataclass(frozen=True)
class Room:
    """A cluster's nodes, and everything that a job of a study may ask of them: what it is, and its placement."""

    nodes: tuple[Node, ...]
    needs: tuple[tuple[str, Placement], ...]

    @classmethod
    def of(cls, study: StudySpec, nodes: Sequence[Node]) -> "Room":
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
