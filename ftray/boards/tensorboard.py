"""TensorBoard's event files: a folder per trial, so that `tensorboard --logdir RUN` shows what trials report.

Takes: a run folder. Gives: `tensorboard/TRIAL/events.out.tfevents.*` in it: every reported metric under its own name,
over env steps or epochs, with the time of its report, and the searched values as hyper-parameters.

The files derive from the trials' events: if the folder is deleted, the next command that follows the run writes it
again.
"""

import datetime
import importlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import MissingDependencyError
from ftray.runs import RunFolder
from ftray.runs.events import EventReader
from ftray.search.objectives import is_number
from ftray.tables.ingest import STEPS, on_the_way

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files of a run folder's trials as they report; one process at a time."""

    def __init__(self, run: RunFolder, folder: Path | None = None):
        """folder: where to write a folder per trial; by default in the run folder."""
        self.run, self.folder = run, folder or run.path / FOLDER
        self._open: dict[str, _Follower] = {}

    def follow(self, trial_id: str) -> None:
        """Writes what a trial has reported since the last call; the first call writes all of it, over old files.

        A full disk raises nothing: what is missing is written when the run is next followed.
        """
        try:
            if trial_id not in self._open:
                self._open[trial_id] = _Follower(self.run, trial_id, self.folder / trial_id)
            self._open[trial_id].write()
        except OSError:
            self._open.pop(trial_id, None)

    def ended(self, trial_id: str) -> None:
        """Writes the rest of a trial, and closes its file."""
        self.follow(trial_id)
        follower = self._open.pop(trial_id, None)
        if follower is not None:
            follower.close(self.run.record(trial_id).state)

    def catch_up(self) -> None:
        """Writes the files of all trials that have none."""
        for record in self.run.records():
            if record.state not in ("PENDING", "RUNNING") and not (self.folder / record.id).is_dir():
                self.ended(record.id)
            elif record.state == "RUNNING":
                self.follow(record.id)


class _Follower:
    """The event file of one trial."""

    def __init__(self, run: RunFolder, trial_id: str, folder: Path):
        writer = _writers()
        shutil.rmtree(folder, ignore_errors=True)  # an earlier driver's: a trial that continues would appear twice
        folder.mkdir(parents=True)
        self._reader = EventReader(run.trial_folder(trial_id).folder / "events.jsonl")
        self._file = writer(str(folder / "events"))
        self._step = -1.0
        record = run.record(trial_id)
        values = record.values or {"kind": record.kind}
        self._write_summaries(_hyperparameters(values), None, 0)

    def write(self) -> None:
        summary = _proto("summary").Summary
        for event in self._reader.new():
            if event["event"] != "report":
                continue
            metrics = on_the_way(event["metrics"])
            step = next((metrics[name] for name in STEPS if is_number(metrics.get(name))), self._step + 1)
            if step <= self._step:  # a trial that continued from its checkpoint repeats some steps
                continue
            self._step = step
            values = [summary.Value(tag=name, simple_value=value) for name, value in _numbers(metrics)]
            self._write_summaries([summary(value=values)], event["at"], int(step))
        self._file.flush()

    def close(self, state: str) -> None:
        """state: how the trial ended."""
        hparams = _proto("plugin_hparams")
        status = {"COMPLETE": "STATUS_SUCCESS", "PRUNED": "STATUS_SUCCESS", "FAILED": "STATUS_FAILURE"}.get(state)
        ending = hparams.SessionEndInfo(status=_proto("api").Status.Value(status or "STATUS_UNKNOWN"))
        content = hparams.HParamsPluginData(session_end_info=ending, version=0)
        self._write_summaries([_plugin("_hparams_/session_end_info", content)], None, 0)
        self._file.close()

    def _write_summaries(self, summaries: list[Any], at: str | None, step: int) -> None:
        seconds = time.time() if at is None else datetime.datetime.fromisoformat(at).timestamp()
        for summary in summaries:
            self._file.write_event(_proto("event").Event(wall_time=seconds, step=step, summary=summary))


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if is_number(value) and not isinstance(value, bool) and name not in (*STEPS, "fold", "seed"):
            yield name, float(value)


def _hyperparameters(values: Mapping[str, Any]) -> list[Any]:
    """The searched values of a trial as TensorBoard's HPARAMS page reads them."""
    hparams = _proto("plugin_hparams")
    start = hparams.SessionStartInfo()
    for name, value in values.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif is_number(value):
            start.hparams[name].number_value = float(value)
        else:
            start.hparams[name].string_value = str(value)
    return [_plugin("_hparams_/session_start_info", hparams.HParamsPluginData(session_start_info=start, version=0))]


def _plugin(tag: str, content: Any) -> Any:
    proto = _proto("summary")
    data = proto.SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    value = proto.Summary.Value(tag=tag, metadata=proto.SummaryMetadata(plugin_data=data))
    return proto.Summary(value=[value])


def _proto(name: str) -> Any:
    """A module of messages: TensorBoard's format, which tensorboardX has without TensorBoard."""
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")


def _writers() -> Any:
    """tensorboardX's event file without the thread that its writers have. Raises: MissingDependencyError."""
    try:
        from tensorboardX.event_file_writer import EventsWriter
    except ImportError:
        raise MissingDependencyError(
            "TensorBoard's files need the package tensorboardX, which comes with Ray Tune: pip install tensorboardX"
        ) from None
    return EventsWriter
