"""Looks of other studies at the bars of this one: how many trials its best one is really the best of.

Takes: a run folder. Gives: `Elsewhere`, and lines that describe it; entries that the ledger lacks.

What counts: trials and reads of other run folders in the same place, and in those that `search.also_counts` names, at
bars that this study's windows share. The ledger (`ftray.runs.looks`) has them, of run folders that are deleted, too. A
study that has no entry there, as earlier versions wrote none, is counted from its run folder.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ftray.analysis.luck import describe_trials, looks_taken
from ftray.analysis.test_window import reads_of
from ftray.errors import FtrayError, RunFolderError, StorageError
from ftray.runs.folder import RunFolder
from ftray.runs.location import is_run_folder, run_folders, runs_root
from ftray.runs.looks import Ledger, Look, LookKind, count_looks, looks_of, saw_validation
from ftray.runs.records import TrialRecord
from ftray.runs.seen_bars import SeenBars, StudyBars
from ftray.say import Say
from ftray.storage import Location, join

if TYPE_CHECKING:
    from ftray.features import Dataset

SIMULATOR = "simulator"
"""The kind of market that nobody trades: looks at it are not counted."""

LATER_READ = "later_candles_read"
"""The event of a look at later candles: `trial`, `bars`, and whether they are `simulated`."""

UNKNOWN = "records no windows, and its prepared data are gone"

Found = dict[tuple[str, ...], Look]
"""Looks by their keys: each once, however many places have it."""


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """What other studies have seen of this one's bars.

    validation: looks at bars of its validation windows. test_window: at bars of its test window.
    not_counted: what could not be counted, and why.
    """

    validation: tuple[Look, ...] = ()
    test_window: tuple[Look, ...] = ()
    not_counted: tuple[str, ...] = ()

    @property
    def n(self) -> float:
        """How many looks count like further trials of this study."""
        return sum(look.n for look in self.validation)

    def describe(self, here: Sequence[TrialRecord]) -> list[str]:
        """How many looks there are, and which of them saw what should be new, in lines; none where there are none.

        here: trials of this study that have reported.
        """
        lines = []
        if self.validation:
            counted = describe_trials(len(here), looks_taken(here))
            lines.append(f"looks at these validation bars: {counted} here, {_counted(self.validation)}")
        if reads := _reads(self.validation):
            lines += ["  among them reads, so that these bars were not new to this search:"]
            lines += [f"    {look}" for look in reads]
        if trials := [look for look in self.test_window if look.kind == LookKind.TRIAL]:
            lines.append(f"the test window shares bars with validation windows: {_counted(trials)}")
        if reads := _reads(self.test_window):
            lines += ["the test window shares bars with windows that were read:", *(f"  {look}" for look in reads)]
        return lines + [f"not counted: {problem}" for problem in self.not_counted]


def looks_elsewhere(run: RunFolder) -> Elsewhere:
    """Looks of other studies at the bars of this one; none where they are simulated.

    A study on the same candles whose windows are unknown counts as if it had the same windows.
    """
    if _is_simulated(run):
        return Elsewhere()
    mine, found, problems = bars_of(run), Found(), list[str]()
    for place in (runs_root(run.location), *run.also_counts):
        try:
            found |= _looks_in(place, run, mine, problems)
        except StorageError as error:
            problems.append(f"looks in {place}, which cannot be read: {error}")
    own = {look.key for look in _looks_of(run, mine)}
    others = [look for key, look in found.items() if key not in own]  # of copies of this run folder, too
    if mine is None:
        problem = f"looks of other studies ({len(others)}), as {run.where} {UNKNOWN}"
        return Elsewhere(not_counted=(problem,) if others else ())
    validation = tuple(look for look in others if look.bars.overlap(mine.validation))
    test_window = tuple(look for look in others if mine.test_window and look.bars.overlap(mine.test_window))
    return Elsewhere(validation, test_window, tuple(dict.fromkeys(problems)))


def earlier_reads(run: RunFolder) -> list[Look]:
    """Reads of bars of this study's test window by other studies."""
    return _reads(looks_elsewhere(run).test_window)


def count_also(run: RunFolder, places: Iterable[Location], say: Say = print) -> None:
    """Records other places, run folders or folders of them, whose looks count for this study from now on.

    The caller is about to drive `run`. Raises: RunFolderError for a place that has neither run folders nor a ledger.
    """
    new = [place for place in map(str, places) if place not in run.also_counts]
    check_places(new)
    if new:
        with run.driven(say):
            run.append_event("also_counts", places=new)


def check_places(places: Iterable[Location]) -> None:
    """Raises: RunFolderError for a place that has neither run folders nor a ledger."""
    for place in places:
        if not (is_run_folder(place) or run_folders(place) or Ledger(place).read().looks):
            raise RunFolderError(
                f"search.also_counts must name run folders, or folders of them, and {place} has none: check the path"
            )


