"""Which evaluation of a training is its result: the last one, or the best one so far (`TrialSpec.select`).

Takes: the evaluations of a training, in their order. Gives: the metrics of the selected one, and its files:

    checkpoint/selected/policy/          its policy
    checkpoint/selected/returns-1-3...   its bars, as the trial's folder has them at the training's end

The files are part of every checkpoint, so that a training that is killed and resumed selects among all its evaluations.
"""

import dataclasses
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftray.files import replace_folder
from ftray.metrics import EVALUATIONS, GROWTH, SELECTED_STEPS
from ftray.nets import exporting_onnx
from ftray.search.objectives import is_number
from ftray.trial.spec import Select

FOLDER = "selected"
"""The folder of the selected evaluation's files, in a checkpoint."""

POLICY = "policy"


@dataclasses.dataclass
class Selection:
    """The selected evaluation of a training so far.

    rule: `TrialSpec.select`. evaluations: how many there were. env_steps: of the training, at the selected one.
    metrics: what the selected one measured.
    """

    rule: Select = "last"
    evaluations: int = 0
    env_steps: int = 0
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_by_validation(self) -> bool:
        return self.rule == "best_validation"

    def see(self, env_steps: int, metrics: Mapping[str, Any]) -> bool:
        """Takes the next evaluation; whether it is the selected one from now on.

        By `best_validation` that is the evaluation with the most growth: what a policy maximises, and defined for one
        that never trades, too. All evaluations of a training are over the same bars, so total returns order them as
        growth per day does. Of equals it is the later one, which has learned more.
        """
        self.evaluations += 1
        selected = not self.is_by_validation or self.evaluations == 1 or _growth(metrics) >= _growth(self.metrics)
        if selected:
            self.env_steps, self.metrics = env_steps, dict(metrics)
        return selected

    def facts(self) -> dict[str, Any]:
        """What a result says of the selection; nothing where the last evaluation is the result."""
        if not self.is_by_validation:
            return {}
        return {SELECTED_STEPS: self.env_steps, EVALUATIONS: self.evaluations}


def keep_selected(state: Path, before: Path) -> None:
    """Puts the files of the earlier evaluation that stays selected into the state of a new one, in place of its own."""
    shutil.rmtree(state / FOLDER, ignore_errors=True)
    shutil.copytree(before, state / FOLDER)  # a move would take it from a checkpoint that may still be needed


def install_selected(state: Path, folder: Path, *, onnx: bool) -> None:
    """Moves the files of the selected evaluation into the trial's folder, as its training ends.

    onnx: whether its policy is also written as an ONNX file.
    """
    with replace_folder(folder / POLICY) as new:
        for file in (state / FOLDER / POLICY).iterdir():
            file.rename(new / file.name)
    (state / FOLDER / POLICY).rmdir()
    for file in (state / FOLDER).iterdir():
        file.replace(folder / file.name)
    (state / FOLDER).rmdir()
    if onnx:
        with exporting_onnx(folder / POLICY):
            pass


def _growth(metrics: Mapping[str, Any]) -> float:
    value = metrics.get(GROWTH)
    return float(value) if is_number(value) else -math.inf
