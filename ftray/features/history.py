"""What a policy has seen: the times of the windows that it was trained and chosen on, as `policy.json` records them.

Takes: the dataset of a training. Gives: a `History`, which finds the same bars again among candles that have grown, and
the first time that is new to the policy.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ftray.errors import DataError, SpecError
from ftray.features.dataset import Dataset
from ftray.market import Candles, Window, Windows, moment, moment_text, parse_interval
from ftray.market.intervals import interval_text
from ftray.numeric import whole_number

Span = tuple[np.datetime64, np.datetime64]
"""When the first and the last bar of a window open, UTC."""

SIDES = ("pretraining", "train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class History:
    """The candles of a policy's study, and what of them its training used.

    fingerprint: of the candles (`Candles.fingerprint`). n_bars: how many bars they are. span: the first and the last.
    interval: of a bar.
    windows: by name: the train windows of the pre-trained encoder that the training started from (none without one),
        the train and validation windows, and the test window, which is closed (none if there is none).
    """

    fingerprint: str
    n_bars: int
    span: Span
    interval: np.timedelta64
    windows: Mapping[str, tuple[Span, ...]]

    @classmethod
    def of(cls, dataset: Dataset, pretrained_on: Iterable[Sequence[str]] = ()) -> "History":
        """The history of a training on a dataset.

        pretrained_on: the first and the last bar of each train window of its encoder, as `Dataset.times` writes them.
        """
        candles, parts = dataset.candles, dataset.windows
        sides = (parts.train, parts.validation, (parts.test,) if len(parts.test) else ())
        own = [tuple((candles.times[w.start], candles.times[w.stop - 1]) for w in side) for side in sides]
        before = tuple(_span(one) for one in pretrained_on)
        windows: dict[str, tuple[Span, ...]] = dict(zip(SIDES, (before, *own), strict=True))
        span = (candles.times[0], candles.times[-1])
        return cls(candles.fingerprint, len(candles), span, candles.interval, windows)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "History | None":
        """The history in policy.json; None in one that ftray 0.1 wrote. Raises: DataError for one that is malformed."""
        candles, windows = facts.get("candles"), facts.get("windows")
        if candles is None or windows is None:
            return None
        try:
            return cls(
                str(candles["fingerprint"]),
                whole_number(candles["n_bars"], "n_bars", low=1),
                _span((candles["first"], candles["last"])),
                parse_interval(candles["interval"]),
                {side: tuple(_span(one) for one in windows[side]) for side in SIDES},
            )
        except (LookupError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, LookupError) else str(error)
            raise DataError(
                f"`candles` must state fingerprint, interval, n_bars, first and last, and `windows` the times of "
                f"{', '.join(SIDES)}: {why}"
            ) from error

    def to_facts(self) -> dict[str, Any]:
        """The entries of policy.json that `from_facts` reads."""
        first, last = map(moment_text, self.span)
        candles = {"fingerprint": self.fingerprint, "interval": interval_text(self.interval), "n_bars": self.n_bars}
        windows = {side: [[moment_text(at) for at in span] for span in spans] for side, spans in self.windows.items()}
        return {"candles": candles | {"first": first, "last": last}, "windows": windows}

    @property
    def last_seen(self) -> np.datetime64:
        """When the last bar opens that is not new: of all windows, the closed test window included."""
        return max(last for spans in self.windows.values() for _, last in spans)

    def own_candles(self, candles: Candles) -> Candles:
        """The candles of the study among some that may have grown since.

        Raises: DataError if any bar of them is missing, new or another one.
        """
        first, last = self.span
        try:
            found = candles.between(first, last + self.interval)
        except DataError as error:
            raise DataError(f"the policy was trained on bars from {_written(self.span)}: {error}") from None
        if found.fingerprint != self.fingerprint:
            now = (found.times[0], found.times[-1])
            held = f"{self.n_bars} bars from {_written(self.span)}, and there are {len(found)} from {_written(now)}"
            same = (self.n_bars, self.span, self.interval) == (len(found), now, found.interval)
            problem = "their prices or volumes have changed" if same else f"it had {held}"
            raise DataError(
                f"candles may be appended, and those that the policy was trained on must stay as they were: {problem}. "
                f"Restore them, or judge the policy on later candles alone, which `--market` names"
            )
        return found

    def windows_in(self, candles: Candles) -> Windows:
        """Its train, validation and test windows among these candles, by their times; without those that have none."""
        train, validation, test = (
            tuple(window for span in self.windows[side] if len(window := _window(span, candles))) for side in SIDES[1:]
        )
        none = Window(len(candles), len(candles))
        return Windows(train, validation, test[0] if test else none)


def interval_of(facts: Mapping[str, Any]) -> np.timedelta64 | None:
    """The length of the bars that a policy was trained on, from the entries of policy.json.

    ftray 0.1 recorded it as a field of the trial's market alone: None where that is a plug-in's and has no such field.
    """
    history = History.from_facts(facts)
    if history is not None:
        return history.interval
    try:
        return parse_interval(facts["trial"]["market"]["interval"])
    except (LookupError, TypeError, SpecError):
        return None


def check_interval(interval: np.timedelta64 | None, candles: Candles) -> None:
    """Refuses bars of another length than those that a policy was trained on. Raises: DataError.

    interval: as `interval_of` gives it; of None nothing can be said.
    """
    if interval is not None and candles.interval != interval:
        ours, theirs = interval_text(interval), interval_text(candles.interval)
        raise DataError(f"this policy decides on bars of {ours}, and these candles are of {theirs}")


def overlapping(spans: Iterable[Span], times: np.ndarray) -> int:
    """How many of these times (T,) lie in spans."""
    inside = np.zeros(len(times), bool)
    for first, last in spans:
        inside |= (times >= first) & (times <= last)
    return int(inside.sum())


def _window(span: Span, candles: Candles) -> Window:
    """The bars of a span, by their times."""
    first, last = span
    return Window(int(np.searchsorted(candles.times, first)), int(np.searchsorted(candles.times, last, side="right")))


def _span(texts: Sequence[str]) -> Span:
    """Raises: TypeError or ValueError for anything but two times, as `moment_text` writes them."""
    first, last = (np.datetime64(datetime.datetime.fromisoformat(text), "ns") for text in texts)
    return first, last


def _written(span: Span) -> str:
    return " to ".join(map(moment, span))
