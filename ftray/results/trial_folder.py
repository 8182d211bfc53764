"""The folder of one trial: what its process writes while it runs, and what anyone may read.

Takes: metrics, checkpoints and errors of one trial. Gives: `TrialFolder`.

    trial.json      who the trial is: id, number, kind, values, resolved spec
    events.jsonl    written by the trial's process alone: started, report, checkpoint, out_of_memory, finished, failed
    checkpoint/     the last complete checkpoint
    error.txt       why it failed
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.results.events import Event, EventReader, EventWriter, last_event, sync_folder, write_atomically


class TrialFolder:
    """Reads and writes one trial's folder; can be pickled into the trial's process, which is the one that writes."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._writer = EventWriter(self.folder / "events.jsonl")

    def started(self, **facts: Any) -> None:
        """The trial's process runs; `facts` say where and with what (host, pid, device)."""
        self._writer.append("started", facts, durable=True)

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Note metrics on the way. Cheap: survives a killed process, but not a machine that crashes within seconds."""
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
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "error.txt", f"{error.rstrip()}\n".encode())

    @contextlib.contextmanager
    def new_checkpoint(self, **facts: Any) -> Iterator[Path]:
        """A folder to write a checkpoint into; it takes the last one's place when the block ends without error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=self.folder))
        try:
            yield new
            new.chmod(0o755)
            _sync_tree(new)
            # A folder cannot be replaced in one move: between these two, `.checkpoint-old` is the last complete one.
            current, old = self.folder / "checkpoint", self.folder / ".checkpoint-old"
            if current.exists():
                shutil.rmtree(old, ignore_errors=True)
                current.rename(old)
            new.rename(current)
            sync_folder(self.folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self._writer.append("checkpoint", facts, durable=True)

    @property
    def checkpoint(self) -> Path | None:
        """The last complete checkpoint, or None."""
        candidates = (self.folder / "checkpoint", self.folder / ".checkpoint-old")
        return next((path for path in candidates if path.is_dir()), None)

    def events(self) -> list[Event]:
        """All events of the trial's process, oldest first."""
        return list(EventReader(self.folder / "events.jsonl").new())

    def last_event(self) -> Event | None:
        """What the trial's process wrote last; None before it wrote anything."""
        return next(iter(self.events()[-1:]), None)

    def out_of_memories(self) -> list[Event]:
        """How often the trial did not fit, oldest first."""
        return [event for event in self.events() if event["event"] == "out_of_memory"]

    def reports(self) -> list[dict[str, Any]]:
        """The metrics of every report, oldest first: the trial's learning curves."""
        return [event["metrics"] for event in self.events() if event["event"] == "report"]

    def last_metrics(self) -> dict[str, Any]:
        """The metrics of the last report; empty before the first."""
        event = last_event(self.folder / "events.jsonl", "report")
        return {} if event is None else event["metrics"]


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
