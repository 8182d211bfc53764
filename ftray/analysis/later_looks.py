"""Looks at later candles: each is recorded for good, before its measures are known to anyone.

Takes: a policy, and the bars that it is judged on. Gives: lines about earlier looks at the same bars; an event in the
run folder that the policy belongs to, and an entry in the ledger next to run folders.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ftray.analysis.looks import LATER_READ
from ftray.analysis.test_window import record_read
from ftray.errors import RefusedError, RunFolderError, StorageError
from ftray.features import ObservationLayout, Scaler
from ftray.metrics import EQUAL_WEIGHT
from ftray.runs.folder import RunFolder
from ftray.runs.location import DRIVER, is_run_folder
from ftray.runs.looks import Ledger, Look, LookKind
from ftray.runs.seen_bars import SeenBars
from ftray.say import Say
from ftray.spec import fingerprint
from ftray.storage import Location
from ftray.trading import Backtest

Record = Callable[[Mapping[str, Backtest], Sequence[str], bool], None]
"""Records a look: backtests by name, the objections that were overruled, whether test bars were among those read."""


class Deployed(Protocol):
    """A policy that is judged: `ftray.nets.Policy`. folder: where it lies."""

    scaler: Scaler
    facts: dict[str, Any]
    folder: Path | None

    @property
    def layout(self) -> ObservationLayout: ...
    def __call__(self, observation: np.ndarray, /) -> np.ndarray: ...


@contextlib.contextmanager
def looking(
    policy: Deployed, run: Location | None, bars: SeenBars, simulated: bool, say: Say = print
) -> Iterator[Record]:
    """A block in which a policy is judged on some bars; it calls what it is given before it shows a measure.

    run: the run folder that the policy belongs to; None: the one that its folder lies in, if any.
    simulated: nobody trades these bars; looks at them are not in the ledger.

    Raises: RefusedError for a policy that lies in no folder; RunFolderError while another process drives the study.
    """
    if policy.folder is None:
        raise RefusedError(
            "a look at later candles is recorded where the policy lies, and this one lies nowhere: save it, and load "
            "it from there"
        )
    owner = _owner_of(policy.folder.absolute(), run)
    with owner.run.driven(say) if owner.run else contextlib.nullcontext():
        for line in _earlier(owner, bars):
            say(line)

        def record(backtests: Mapping[str, Backtest], objections: Sequence[str], reads_test: bool) -> None:
            at = _record_in_run(owner, policy, bars, simulated, backtests, objections, reads_test)
            if not simulated:
                _record_in_ledger(owner, Look(LookKind.LATER, owner.name, owner.id, owner.trial, bars, at))

        yield record


@dataclasses.dataclass(frozen=True)
class _Owner:
    """Whose look it is: a trial of a run, or a policy of none. ledger: where its looks are."""

    name: str
    id: str
    trial: str
    ledger: Ledger
    run: RunFolder | None = None


def _owner_of(folder: Path, location: Location | None) -> _Owner:
    """Whose policy a folder holds. location: its run folder; None: the one that it lies in, if any."""
    if location is None:
        location = next((parent for parent in list(folder.parents)[:4] if is_run_folder(parent)), None)
    if location is None:
        return _Owner(folder.parent.name or "policy", fingerprint(str(folder))[:12], folder.name, Ledger(folder.parent))
    run = RunFolder.open(location, DRIVER)
    home = run.path.absolute()
    if not folder.is_relative_to(home):
        raise RunFolderError(f"a policy of {run.where} must lie in it, and this one is in {folder}")
    trial = folder.relative_to(home).parts[1]  # trials/ID/policy, promoted/ID/seed-N/policy
    return _Owner(run.name, run.id, trial, run.ledger, run)


def _earlier(owner: _Owner, bars: SeenBars) -> list[str]:
    """How often some of these bars were looked at before, and a line for each time; empty if they never were."""
    looks = {look.key: look for look in owner.ledger.read().looks if look.kind != LookKind.TRIAL}
    for event in owner.run.events() if owner.run else ():
        if event["event"] == LATER_READ:
            seen = SeenBars.from_plain(event["bars"])
            look = Look(LookKind.LATER, owner.name, owner.id, event["trial"], seen, event["at"])
            looks[look.key] = look
    lines = [str(look) for look in sorted(looks.values(), key=lambda look: look.at or "") if look.bars.overlap(bars)]
    if not lines:
        return []
    times = "once" if len(lines) == 1 else f"{len(lines)} times"
    return [f"some of these bars were looked at {times} before, so that they prove less than new ones:", *lines]


def _record_in_run(
    owner: _Owner,
    policy: Deployed,
    bars: SeenBars,
    simulated: bool,
    backtests: Mapping[str, Backtest],
    objections: Sequence[str],
    reads_test: bool,
) -> str:
    """Appends the look to the events of the run, if there is one; when it was."""
    if owner.run is None:
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    figures = {name: one.performance(backtests[EQUAL_WEIGHT]) for name, one in backtests.items()}
    training = {key: policy.facts[key] for key in ("fold", "seed")}
    where = Path(policy.folder or "").absolute().relative_to(owner.run.path.absolute()).as_posix()
    seen = {"bars": dataclasses.asdict(bars), "simulated": simulated}
    facts = {"policy": where, **training, **seen, "figures": figures, "forced": objections}
    owner.run.append_event(LATER_READ, trial=owner.trial, **facts)
    at = owner.run.events()[-1]["at"]
    if reads_test:
        forced = [f"ftray backtest --force on {bars}: {one}" for one in objections]
        record_read(owner.run, owner.trial, [training["seed"]], [figures["policy"]], forced=forced)
    return at


def _record_in_ledger(owner: _Owner, look: Look) -> None:
    """Writes the ledger's entry. One of a run may be lost: its events have it, and the next driver writes it again."""
    with contextlib.suppress(*[OSError, StorageError] * (owner.run is not None)):
        owner.ledger.record(look)
