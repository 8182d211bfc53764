"""Looks: which bars the trials of a study were judged on, and who read which test window.

Takes: what a driver records. Gives: `Look`, and the `Ledger` of all looks, next to run folders.

    RUNS/.looks/STUDY/RUN.KIND.BARS.TRIAL[.TIME][.nN].json    one look, or the N looks of one trial

The best of many looks at the same bars is too good, whichever studies they belong to, and a look cannot be undone: that
of a run folder that is deleted still counts. Each look is an object of its own, so that any number of drivers write at
once, on object storage too, and none of them replaces what another wrote. What is counted is in an object's name:
a reader lists the folder, and reads one object for each study and kind.
"""

import contextlib
import dataclasses
import enum
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftray.files import replace_file
from ftray.metrics import EVALUATIONS, VALIDATION
from ftray.runs.events import to_json
from ftray.runs.seen_bars import SeenBars
from ftray.storage import Location, Mirror, is_url, join

FOLDER = ".looks"
"""The ledger's folder, next to run folders."""

FORMAT = 1
"""Number of a look's format."""

_NAME = re.compile(
    r"(?P<run>[0-9a-f]{12})\.(?P<kind>\w+)\.(?P<bars>[0-9a-f]{8})\.(?P<trial>.+?)(\.(?P<at>\d{20}))?(\.n(?P<n>[\de]+))?\.json"
)

MOST = 1e300
"""Looks beyond which none are counted: a float has no more."""


class LookKind(enum.StrEnum):
    """What saw the bars: a trial, on validation windows; a read of the test window; a backtest on later candles."""

    TRIAL = "trial"
    TEST_WINDOW = "test_window"
    LATER = "later"


@dataclasses.dataclass(frozen=True)
class Look:
    """One look at bars.

    study: its name. run: the id of its run folder (`RunFolder.id`). trial: its id.
    at: when, ISO 8601; None for a trial, which looks as long as it trains.
    n: how many looks it counts as: those of a trial's own choice among its evaluations, see `looks_of`.
    """

    kind: LookKind
    study: str
    run: str
    trial: str
    bars: SeenBars
    at: str | None = None
    n: float = 1.0

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same look, whoever recorded it."""
        return (self.run, self.kind, self.trial, _digits(self.at))

    @property
    def name(self) -> str:
        """Its object's, in the ledger's folder; always the same, so that it can be written twice."""
        more = [_digits(self.at), "" if self.n == 1 else f"n{_whole(self.n)}"]
        parts = (self.run, self.kind, self.bars.fingerprint, self.trial, *filter(None, more), "json")
        return f"{self.study}/{'.'.join(parts)}"

    @property
    def content(self) -> bytes:
        return to_json({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode()

    def __str__(self) -> str:
        what = {LookKind.TRIAL: "validated on", LookKind.TEST_WINDOW: "read the test window"}.get(
            self.kind, "judged on"
        )
        at = "" if self.at is None else f", at {self.at[:16].replace('T', ' ')} UTC"
        return f"{self.study}, {self.trial}: {what} {self.bars}{at}"


class Looks(NamedTuple):
    """What a ledger holds. damaged: looks whose bars no object has that can be read, by key; their objects' names."""

    looks: tuple[Look, ...]
    damaged: dict[tuple[str, ...], str]


