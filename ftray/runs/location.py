"""Where a run folder lies, and what of it is here: on a disk all of it, of one on object storage a copy in parts.

Takes: a path or URL, and who works with it. Gives: `Located`, the part of a run folder that knows about that.
"""

import re
from pathlib import Path

from ftray.storage import Location, Mirror, is_url

DRIVER, JOB = "driver", "job"
"""Roles: the one process that writes a study's events; the processes of its trials."""


class Located:
    """A folder to work with, at `path`; `mirror` brings it here and back where it lies on object storage."""

    def __init__(self, location: Location, role: str):
        self.mirror = Mirror(location, role) if is_url(location) else None
        self.path = self.mirror.local if self.mirror else Path(location)

    @property
    def location(self) -> Location:
        """Where others find it: a URL, or an absolute path."""
        return self.mirror.url if self.mirror else self.path.absolute()

    @property
    def where(self) -> str:
        """Its location, for people."""
        return str(self.mirror.url if self.mirror else self.path)

    def sync(self, *names: str) -> None:
        """Brings to object storage what changed here; nothing where the run folder lies on a disk.

        names: files or folders; without any, the study's events, unless that would take too much of the time.
        """
        if self.mirror and names:
            self.mirror.push(*names)
        elif self.mirror:
            self.mirror.push_at_leisure("events.jsonl")

    def refresh(self, trial_id: str) -> None:
        """Brings here what a trial's process has told so far."""
        if self.mirror:
            self.mirror.pull(f"trials/{trial_id}/events.jsonl")

    def fetch(self, *names: str) -> None:
        """Brings files or folders here, by default all that people ask for: all but checkpoints and what is derived."""
        if self.mirror:
            known = names or (n for n in self.mirror.names() if not n.startswith("tune/") and "/checkpoint" not in n)
            self.mirror.pull(*known)

    def fetch_encoders_beside(self) -> None:
        """Brings here the finished encoders of the run folders beside this one, for whoever may take one of them."""
        if self.mirror:
            runs = self.mirror.parent
            for name in runs.folders():
                if name != self.path.name:
                    made = runs.names(f"{name}/encoders")
                    runs.pull(
                        f"{name}/study.json", *(n for n in made if not re.search(r"/\.|resume|encoder_epoch_", n))
                    )
