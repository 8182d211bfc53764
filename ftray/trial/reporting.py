"""Reports training results in order: one whose evaluation is pending delays itself and all later ones.

Takes: every iteration's metrics, some with validation metrics to come and a PPO state. Gives: calls of `report`, and
checkpoints.
"""

import dataclasses
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

from ftray.errors import OutOfMemoryError
from ftray.runs import TrialFolder
from ftray.trading import Backtest
from ftray.trial.attempt import Report
from ftray.trial.evaluation import EvalResult, result_of
from ftray.trial.progress import Training, TrialProgress
from ftray.trial.selection import FOLDER, install_selected, keep_selected


@dataclasses.dataclass
class _Pending:
    metrics: dict[str, Any]
    done: bool
    evaluation: "Future[EvalResult] | None"


class ResultQueue:
    """The results of one training. As a context manager: it still reports what was trained before memory ran out."""

    def __init__(
        self,
        training: Training,
        progress: TrialProgress,
        report: Report,
        folder: Path,
        save: Callable[[Path, Backtest], None] = lambda folder, backtest: None,
        resume: Path | None = None,
        onnx: bool = False,
    ):
        """save: writes the bars of a backtest on the validation windows into a folder, before its result is reported.

        resume: the checkpoint inside the training that it continues from. onnx: whether a policy that was selected is
        also written as an ONNX file.
        """
        self.training, self.progress, self.report, self.save, self.onnx = training, progress, report, save, onnx
        self.folder, self.state, self._before = TrialFolder(folder), folder / ".state", resume
        self._pending: deque[_Pending] = deque()
        self.last = progress.last

    def __enter__(self) -> "ResultQueue":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None or isinstance(error, OutOfMemoryError):
                self.finish()
        finally:
            shutil.rmtree(self.state, ignore_errors=True)

    def add(self, metrics: dict[str, Any], done: bool) -> None:
        """Adds a result without validation metrics."""
        self._pending.append(_Pending(metrics, done, None))
        self._send_ready()

    def add_evaluated(
        self, metrics: dict[str, Any], done: bool, evaluation: "Future[EvalResult]", save_state: Callable[[Path], Any]
    ) -> None:
        """Adds a result with validation metrics, and a checkpoint of their PPO state; one evaluation at a time.

        save_state: writes that state; with it, where evaluations are selected by validation, the evaluated policy into
            the folder `selected/policy` of it.
        """
        self.finish()
        shutil.rmtree(self.state, ignore_errors=True)
        save_state(self.state)
        self._pending.append(_Pending(metrics, done, evaluation))
        self._send_ready()

    def finish(self) -> dict[str, Any]:
        """Waits until every result is reported; returns the last one."""
        while self._pending:
            self._send(self._pending.popleft())
        return self.last

    def _send_ready(self) -> None:
        while self._pending and (self._pending[0].evaluation is None or self._pending[0].evaluation.done()):
            self._send(self._pending.popleft())

    def _send(self, result: _Pending) -> None:
        checkpoint = None
        if result.evaluation is not None:
            evaluated = result_of(result.evaluation)
            self._keep(result, evaluated)
            result.metrics |= evaluated.metrics
        self.last = self.progress.add(self.training, result.metrics, result.done)
        if result.evaluation is not None:
            with self.folder.new_checkpoint(env_steps=self.last["env_steps"]) as empty:
                for piece in self.state.iterdir():
                    piece.rename(empty / piece.name)
                self.progress.write(empty)
            checkpoint = self._before = self.folder.checkpoint
        self.report(self.last, checkpoint=checkpoint)

    def _keep(self, result: _Pending, evaluated: EvalResult) -> None:
        """Selects, and keeps the policy and the bars of the selected evaluation: in the checkpoint until the training's
        end, and then in the trial's folder."""
        selection = self.progress.selection
        is_selected = selection.see(result.metrics["env_steps"], evaluated.metrics)
        kept = self.state / FOLDER if selection.is_by_validation else self.folder.folder
        if is_selected and evaluated.backtest is not None and (result.done or selection.is_by_validation):
            self.save(kept, evaluated.backtest)
        if selection.is_by_validation and not is_selected:
            assert self._before is not None  # the first evaluation is always selected
            keep_selected(self.state, self._before / FOLDER)
        if selection.is_by_validation and result.done:
            install_selected(self.state, self.folder.folder, onnx=self.onnx)
