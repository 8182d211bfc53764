"""A job's copy of a run folder on object storage: downloaded when the job starts, uploaded while it runs.

Takes: a run folder, the job's id. Gives: a `JobCopy`. On a shared disk it does nothing.

    trials/trial-0007/checkpoint-3/     a checkpoint; each new one gets a new name
    trials/trial-0007/checkpoint.json   the name of the last complete one, replaced once all of it is uploaded
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from ftray.runs.folder import RunFolder
from ftray.runs.trial import TrialFolder

POINTER = "checkpoint.json"


def partial_folder(folder: str) -> str:
    """The folder in which another is built before it gets its name.

    >>> partial_folder("encoders/0123")
    'encoders/.0123.making'
    """
    parent, _, name = folder.rpartition("/")
    return f"{parent}/.{name}.making"


class JobCopy:
    """The part of a run folder that one job needs."""

    def __init__(self, run: RunFolder, job_id: str):
        self.run, self.folder = run, run.trial_folder(job_id)
        self._own = f"trials/{job_id}"
        self._last: str | None = None

    def bring(self, needs: Sequence[str] = ()) -> TrialFolder:
        """Downloads the job's folder and what the job needs; the caller holds the folder's `write_lock`."""
        if self.run.mirror is None:
            return self.folder
        self._clear()
        self.run.mirror.pull(*needs)
        there = self.run.mirror.names(self._own)
        self.run.mirror.pull(*(name for name in there if "/checkpoint" not in name))
        pointer = self.run.mirror.read(f"{self._own}/{POINTER}")
        if pointer is not None:
            self._last = last = str(json.loads(pointer)["checkpoint"])
            self.run.mirror.pull(f"{self._own}/{last}")
            (self.folder.folder / last).rename(self.folder.folder / "checkpoint")
        return self.folder

    def send(self, *made: str, checkpoint: Path | None = None) -> None:
        """Uploads what grows, the events throttled, and a new checkpoint whole."""
        mirror = self.run.mirror
        if mirror is None:
            return
        if checkpoint is not None:
            before = self._last
            self._last = f"checkpoint-{1 + int(before.rpartition('-')[2]) if before else 0}"
            for path in sorted(checkpoint.rglob("*")):
                if path.is_file():
                    name = path.relative_to(checkpoint).as_posix()
                    mirror.write(f"{self._own}/{self._last}/{name}", path.read_bytes())
            mirror.write(f"{self._own}/{POINTER}", json.dumps({"checkpoint": self._last}).encode())
            if before:
                mirror.delete(f"{self._own}/{before}")
        if made:
            mirror.push(*made)
        mirror.push_throttled(f"{self._own}/events.jsonl")

    def finish(self, *made: str) -> None:
        """Uploads everything that the job leaves behind: its folder, and what else it made; the events last."""
        if self.run.mirror is None:
            return
        names = sorted(path.name for path in self.folder.folder.iterdir() if path.name[0] != ".")
        left = (name for name in names if name not in ("checkpoint", "events.jsonl"))
        self.run.mirror.push(*made, *(f"{self._own}/{name}" for name in left), f"{self._own}/events.jsonl")
        for folder in made:
            self.run.mirror.delete(partial_folder(folder))

    def _clear(self) -> None:
        """Deletes what an earlier process left here: it may be older than what another machine has uploaded since, or
        contain what was never uploaded. The lock stays."""
        for path in self.folder.folder.iterdir():
            if path.name != ".writer":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
