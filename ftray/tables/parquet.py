"""The tables of a run folder, written while the study runs and readable at any time by anyone.

Takes: a run folder. Gives: `compact`, for the study's driver, and `Tables`, for its readers.

    tables/manifest.json      the files of the tables, and how far the events were read for them
    tables/metrics/000017-3fa9c1.parquet   a batch of trials; never changed, merged with others now and then
    tables/trials/...         the same; rows of trials that may still change are in `open-*.parquet`

The events and the files of the trials are the truth, the tables are derived: where they are missing, or have another
format's number, everything is derived again in memory, and reading takes longer.
"""

import json
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ftray.files import replace_file
from ftray.runs.folder import RunFolder
from ftray.tables.bars import parquet, read_bars
from ftray.tables.ingest import CARD, Intake, New, State, from_plain, to_plain
from ftray.tables.parts import ReadPart, read_part, select
from ftray.tables.schema import FORMAT, SCHEMA, arrow_table, concat

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER, MANIFEST = "tables", "manifest.json"

MERGED = 8
"""This many files of about one size are merged."""

MAX_MERGED_ROWS = 1_000_000
"""A file of this many rows is not merged again."""

MAX_BATCH_ROWS = 200_000
"""Rows that are in memory before they are written to a file."""

LOOK_EVERY = 5.0
"""Seconds between two reads of object storage."""

Answer = TypeVar("Answer")

Part = tuple[str, int]
"""A file, relative to `tables/`, and its rows."""


def compact(run: RunFolder, *, whole: bool = False) -> Path:
    """Brings the tables up to date: reads what is new, writes it into new files, and merges small files.

    The study's driver alone may call it. whole: the study has ended: this waits for no later writes of its trials,
    and merges all small files.
    """
    folder = run.path / FOLDER
    before = _read_manifest(folder)
    found = before or _start()
    parts: dict[str, list[Part]] = {name: [tuple(part) for part in found["parts"].get(name, [])] for name in SCHEMA}
    writer = _Writer(folder, found["next"])
    intake = Intake(run, from_plain(found["state"]))
    for new in intake.take(all_late=whole):
        for name, table in _tables_of(new):
            parts[name] += writer.write(name, table)
    closed = intake.close()
    if closed:
        parts["trials"] += writer.write("trials", arrow_table("trials", closed))
    for name in parts:
        parts[name] = _merged(folder, name, parts[name], writer, n_merged=2 if whole else MERGED)
    still_open = intake.trial_rows()
    opened = writer.write("trials", arrow_table("trials", still_open), "open-") if still_open else []
    manifest = {"format": FORMAT, "next": writer.next, "parts": parts, "open": opened, "state": to_plain(intake.state)}
    folder.mkdir(exist_ok=True)
    replace_file(folder / MANIFEST, json.dumps(manifest).encode())
    run.sync(FOLDER)
    _sweep(run, {file for some in (*parts.values(), opened) for file, _ in some}, everywhere=before is None)
    return folder


