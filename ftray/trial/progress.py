"""The runs of a trial: one PPO training per fold and seed, one after the other, and what they show together.

Takes: every iteration's metrics of the run at hand. Gives: the trial's rows, and the file beside a checkpoint's PPO
state that tells inside which run a killed trial goes on. `reporting` sees to it that both go out in order.
"""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ftray.errors import RunFolderError
from ftray.metrics import SHARPE, SHARPE_ERROR, VALIDATION
from ftray.trial.spec import TrialSpec

FILE = "progress.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """One PPO training. fold: what it trains on and is validated on, counted from 0. seed: its own."""

    fold: int
    seed: int


def runs_of(spec: TrialSpec) -> tuple[Run, ...]:
    """The runs of a trial in their order: all seeds of a fold, then the next fold."""
    seeds = range(spec.seed, spec.seed + spec.seeds)
    return tuple(itertools.starmap(Run, itertools.product(range(spec.n_folds), seeds)))


class Progress:
    """What the runs of a trial have shown so far.

    finished: one mapping per finished run: fold, seed, env_steps and its own validation figures.
    row: the trial's last row with validation figures.
    inside_a_run: whether the checkpoint it was read from was written before its run had ended.
    """

    def __init__(self, finished: list[dict[str, Any]] | None = None, row: dict[str, Any] | None = None):
        self.finished, self.row = finished or [], row or {}
        self.inside_a_run = False
        self._at_hand: dict[str, Any] = {}

    @classmethod
    def read(cls, checkpoint: Path | None, spec: TrialSpec) -> "Progress":
        """What a checkpoint tells; nothing yet without one.

        Raises: RunFolderError for a checkpoint that does not tell it.
        """
        if checkpoint is None:
            return cls()
        try:
            content = json.loads((checkpoint / FILE).read_text())
            runs, row = content["runs"], content["row"]
            inside = runs[-1]["env_steps"] < spec.ppo.env_steps
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunFolderError(
                f"{checkpoint} must tell in {FILE} how far its trial was ({error}): delete the checkpoint to begin anew"
            ) from error
        progress = cls(runs[:-1] if inside else runs, row)
        progress.inside_a_run = inside
        return progress

    def write(self, checkpoint: Path) -> None:
        """Beside the PPO state of the run that `add` heard of last."""
        runs = self.finished if self.row["run_done"] else [*self.finished, self._at_hand]
        (checkpoint / FILE).write_text(json.dumps({"runs": runs, "row": self.row}, indent=1))

    def add(self, run: Run, metrics: dict[str, Any], done: bool) -> dict[str, Any]:
        """The trial's row for an iteration of a run.

        Env steps are summed over the runs; validation figures are means over the finished runs and this one, with the
        standard error of the Sharpe ratio from two runs on. The row that ends a run lists all finished ones in `runs`.
        """
        own = {**dataclasses.asdict(run), "env_steps": metrics["env_steps"]}
        own |= {name: value for name, value in metrics.items() if name.startswith(VALIDATION)}
        shown = [*self.finished, own]
        row = {**metrics, **own, "run_done": done, "runs_done": len(self.finished) + done}
        row["env_steps"] = sum(one["env_steps"] for one in shown)
        figures = [name for name in own if name.startswith(VALIDATION)]
        row |= {name: float(np.mean([one[name] for one in shown])) for name in figures}
        if figures and len(shown) > 1:
            sharpes = [one[SHARPE] for one in shown]
            row[SHARPE_ERROR] = float(np.std(sharpes, ddof=1) / math.sqrt(len(shown)))
        if done:
            self.finished.append(own)
            row["runs"] = list(self.finished)
        if figures:
            self.row, self._at_hand = row, own
        return row
