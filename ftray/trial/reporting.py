"""Rows on their way out, in order: one whose evaluation is not done yet holds back itself and whatever follows it.

Takes: every iteration's metrics, some with figures to come and a PPO state. Gives: calls of `report`, and checkpoints.
"""

import dataclasses
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ftray.errors import OutOfMemoryError
from ftray.runs import TrialFolder
from ftray.trading import Backtest
from ftray.trial.evaluation import Judged, outcome_of
from ftray.trial.progress import Progress, Run


class Report(Protocol):
    """Takes each iteration's metrics, and the folder of a checkpoint where one was just written."""

    def __call__(self, metrics: dict[str, Any], checkpoint: Path | None = None) -> None: ...


@dataclasses.dataclass
class _Row:
    metrics: dict[str, Any]
    done: bool
    judged: "Future[Judged] | None"


class Rows:
    """The rows of one run of a trial. As a context: what was trained before memory ran out still goes out."""

    def __init__(
        self,
        run: Run,
        progress: Progress,
        report: Report,
        folder: Path,
        keep: Callable[[Backtest], None] = lambda outcome: None,
    ):
        """keep: takes what the policy did on the validation windows at the run's end, before anyone hears of it."""
        self.run, self.progress, self.report, self.keep = run, progress, report, keep
        self.folder, self.state = TrialFolder(folder), folder / ".state"
        self._waiting: deque[_Row] = deque()
        self.last = progress.row

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None or isinstance(error, OutOfMemoryError):
                self.finish()
        finally:
            shutil.rmtree(self.state, ignore_errors=True)

    def add(self, metrics: dict[str, Any], done: bool) -> None:
        """A row without figures."""
        self._waiting.append(_Row(metrics, done, None))
        self._tell()

    def add_judged(
        self, metrics: dict[str, Any], done: bool, judged: "Future[Judged]", save: Callable[[str], Any]
    ) -> None:
        """A row with figures, and a checkpoint of the state that they belong to; one evaluation at a time."""
        self.finish()
        shutil.rmtree(self.state, ignore_errors=True)
        save(str(self.state.absolute()))
        self._waiting.append(_Row(metrics, done, judged))
        self._tell()

    def finish(self) -> dict[str, Any]:
        """Waits until every row has gone out; the last one."""
        while self._waiting:
            self._send(self._waiting.popleft())
        return self.last

    def _tell(self) -> None:
        while self._waiting and (self._waiting[0].judged is None or self._waiting[0].judged.done()):
            self._send(self._waiting.popleft())

    def _send(self, row: _Row) -> None:
        checkpoint = None
        if row.judged is not None:
            judged = outcome_of(row.judged)
            row.metrics |= judged.figures
            if row.done and judged.outcome is not None:
                self.keep(judged.outcome)
        self.last = self.progress.add(self.run, row.metrics, row.done)
        if row.judged is not None:
            with self.folder.new_checkpoint(env_steps=self.last["env_steps"]) as empty:
                for piece in self.state.iterdir():
                    piece.rename(empty / piece.name)
                self.progress.write(empty)
            checkpoint = self.folder.checkpoint
        self.report(self.last, checkpoint=checkpoint)
