"""The trainings of a trial: one PPO training per fold and seed, one after the other, and their metrics together.

Takes: every iteration's metrics of the current training. Gives: the trial's training results, and the file in a
checkpoint that names the training in which a killed trial continues. `reporting` sends both in order.
"""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ftray.errors import RunFolderError
from ftray.metrics import ERRORS, EVALUATED, EVALUATIONS, SELECTED_STEPS, VALIDATION
from ftray.trial.selection import FOLDER, Selection
from ftray.trial.spec import TrialSpec

FILE = "progress.json"


@dataclasses.dataclass(frozen=True)
class Training:
    """One PPO training. fold: what it trains on and is validated on, counted from 0. seed: its own."""

    fold: int
    seed: int


def trainings_of(spec: TrialSpec) -> tuple[Training, ...]:
    """The trainings of a trial in their order: all seeds of a fold, then the next fold."""
    seeds = range(spec.seed, spec.seed + spec.seeds)
    return tuple(itertools.starmap(Training, itertools.product(range(spec.n_folds), seeds)))


class TrialProgress:
    """The results of a trial's trainings so far.

    finished: one mapping per finished training: fold, seed, env_steps and its own validation metrics.
    last: the trial's last training result with validation metrics.
    selection: the evaluation that is the result of the current training so far; its `see` comes before `add`.
    inside_training: whether the checkpoint it was read from was written before its training had ended.
    """

    def __init__(
        self,
        finished: list[dict[str, Any]] | None = None,
        last: dict[str, Any] | None = None,
        selection: Selection | None = None,
    ):
        self.finished, self.last, self.selection = finished or [], last or {}, selection or Selection()
        self.inside_training = False
        self._current: dict[str, Any] = {}

    @classmethod
    def read(cls, checkpoint: Path | None, spec: TrialSpec) -> "TrialProgress":
        """The progress stored in a checkpoint; none without one.

        Raises: RunFolderError for a checkpoint without it.
        """
        if checkpoint is None:
            return cls(selection=Selection(spec.select))
        try:
            content = json.loads((checkpoint / FILE).read_text())
            trainings, last = content["runs"], content["row"]
            inside = trainings[-1]["env_steps"] < spec.ppo.env_steps
            selection = Selection(spec.select, **(content.get("selection") or {}))
            if selection.evaluations and not (checkpoint / FOLDER).is_dir():
                raise ValueError(f"{FOLDER}/ is missing")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunFolderError(
                f"{checkpoint} must say in {FILE} how far its trial was ({error}): delete the checkpoint to start again"
            ) from error
        progress = cls(trainings[:-1] if inside else trainings, last, selection)
        progress.inside_training = inside
        return progress

    def write(self, checkpoint: Path) -> None:
        """Writes it into the checkpoint of the training that `add` was called for last."""
        trainings = self.finished if self.last["run_done"] else [*self.finished, self._current]
        content = {"runs": trainings, "row": self.last}
        if self.selection.is_by_validation:
            state = dataclasses.asdict(self.selection)
            content["selection"] = {name: value for name, value in state.items() if name != "rule"}
        (checkpoint / FILE).write_text(json.dumps(content, indent=1))

    def add(self, training: Training, metrics: dict[str, Any], done: bool) -> dict[str, Any]:
        """The trial's result for an iteration of a training.

        Env steps are summed over the trainings; validation metrics are means over the finished trainings and this one,
        with the standard errors of the Sharpe ratios from two on; NaN, undefined, where one of them is. The result that
        ends a training lists all finished ones in `runs`; its metrics are those of the selected evaluation, and what
        the last one measured instead is in `evaluated`.
        """
        validated = any(name.startswith(VALIDATION) for name in metrics)
        metrics = metrics | (self.selection.facts() if validated else {})
        own, result = self._result(training, metrics, done)
        if done:
            last = result
            own, result = self._result(training, metrics | self.selection.metrics, done)
            if instead := {name: value for name, value in last.items() if _differs(value, result.get(name))}:
                result[EVALUATED] = instead
            self.finished.append(own)
            result["runs"] = list(self.finished)
            self.selection = Selection(self.selection.rule)
        if validated:
            self.last, self._current = result, own
        return result

    def _result(self, training: Training, metrics: dict[str, Any], done: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The training's own measures, and the trial's result."""
        own = {**dataclasses.asdict(training), "env_steps": metrics["env_steps"]}
        own |= {name: value for name, value in metrics.items() if name.startswith(VALIDATION)}
        own |= {name: metrics[name] for name in (SELECTED_STEPS, EVALUATIONS) if name in metrics}
        shown = [*self.finished, own]
        result = {**metrics, **own, "run_done": done, "runs_done": len(self.finished) + done}
        result["env_steps"] = sum(one["env_steps"] for one in shown)
        validated = [name for name in own if name.startswith(VALIDATION)]
        values = {name: [one.get(name, math.nan) for one in shown] for name in validated}
        result |= {name: float(np.mean(of)) for name, of in values.items()}
        if EVALUATIONS in own:
            result[EVALUATIONS] = max(one[EVALUATIONS] for one in shown)  # counted for each training alike
        if len(shown) > 1:
            known = {error: values[ratio] for ratio, error in ERRORS.items() if ratio in values}
            result |= {error: float(np.std(of, ddof=1) / math.sqrt(len(of))) for error, of in known.items()}
        return own, result


def _differs(value: Any, other: Any) -> bool:
    """Whether two measures differ; NaN is as undefined as NaN."""
    return value != other and not (value != value and other != other)
