"""The folder of one trial, written by the trial's process and read by anyone.

Takes: metrics, checkpoints and errors of one trial. Gives: `TrialFolder`.

    trial.json      the trial's identity: id, number, kind, values, resolved spec
    events.jsonl    written by the trial's process alone: started, run_started, resumed, report, checkpoint,
                    out_of_memory, finished, failed, spent
    returns-*, fills-*, weights-*   each finished training bar by bar; see `ftray.tables.bars`
    checkpoint/     the last complete checkpoint
    error.txt       why the trial failed
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import RunFolderError
from ftray.files import locked, replace_file, replace_folder
from ftray.metrics import check_reported
from ftray.runs.costs import SPENT, cost_of
from ftray.runs.events import Event, EventReader, EventWriter

PATIENCE = 600.0
"""Seconds to wait for another writer. A process on a lost node once lived for 3 more minutes; a job that gives up
sooner fails needlessly, and so does the next one."""


class TrialFolder:
    """Reads and writes one trial's folder. It can be pickled: the trial's process alone writes."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._writer = EventWriter(self.folder / "events.jsonl")

    def started(self, **facts: Any) -> None:
        """Records that the trial's process runs; `facts` say where and with what; see `provenance.machine`."""
        self._writer.append("started", facts, durable=True)

    def run_started(self, **facts: Any) -> None:
        """A training of the trial begins or continues; `facts` say on what data and from which weights."""
        self._writer.append("run_started", facts, durable=False)

    def resumed(self, *, exactly: bool, why: str | None) -> None:
        """Records that a training continues from a checkpoint: as if it had never stopped, or `why` only with the
        weights, optimisers and counts of steps."""
        self._writer.append("resumed", {"exactly": exactly, "why": why}, durable=False)

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Stores metrics. Cheap: they survive a killed process, but not a machine that crashes within seconds.

        Raises: MetricError for one that is not in the table of metrics.
        """
        check_reported(metrics)
        self._writer.append("report", {"metrics": metrics}, durable=False)

    def finished(self, metrics: Mapping[str, Any] | None = None) -> None:
        self._writer.append("finished", {"metrics": metrics or {}}, durable=True)

    def out_of_memory(self, **facts: Any) -> None:
        """Records that the trial did not fit into a GPU's memory; it may be retried with a smaller memory plan.

        `facts`: the `shape` that was too large, the `next` one (None: there is none), `predicted_gib`, `observed_gib`,
        the `process` that asked for more, and its `error`.
        """
        self._writer.append("out_of_memory", facts, durable=True)

    def failed(self, error: str) -> None:
        """Stores why the trial failed, as an event and as `error.txt` for people."""
        self._writer.append("failed", {"error": error}, durable=True)
        self.write_error(error)

    def write_error(self, error: str) -> None:
        replace_file(self.folder / "error.txt", f"{error.rstrip()}\n".encode())

    def spent(self, cost: Mapping[str, float]) -> None:
        """Stores what the trial has cost since its first start; called whenever its process stops."""
        self._writer.append(SPENT, cost, durable=True)

    def write_lock(self, patience: float = PATIENCE) -> contextlib.AbstractContextManager[bool]:
        """Only one process at a time writes the trial. It waits for another one: Ray is about to end a process that a
        dead driver left behind, or that runs on a lost node.

        patience: seconds to wait. Raises: RunFolderError, which names the other process, after that.
        """

        def busy(holder: str) -> RunFolderError:
            return RunFolderError(
                f"{self.folder} must have one process that writes it, but {holder or 'another one'} still does after "
                f"{patience:.0f} s; end it, and repeat the command"
            )

        self.folder.mkdir(parents=True, exist_ok=True)
        # Without locks, the only protection is that Ray ends the jobs of a dead driver.
        return locked(self.folder / ".writer", patience=patience, busy=busy)

    @contextlib.contextmanager
    def new_checkpoint(self, **facts: Any) -> Iterator[Path]:
        """A folder to write a checkpoint to; it replaces the last one when the block ends without an error."""
        with replace_folder(self.folder / "checkpoint") as new:
            yield new
        self._writer.append("checkpoint", facts, durable=True)

    @property
    def checkpoint(self) -> Path | None:
        """The last complete checkpoint, or None. `.checkpoint-old` is one that was about to be replaced."""
        candidates = (self.folder / "checkpoint", self.folder / ".checkpoint-old")
        return next((path for path in candidates if path.is_dir()), None)

    def events(self) -> list[Event]:
        """All events of the trial's process, oldest first."""
        return list(EventReader(self.folder / "events.jsonl").new())

    def last_event(self) -> Event | None:
        """The last event that is no cost; None before the trial's process wrote any."""
        return next((event for event in reversed(self.events()) if event["event"] != SPENT), None)

    def cost(self) -> dict[str, float]:
        """What the trial has cost so far: seconds of CPU cores and of GPUs."""
        return cost_of(self.events())

    def out_of_memories(self) -> list[Event]:
        """The events of a GPU's memory that was too small, oldest first."""
        return [event for event in self.events() if event["event"] == "out_of_memory"]

    def reports(self) -> list[dict[str, Any]]:
        """The metrics of every report, oldest first: the trial's learning curves."""
        return [event["metrics"] for event in self.events() if event["event"] == "report"]

    def last_metrics(self) -> dict[str, Any]:
        """The last value of each metric: not every report has all of them. Empty before the first report."""
        return Reported(self.folder).metrics()


class Reported:
    """The last value of each metric that a trial has reported. A second call reads only new events."""

    def __init__(self, folder: Path):
        self._reader = EventReader(folder / "events.jsonl")
        self._metrics: dict[str, Any] = {}

    def metrics(self) -> dict[str, Any]:
        for event in self._reader.new():
            if event["event"] == "report":
                self._metrics |= event["metrics"]
        return self._metrics
