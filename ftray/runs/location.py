"""The location of a run folder: on a disk, or on object storage with a partial copy on this disk.

Takes: a path or URL, and the role of the process. Gives: `Located`, the base class of a run folder; the run folders of
a place, and the place of a run folder.
"""

import functools
import re
from pathlib import Path

from ftray.runs.looks import Ledger
from ftray.storage import Location, Mirror, is_url

DRIVER, JOB = "driver", "job"
"""Roles: the one process that writes a study's events; the processes of its trials."""


def is_run_folder(location: Location) -> bool:
    """Whether there is a `study.json`."""
    if is_url(location):
        return Mirror(location, "read").read("study.json") is not None
    return (Path(location) / "study.json").exists()


def run_folders(root: Location) -> list[str]:
    """The names of the run folders in a folder, sorted."""
    if is_url(root):
        mirror = Mirror(root, "read")
        return sorted(name for name in mirror.folders() if mirror.read(f"{name}/study.json") is not None)
    return sorted(file.parent.name for file in Path(root).glob("*/study.json") if file.parent.name[0] != ".")


def runs_root(run: Location) -> Location:
    """Where the run folders lie that a run folder is one of."""
    return Mirror(run, role="read").parent.url if is_url(run) else Path(run).absolute().parent


class Located:
    """A folder to work with at `path`; `mirror` copies it from and to object storage if it is there."""

    def __init__(self, location: Location, role: str):
        self.mirror = Mirror(location, role) if is_url(location) else None
        self.path = self.mirror.local if self.mirror else Path(location)

    @property
    def location(self) -> Location:
        """Its URL or absolute path, for other processes."""
        return self.mirror.url if self.mirror else self.path.absolute()

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The looks of all studies whose run folders lie in the same place."""
        return Ledger(runs_root(self.location))

    @property
    def where(self) -> str:
        """Its URL or path, for messages."""
        return str(self.mirror.url if self.mirror else self.path)

    def sync(self, *names: str) -> None:
        """Uploads what changed here; does nothing for a run folder on a disk.

        names: files or folders; by default the study's events, throttled.
        """
        if self.mirror and names:
            self.mirror.push(*names)
        elif self.mirror:
            self.mirror.push_throttled("events.jsonl")

    def refresh(self, trial_id: str) -> None:
        """Downloads the events that a trial's process has written so far."""
        if self.mirror:
            self.mirror.pull(f"trials/{trial_id}/events.jsonl")

    def fetch(self, *names: str) -> None:
        """Downloads files or folders; by default everything but checkpoints and what Tune derives."""
        if self.mirror:
            known = names or (n for n in self.mirror.names() if not n.startswith("tune/") and "/checkpoint" not in n)
            self.mirror.pull(*known)

    def fetch_sibling_encoders(self) -> None:
        """Downloads the finished encoders of the other run folders in the same place, so that one can be chosen."""
        if self.mirror:
            runs = self.mirror.parent
            for name in runs.folders():
                if name != self.path.name:
                    made = runs.names(f"{name}/encoders")
                    runs.pull(
                        f"{name}/study.json", *(n for n in made if not re.search(r"/\.|resume|encoder_epoch_", n))
                    )