class Tables:
    """The current tables of a run folder: what is in files, and what is only in events so far."""

    def __init__(self, run: RunFolder, read_part: ReadPart = read_part):
        """read_part: how one file is read."""
        self.run, self.folder, self._read_part = run, run.path / FOLDER, read_part
        self._stamp: Any = None
        self._parts: dict[str, list[Part]] = {}
        self._tails: dict[str, list[Any]] = {}
        self._intake: Intake | None = None
        self._closed: list[dict[str, Any]] = []
        self._next_look = 0.0

    def refresh(self) -> None:
        """Reads what was written since the last call; from object storage only every few seconds."""
        self._bring()
        stamp = _stamp(self.folder / MANIFEST)
        if self._intake is None or stamp != self._stamp:
            found = _read_manifest(self.folder) or _start()
            self._stamp = stamp
            self._parts = {name: [tuple(part) for part in found["parts"].get(name, [])] for name in SCHEMA}
            self._tails, self._closed = {name: [] for name in SCHEMA}, []
            self._intake = Intake(self.run, from_plain(found["state"]))
        try:
            for new in self._intake.take(running=True):
                for name, table in _tables_of(new):
                    self._tails[name].append(table)
            self._closed += self._intake.close()
        except BaseException:  # its reads so far are lost: the next call begins again
            self._intake = None
            raise

    def files(self, name: str) -> list[Path]:
        """The files that a table consists of; what is not in them yet is in `tail`."""
        files = [self.folder / file for file, _ in self._parts[name]]
        missing = [file.relative_to(self.run.path).as_posix() for file in files if not file.exists()]
        if missing:
            self.run.fetch(*missing)
        return files

    def tail(self, name: str) -> "pa.Table":
        """The rows of a table that are in no file yet."""
        assert self._intake is not None
        if name == "trials":
            return arrow_table(name, self._closed + self._intake.trial_rows())
        tails = self._tails[name]
        if len(tails) > 1:
            self._tails[name] = tails = [concat(tails)]
        return tails[0] if tails else arrow_table(name, [])

    def _bring(self) -> None:
        if self.run.mirror and time.monotonic() >= self._next_look:
            finished = (name for name in self.run.mirror.names("encoders") if "/." not in name)
            cards = (n for n in finished if Path(n).name in CARD and not (self.run.path / n).exists())
            self.run.mirror.pull("study.json", "events.jsonl", f"{FOLDER}/{MANIFEST}", "benchmarks", *cards)
            self.run.mirror.follow("DONE")
            self._next_look = time.monotonic() + LOOK_EVERY

    def read(self, name: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        """A table, or some of its columns, of the rows that have these values, a list any of them; columns that it
        lacks are left out."""
        columns = None if columns is None else list(dict.fromkeys(columns))

        def parts() -> list[Any]:
            found = [self._read_part(file, columns, equal) for file in self.files(name)]
            return [*(part for part in found if len(part)), select(self.tail(name), columns, equal)]

        return concat(self._retried(parts)).combine_chunks()

    def columns(self, name: str) -> set[str]:
        """The columns that a table has so far."""
        import pyarrow.parquet as pq

        def names() -> set[str]:
            return {column for file in self.files(name) for column in pq.read_schema(file).names}

        return self._retried(names) | set(self.tail(name).column_names)

    def moved(self) -> bool:
        """Whether the tables consist of other files than at the last refresh: small ones were merged."""
        self._next_look = 0.0
        self._bring()
        return _stamp(self.folder / MANIFEST) != self._stamp

    def _retried(self, look: Callable[[], Answer]) -> Answer:
        """The answer of a read of the files, which is repeated if they change meanwhile."""
        while True:
            self.refresh()
            try:
                return look()
            except FileNotFoundError:  # merged with others just now: the manifest names the new file
                if not self.moved():
                    raise


class _Writer:
    """Writes files under names that are never reused, even by a driver on another machine."""

    def __init__(self, folder: Path, next_number: int):
        self.folder, self.next, self._token = folder, next_number, secrets.token_hex(3)

    def write(self, name: str, table: "pa.Table", prefix: str = "") -> list[Part]:
        if not len(table):
            return []
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        file = f"{name}/{prefix}{self.next:06}-{self._token}.parquet"
        self.next += 1
        replace_file(self.folder / file, parquet(table))
        return [(file, len(table))]


def _tables_of(new: New) -> Iterable[tuple[str, "pa.Table"]]:
    """What was read, as tables; bars in batches, however many trials ended at once."""
    for name, rows in new.rows.items():
        if rows:
            yield name, arrow_table(name, rows)
    for name, files in new.files.items():
        batch: list[Any] = []
        for i, file in enumerate(files):
            batch.append(read_bars(file, name))
            if i == len(files) - 1 or sum(map(len, batch)) > MAX_BATCH_ROWS:
                yield name, concat(batch)
                batch = []


def _merged(folder: Path, name: str, parts: list[Part], writer: _Writer, n_merged: int) -> list[Part]:
    """Parts, with those of about one size merged if there are many: each row is rewritten only a few times."""
    import pyarrow.parquet as pq

    def size(part: Part) -> int:
        return int(math.log(part[1], MERGED)) if n_merged == MERGED else 0

    while True:
        small = [part for part in parts if part[1] < MAX_MERGED_ROWS]
        groups = [[part for part in small if size(part) == tier] for tier in sorted({size(part) for part in small})]
        group = next((group for group in groups if len(group) >= n_merged), None)
        if group is None:
            return parts
        taken = []
        for part in group:
            taken.append(part)
            if sum(rows for _, rows in taken) >= MAX_MERGED_ROWS:
                break
        table = concat([pq.read_table(folder / file) for file, _ in taken])
        if "trial" in table.column_names:
            table = table.sort_by([("trial", "ascending")])  # stable: rows of a trial keep their order
        parts = [part for part in parts if part not in taken] + writer.write(name, table)


def _sweep(run: RunFolder, kept: set[str], everywhere: bool) -> None:
    """Deletes files that the manifest no longer names; a reader of one notices, and reads again.

    everywhere: also another driver's, which are on object storage only.
    """
    folder = run.path / FOLDER
    if run.mirror and everywhere:
        there = [name for name in run.mirror.names(FOLDER) if name.endswith(".parquet")]
        for name in there:
            if name.removeprefix(f"{FOLDER}/") not in kept:
                run.mirror.delete(name)
    for file in folder.glob("*/*.parquet"):
        if str(file.relative_to(folder)) not in kept:
            file.unlink(missing_ok=True)
            if run.mirror:
                run.mirror.delete(file.relative_to(run.path).as_posix())


def _start() -> dict[str, Any]:
    return {"format": FORMAT, "next": 0, "parts": {}, "open": [], "state": to_plain(State())}


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """None where there are no tables, or none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
        return found if found["format"] == FORMAT else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _stamp(file: Path) -> Any:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