class Ledger:
    """The looks of all studies whose run folders lie in one place."""

    def __init__(self, root: Location):
        """root: where the run folders are."""
        self.folder = join(root, FOLDER)
        self._mirror = Mirror(self.folder, "read") if is_url(root) else None
        self._written: set[str] = set()
        self._bars: dict[str, SeenBars] = {}  # by the name of the object that they were read from: none ever changes

    def record(self, look: Look, *, replace: bool = False) -> None:
        """Writes a look, unless it is there. replace: whatever is there may be damaged.

        Raises: OSError; StorageError for object storage.
        """
        if look.name in self._written and not replace:
            return
        if self._mirror:
            self._mirror.write(look.name, look.content)
        elif replace or not (Path(self.folder) / look.name).exists():
            replace_file(Path(self.folder) / look.name, look.content)
        self._written.add(look.name)

    def copy_to(self, root: Location) -> None:
        """Writes all looks to the ledger of another place, too."""
        other = Ledger(root)
        for look in self.read().looks:
            other.record(look)

    def read(self, study: str | None = None) -> Looks:
        """All looks, or those of one study.

        Objects of one study and kind at the same bars differ in their names alone, so that one of them is read.

        Raises: StorageError for object storage.
        """
        groups: dict[tuple[str, ...], list[tuple[str, re.Match[str]]]] = {}
        for name, parts in self._names(study):
            key = (name.partition("/")[0], parts["run"], parts["kind"], parts["bars"])
            groups.setdefault(key, []).append((name, parts))
        looks, damaged = dict[tuple[str, ...], Look](), dict[tuple[str, ...], str]()
        for (study, run, kind, _), group in groups.items():
            bars = next(filter(None, (self._bars_of(name) for name, _ in group)), None)
            if bars is None or kind not in list(LookKind):
                damaged |= {(run, kind, parts["trial"], parts["at"] or ""): name for name, parts in group}
                continue
            for _, parts in group:
                n = float(parts["n"] or 1)
                look = Look(LookKind(kind), study, run, parts["trial"], bars, _time(parts["at"]), n)
                if n >= looks.get(look.key, look).n:  # a trial that ends again has more evaluations
                    looks[look.key] = look
        return Looks(tuple(looks.values()), damaged)

    def _names(self, study: str | None) -> Iterator[tuple[str, re.Match[str]]]:
        """The objects' names, and their parts."""
        if self._mirror:
            names = self._mirror.names("" if study is None else study)
        else:
            folders = Path(self.folder).glob("*/") if study is None else [Path(self.folder) / study]
            names = [path.relative_to(self.folder).as_posix() for folder in folders for path in folder.glob("*.json")]
        for name in sorted(names):
            if parts := _NAME.fullmatch(name.rpartition("/")[2]):
                yield name, parts

    def _bars_of(self, name: str) -> SeenBars | None:
        """The bars of an object; None if it is damaged."""
        if name not in self._bars:
            content = self._mirror.read(name) if self._mirror else (Path(self.folder) / name).read_bytes()
            with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
                self._bars[name] = SeenBars.from_plain(json.loads(content or b"")["bars"])
        return self._bars.get(name)


def saw_validation(metrics: Mapping[str, Any]) -> bool:
    """Whether a trial has reported a metric of its validation windows; one that is undefined (null) counts, too."""
    return any(name.startswith(VALIDATION) for name in metrics)


def looks_of(metrics: Mapping[str, Any], windows: Mapping[str, Any]) -> float:
    """How many looks at the validation windows a trial's metrics are the best of.

    1, unless each training's result is the best of its E evaluations (`TrialSpec.select`). They then count as
    independent: which neighbouring ones are not, so that the number is rather too large. Seeds see the same bars, and a
    mean over them is as much too good as one of them; of folds with bars of their own, each contributes a choice, and
    a mean over F of them is the best of E^F combinations.

    metrics: the trial's, as its record has them. windows: its spec's.

    >>> looks_of({"selected/evaluations": 20}, {"kind": "walk_forward", "n_folds": 3})
    8000.0
    """
    evaluations = metrics.get(EVALUATIONS) or 1
    try:
        return min(MOST, float(evaluations) ** folds_apart(windows))
    except OverflowError:
        return MOST


def folds_apart(windows: Mapping[str, Any]) -> float:
    """How many folds of distinct bars a trial is validated on; combinatorial folds share bars.

    >>> folds_apart({"kind": "combinatorial", "n_groups": 6, "n_validation_groups": 2})
    3.0
    """
    match windows.get("kind"):
        case "walk_forward":
            return float(windows["n_folds"])
        case "combinatorial":
            return windows["n_groups"] / windows["n_validation_groups"]
        case _:
            return 1.0


def count_looks(n: float) -> str:
    """A number of looks as people read it.

    >>> count_looks(8000.0), count_looks(3.2e12)
    ('8,000', '3e+12')
    """
    return f"{n:,.0f}" if n < 1e6 else f"{n:.0e}"


def _whole(n: float) -> str:
    """A number of looks as part of a name: a whole number, from a million on rounded up to one digit.

    >>> _whole(8000.0), _whole(3.2e12)
    ('8000', '4e12')
    """
    if n < 1e6:
        return f"{math.ceil(n)}"
    power = math.floor(math.log10(n))
    return f"{math.ceil(n / 10.0**power)}e{power}"


def _digits(at: str | None) -> str:
    """A time to the microsecond, in digits alone: part of a name."""
    return "" if at is None else re.sub(r"\D", "", at.partition("+")[0]).ljust(20, "0")[:20]


def _time(digits: str | None) -> str | None:
    if digits is None:
        return None
    year, month, day, hour, minute, second = (digits[:4], *(digits[i : i + 2] for i in range(4, 14, 2)))
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}.{digits[14:]}+00:00"
