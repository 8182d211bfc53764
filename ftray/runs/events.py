"""Event files: append-only JSON lines, one writer each, read by anyone at any time.

Takes: events as plain mappings. Gives: the same events back, in the order they were written.

Each event is one `write` of one line, so a reader never sees two of them mixed, and a killed process loses none.
Only the last line can be half-written (a full disk, a dead machine): readers skip it, the next writer cuts it off.
"""

import contextlib
import datetime
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import RunFolderError
from ftray.files import named

Event = dict[str, Any]
"""A mapping with at least `event` (its name) and `at` (ISO 8601, UTC)."""


class EventWriter:
    """The one writer of an event file; opens it with the first event."""

    def __init__(self, path: Path):
        self.path = path
        self._file: int | None = None

    def append(self, event: str, facts: Mapping[str, Any], *, durable: bool) -> None:
        """Writes one event. A durable one survives a machine that crashes, at the price of an fsync (milliseconds)."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        data = (to_json({"event": event, "at": at} | dict(facts)) + "\n").encode()
        with named(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _cut_torn_line(self.path)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            if os.write(self._file, data) < len(data):
                self.close()  # the next event cuts the torn line off
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at interpreter exit `os` may be gone
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None}


class EventReader:
    """Reads an event file, and later only what has been added."""

    def __init__(self, path: Path, offset: int = 0):
        """offset: bytes already read."""
        self.path, self.offset, self._n_lines = path, offset, 0

    def new(self) -> Iterator[Event]:
        """The events added since the last call; a line without its end is left for the next one.

        Raises: RunFolderError for a damaged line that is not the last.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            self.offset += len(line)
            self._n_lines += 1
            try:
                event = json.loads(line)
            except ValueError:
                raise RunFolderError(
                    f"{self.path} must hold one JSON event per line, but line {self._n_lines} is damaged; "
                    "restore the file, or delete that line to continue without its event"
                ) from None
            yield event


def to_json(value: Any, **options: Any) -> str:
    """JSON that every reader accepts: numbers that are not finite become null, arrays lists, paths text."""
    return json.dumps(_plain(value), allow_nan=False, **options)


def _plain(value: Any) -> Any:
    if isinstance(value, float):  # first what most values are: a report is a row of numbers
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return _plain(value.tolist())
    return str(value)


def _cut_torn_line(path: Path) -> None:
    try:
        with path.open("rb+") as file:
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
