"""Converts trial records to Optuna's form; the only converter.

Takes: trial records, the space they were sampled from, objectives, constraints. Gives: Optuna's frozen trials, and
studies of them in memory for `optuna.visualization` and `optuna.importance`. Needs no run folder.
"""

import contextlib
import datetime
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, hardly_trades, is_number, is_undefined
from ftray.search.space import Space

OPTUNA_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}
"""States of trials that have ended; to Optuna all others are running."""

RESOURCE = {"trial": "env_steps", "pretraining": "epoch"}
"""The metric that counts the steps of a job, by its kind."""


def sampled_trials(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The records of sampled configurations in Optuna's order. Jobs that only serve them have no number."""
    return sorted((record for record in records if record.number is not None), key=lambda record: record.number or 0)


def violations(metrics: Mapping[str, Any], constraints: Sequence[Constraint]) -> dict[str, float]:
    """By how much each constraint is violated (0 or less: it is met); without those whose metric is unknown."""
    found = {str(constraint): constraint.violation(metrics) for constraint in constraints}
    return {name: value for name, value in found.items() if is_number(value)}


def user_attributes(record: TrialRecord) -> dict[str, Any]:
    """A trial's id, and the metrics that it ended with."""
    return {"trial": record.id, **{name: value for name, value in record.metrics.items() if is_number(value)}}


def intermediate_values(reports: Iterable[Mapping[str, Any]], metric: str, resource: str) -> dict[int, float]:
    """A metric by step. A trial that continued from its checkpoint reports some steps again; the first report counts.

    resource: the metric that counts steps.
    """
    values: dict[int, float] = {}
    for row in reports:
        value, step = row.get(metric), row.get(resource)
        if is_number(value) and is_number(step):
            values.setdefault(int(step), value)
    return values


def frozen_trial(
    record: TrialRecord,
    space: Space,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    steps: Mapping[int, float] | None = None,
    system_attributes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A record as Optuna stores it.

    A complete trial that lacks an objective's value counts as failed, as in Optuna; see `values_of`.

    steps: the objective's intermediate values, of a study with one objective. system_attributes: what a sampler stored
    with the trial.
    """
    steps, values = dict(steps or {}), None
    state = OPTUNA_STATES.get(record.state, TrialState.RUNNING)
    if state == TrialState.COMPLETE:
        values = values_of(record.metrics, objectives, constraints)
        state = state if values else TrialState.FAIL
    elif state == TrialState.PRUNED and steps and len(objectives) == 1:
        values = [steps[max(steps)]]  # as `Study.tell` does
    trial = create_trial(
        state=state,
        values=values,
        params=dict(record.values),
        distributions={name: space.params[name].distribution for name in record.values},
        intermediate_values=steps,
        user_attrs=user_attributes(record),
        system_attrs=dict(system_attributes or {}),
        constraints=violations(record.metrics, constraints) if record.is_final else {},
    )
    if record.started_at is not None:
        trial.datetime_start = _local(record.started_at)
    if record.ended_at is not None and state.is_finished():
        trial.datetime_complete = _local(record.ended_at)
    return trial


def optuna_study(
    records: Iterable[TrialRecord],
    space: Space,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    reports: Iterable[Mapping[str, Any]] = (),
) -> optuna.Study:
    """An Optuna study in memory with the sampled trials of these records.

    reports: rows of the trials' reports, each with its `trial`; of studies with one objective.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in reports:
        rows.setdefault(row["trial"], []).append(row)
    with quiet():
        made = optuna.create_study(directions=[objective.direction for objective in objectives])
        made.set_metric_names([objective.metric for objective in objectives])
    for record in sampled_trials(records):
        steps = intermediate_values(rows.get(record.id, ()), objectives[0].metric, RESOURCE[record.kind])
        made.add_trial(frozen_trial(record, space, objectives, constraints, steps))
    return made


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log of new studies and its warnings about experimental features."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def values_of(
    metrics: Mapping[str, Any], objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> list[float] | None:
    """A complete trial's values as Optuna stores them; None if one is unknown.

    A trial that hardly trades, or reported an objective as undefined, has the worst value that there is: −∞ of one that
    is maximized. No finite value would do. 0, a ratio of nothing, would draw a sampler that knows no constraints to
    such trials wherever traders lose, and the worst value so far would turn into a good one when later trials do worse.
    Optuna's samplers rank an infinite value last, or take it for the worst finite one of the study (gp).
    """
    idle = hardly_trades(metrics, constraints)
    values: list[float] = []
    for one in objectives:
        value = metrics.get(one.metric)
        if idle or is_undefined(one.metric, metrics):
            values.append(-math.inf if one.direction == "maximize" else math.inf)
        elif is_number(value):
            values.append(value)
    return values if len(values) == len(objectives) else None


def _local(at: datetime.datetime) -> datetime.datetime:
    """Optuna's times: local and without a time zone."""
    return at.astimezone().replace(tzinfo=None)
