"""The folder of one trial: what its process writes while it runs, and what anyone may read.

Takes: metrics, checkpoints and errors of one trial. Gives: `TrialFolder`.

    trial.json      who the trial is: id, number, kind, values, resolved spec
    events.jsonl    written by the trial's process alone: started, run_started, report, checkpoint, out_of_memory,
                    finished, failed, spent
    returns-*, fills-*   what each finished run did bar by bar; see `outcomes`
    checkpoint/     the last complete checkpoint
    error.txt       why it failed
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import LockedError, RunFolderError
from ftray.files import locked, replace_file, replace_folder
from ftray.metrics import check_reported
from ftray.runs.costs import SPENT, cost_of
from ftray.runs.events import Event, EventReader, EventWriter

PATIENCE = 600.0
"""Seconds. A process on a node that lost the cluster was seen to live for 3 minutes; who gives up before it ends has
failed for nothing, as would the next one."""


class TrialFolder:
    """Reads and writes one trial's folder; can be pickled into the trial's process, which is the one that writes."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._writer = EventWriter(self.folder / "events.jsonl")

    def started(self, **facts: Any) -> None:
        """The trial's process runs; `facts` say where and with what; see `provenance.machine`."""
        self._writer.append("started", facts, durable=True)

    def run_started(self, **facts: Any) -> None:
        """A run of the trial begins, or goes on; `facts` say on what data and from which weights."""
        self._writer.append("run_started", facts, durable=False)

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Note metrics on the way. Cheap: survives a killed process, but not a machine that crashes within seconds.

        Raises: MetricError for one that is not in the table of metrics.
        """
        check_reported(metrics)
        self._writer.append("report", {"metrics": metrics}, durable=False)

    def finished(self, metrics: Mapping[str, Any] | None = None) -> None:
        self._writer.append("finished", {"metrics": metrics or {}}, durable=True)

    def out_of_memory(self, **facts: Any) -> None:
        """Note that the trial did not fit into a GPU's memory; it may go on in a smaller shape.

        `facts`: the `shape` that was too large, the `next` one (None: there is none), `predicted_gib`, `observed_gib`,
        the `process` that asked for more, and its `error`.
        """
        self._writer.append("out_of_memory", facts, durable=True)

    def failed(self, error: str) -> None:
        """Note why the trial failed, as an event and as `error.txt` for people."""
        self._writer.append("failed", {"error": error}, durable=True)
        self.write_error(error)

    def write_error(self, error: str) -> None:
        replace_file(self.folder / "error.txt", f"{error.rstrip()}\n".encode())

    def spent(self, cost: Mapping[str, float]) -> None:
        """Note what the trial has cost so far, over all its stretches: at the end of each."""
        self._writer.append(SPENT, cost, durable=True)

    @contextlib.contextmanager
    def written(self, patience: float = PATIENCE) -> Iterator[None]:
        """Held by the trial's process. One that a dead driver left behind is waited for, and one on a node that was cut
        off from the cluster, but not from the storage: Ray is about to end it.

        Raises: RunFolderError if it goes on for so many seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                # Where the file system has no locks, it must do that Ray ends the jobs of a dead driver.
                stack.enter_context(locked(self.folder / ".writer", patience=patience))
            except LockedError as error:
                raise RunFolderError(
                    f"{self.folder} must have one process that writes it, but {error.holder or 'another one'} still "
                    f"does after {patience:.0f} s; end it, and repeat the command"
                ) from None
            yield

    @contextlib.contextmanager
    def new_checkpoint(self, **facts: Any) -> Iterator[Path]:
        """A folder to write a checkpoint into; it takes the last one's place when the block ends without error."""
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
        """What became of the trial's process last, beside what it cost; None before it wrote anything."""
        return next((event for event in reversed(self.events()) if event["event"] != SPENT), None)

    def cost(self) -> dict[str, float]:
        """What the trial has cost so far: seconds of CPU cores and of GPUs."""
        return cost_of(self.events())

    def out_of_memories(self) -> list[Event]:
        """How often the trial did not fit, oldest first."""
        return [event for event in self.events() if event["event"] == "out_of_memory"]

    def reports(self) -> list[dict[str, Any]]:
        """The metrics of every report, oldest first: the trial's learning curves."""
        return [event["metrics"] for event in self.events() if event["event"] == "report"]

    def last_metrics(self) -> dict[str, Any]:
        """Every figure as it was reported last: not every report has them all. Empty before the first."""
        return Reported(self.folder).metrics()


class Reported:
    """What a trial has reported: every figure as it was told last. Asked again, it reads what is new alone."""

    def __init__(self, folder: Path):
        self._reader = EventReader(folder / "events.jsonl")
        self._metrics: dict[str, Any] = {}

    def metrics(self) -> dict[str, Any]:
        for event in self._reader.new():
            if event["event"] == "report":
                self._metrics |= event["metrics"]
        return self._metrics