def restore_looks(run: RunFolder, say: Say = print) -> None:
    """Writes to the ledger what the run folders next to it have and it lacks: lost or damaged entries, and those of
    studies of earlier versions, which had none. The caller is the driver of `run`."""
    root, n = runs_root(run.location), 0
    try:
        found = {look.key: look.n for look in run.ledger.read().looks}
        for name in run_folders(root):
            other = run if name == run.name else _opened(join(root, name), [])
            for look in _looks_of(other, bars_of(other)) if other else ():
                if look.n > found.get(look.key, 0.0):
                    run.ledger.record(look, replace=True)
                    n += 1
    except (OSError, StorageError) as error:
        say(f"{run.ledger.folder} cannot be written: a look will count only until its run folder is deleted ({error})")
    if n:
        say(f"{n} {'look' if n == 1 else 'looks'} of run folders in {root} were missing in its ledger: now it has them")


def bars_of(run: RunFolder) -> StudyBars | None:
    """The bars that a study judges its trials on: as its run folder records them, or as its prepared data have them.

    None where it has neither.
    """
    if run.bars is not None:
        return run.bars
    run.fetch("data")
    datasets = list(_datasets(run))
    if not datasets:
        return None
    candles, test_window = datasets[0].candles, datasets[0].windows.test
    return StudyBars(
        SeenBars.of(candles, [window for one in datasets for window in one.windows.validation]),
        SeenBars.of(candles, [test_window]) if len(test_window) else None,
        _is_simulated(run),
    )


def _datasets(run: RunFolder) -> "Iterator[Dataset]":
    from ftray.features import Dataset  # imports pandas, and what this version recorded needs none

    for folder in sorted((run.path / "data").glob("[!.]*")):
        with contextlib.suppress(RunFolderError):  # of another format
            yield Dataset.load(folder)


def _is_simulated(run: RunFolder) -> bool:
    """Whether nobody trades the candles of a study; also of one without trials, which looks at nothing."""
    if run.bars is not None:
        return run.bars.simulated
    return all((record.spec.get("market") or {}).get("kind", SIMULATOR) == SIMULATOR for record in run.records())


def _looks_in(place: Location, run: RunFolder, mine: StudyBars | None, problems: list[str]) -> Found:
    """The looks of all studies in a place, or of one run folder. mine: the bars of `run`, if they are known."""
    only = str(place).rstrip("/").rpartition("/")[2] if is_run_folder(place) else None
    root = runs_root(place) if only else place
    held = (run.ledger if str(root) == str(runs_root(run.location)) else Ledger(root)).read(only)
    found: Found = {look.key: look for look in held.looks}
    complete = {look.study for look in held.looks} - {name.partition("/")[0] for name in held.damaged.values()}
    names = [only] if only else run_folders(root)
    if not (names or held.looks or held.damaged):
        problems.append(f"looks in {place}, where this machine sees no run folders")
    for name in names:
        if name not in complete and (other := _opened(join(root, name), problems)):
            bars = bars_of(other)
            if bars is None and other.study.get("candles") == run.study.get("candles"):
                bars = mine
            if bars is None and not _is_simulated(other):
                problems.append(f"{other.where}, as it {UNKNOWN}")
            found = {look.key: look for look in _looks_of(other, bars)} | found
    if lost := [name for key, name in held.damaged.items() if key not in found]:
        problems.append(
            f"{len(lost)} damaged entries of deleted run folders in {Ledger(root).folder}: {', '.join(lost)}"
        )
    return found


def _opened(location: Location, problems: list[str]) -> RunFolder | None:
    """A run folder; None, with the problem, if it cannot be read."""
    try:
        run = RunFolder.open(location)
        run.records()
        return run
    except FtrayError as error:
        problems.append(f"{location}, as it cannot be read: {error}")
        return None


def _looks_of(run: RunFolder, bars: StudyBars | None) -> Iterator[Look]:
    """What a run folder itself has: trials that saw the validation windows, reads of the test window and of later
    candles."""
    for event in run.events():
        if event["event"] == LATER_READ and not event["simulated"]:
            later = SeenBars.from_plain(event["bars"])
            yield Look(LookKind.LATER, run.name, run.id, event["trial"], later, event["at"])
    if bars is None or _is_simulated(run):
        return
    for record in run.records():
        if record.number is not None and saw_validation(record.metrics):
            n = looks_of(record.metrics, record.spec.get("windows") or {})
            yield Look(LookKind.TRIAL, run.name, run.id, record.id, bars.validation, n=n)
    if bars.test_window is not None:
        for read in reads_of(run.events()):
            yield Look(LookKind.TEST_WINDOW, run.name, run.id, read.trial, bars.test_window, read.at.isoformat())


def _reads(looks: Iterable[Look]) -> list[Look]:
    return sorted((look for look in looks if look.kind != LookKind.TRIAL), key=lambda look: look.at or "")


def _counted(looks: Sequence[Look]) -> str:
    """How many looks of how many studies: a study that was deleted and run again is two."""
    n_studies, names = len({look.run for look in looks}), sorted({look.study for look in looks})
    which = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    n = count_looks(sum(look.n for look in looks))
    return f"{n} in {n_studies} other {'study' if n_studies == 1 else 'studies'} ({which})"
