"""Starting points: those written by hand, then the best of another study.

Takes: a study, its run folder, the other one's. Gives: points to sample before the sampler chooses its own.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ftray.analysis.looks import UNKNOWN, bars_of
from ftray.analysis.ranking import pareto_front, rank_trials
from ftray.errors import RunFolderError, SpecError
from ftray.runs import RunFolder, TrialRecord
from ftray.runs.seen_bars import SeenBars
from ftray.search.space import Space
from ftray.study.search_spec import SearchSpec
from ftray.study.spec import StudySpec

EVENT = "warm_started"


def starting_points(spec: StudySpec, run: RunFolder) -> list[dict[str, Any]]:
    """All points that a study begins with, in the order in which they are sampled, always the same.

    The other study is read once, and what was taken from it is recorded in the run folder: it may change or vanish
    later, and a resumed study must know which points it has sampled already.

    Raises: RunFolderError if the other study has nothing to begin with, or has seen this study's test window.
    """
    points = [dict(point) for point in spec.search.points]
    if spec.search.warm_start is None:
        return points
    recorded = next((event for event in run.events() if event["event"] == EVENT), None)
    if recorded is None:
        other = RunFolder.open(spec.search.warm_start)
        chosen_on = _chosen_on(other, run)
        _check_no_leakage(chosen_on, other, run)
        taken, left_out = best_points(other, spec.space, spec.search)
        new = {trial: point for trial, point in taken.items() if point not in points}
        facts = {"points": new, "left_out": left_out, "chosen_on": [dataclasses.asdict(bars) for bars in chosen_on]}
        run.append_event(EVENT, run=spec.search.warm_start, **facts)
        return points + list(new.values())
    return points + list(recorded["points"].values())


def _chosen_on(other: RunFolder, run: RunFolder) -> list[SeenBars]:
    """The bars that the best points of a study were chosen on: its validation windows, and those of all studies behind
    its own warm start.

    Raises: RunFolderError where they are unknown and the study that begins, `run`, has a test window.
    """
    bars, own = bars_of(other), bars_of(run)
    if bars is None and own is not None and own.test_window is not None:
        raise RunFolderError(
            f"search.warm_start: {other.where} {UNKNOWN}, so that its best points may have been chosen on bars of this "
            "study's test window. Restore its folder `data`, or start from another study"
        )
    before = [one for event in other.events() if event["event"] == EVENT for one in event.get("chosen_on", ())]
    return [*([] if bars is None else [bars.validation]), *map(SeenBars.from_plain, before)]


def _check_no_leakage(chosen_on: Iterable[SeenBars], other: RunFolder, run: RunFolder) -> None:
    """Refuses points that were chosen on bars of this study's test window, like weights that were trained there.

    Raises: RunFolderError with both windows' times.
    """
    bars = bars_of(run)
    if bars is None or (test_window := bars.test_window) is None:
        return
    for seen in chosen_on:
        if shared := seen.overlap(test_window):
            raise RunFolderError(
                f"search.warm_start: the best points of {other.where} were chosen on validation windows {seen}, and "
                f"this study's test window is {test_window}: {shared[0]} to {shared[1]} is in both, so that the test "
                "window would prove nothing. Start from a study that was validated on earlier bars"
            )


def describe_warm_start(run: RunFolder) -> list[str]:
    """What a warm start took and what it could not take, a line each; empty without one."""
    lines = []
    for event in run.events():
        if event["event"] == EVENT:
            names = ", ".join(event["points"]) or "no point"
            lines.append(f"warm start: {names} of {event['run']}")
            lines += [f"  {trial} does not fit this space: {why}" for trial, why in event["left_out"].items()]
    return lines


def best_points(other: RunFolder, space: Space, search: SearchSpec) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The best points of another study that fit a space, best first, and why better ones do not; by trial.

    Best by the objectives and the constraints of the study that begins: first the front, then by the first objective.
    """
    records = other.records()
    ranked = rank_trials(records, search.goals, search.bounds)
    if not ranked:
        finished = [record for record in records if record.number is not None and record.state == "COMPLETE"]
        needed = [goal.metric for goal in search.goals] + [str(bound) for bound in search.bounds]
        raise RunFolderError(
            f"search.warm_start needs finished trials with {', '.join(needed)}; {other.path} has {len(finished)} "
            f"finished trials, of which none has that. See: ftray results {other.path}"
        )
    front = pareto_front(records, search.goals, search.bounds)
    in_front = {record.id for record in front}
    rest = (record for record in ranked if record.id not in in_front)
    taken: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for record in (*front, *rest):
        if len(taken) == search.warm_start_best:
            break
        try:
            point = fitted(record, space)
        except SpecError as error:
            left_out[record.id] = str(error)
        else:
            if point not in taken.values():
                taken[record.id] = point
    return taken, left_out


def fitted(record: TrialRecord, space: Space) -> dict[str, Any]:
    """A trial's values as a point of a space; what the trial does not set is sampled.

    A value that is fixed in this space fits if it is fixed to that very value.

    Raises: SpecError naming the value that does not fit.
    """
    inside = space.point({name: value for name, value in record.values.items() if name in space.params}, ())
    chosen, filled = space.choose(lambda param: inside.get(param.name, param.extremes()[0]))
    for name, value in record.values.items():
        if name not in chosen and _at(filled, name.split("/")[1:]) != value:
            raise SpecError(f"{value!r} cannot be set: here it is fixed, or depends on another choice", (name,))
    point = {name: value for name, value in inside.items() if name in chosen}
    if not point:
        raise SpecError("it has no search parameter in common with this study")
    return point


def _at(tree: Any, path: list[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
