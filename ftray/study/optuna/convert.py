"""What the run folder records, as Optuna stores it. Optuna's storage is rebuilt from it whenever a study starts.

Takes: trial records and a run folder. Gives: Optuna's frozen trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from ftray.runs import RunFolder, TrialRecord
from ftray.search.objectives import Constraint, Objective, is_number
from ftray.search.space import Space

OPTUNA_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


def drawn_trials(run: RunFolder) -> list[TrialRecord]:
    """The configurations that a study drew, in Optuna's order; jobs that only serve them have no number."""
    return sorted((r for r in run.trials() if r.number is not None), key=lambda r: r.number or 0)


def violations(metrics: Mapping[str, Any], constraints: Sequence[Constraint]) -> dict[str, float]:
    """By how much each constraint is missed (0 or less: met), of those whose figure is known."""
    told = {str(constraint): constraint.violation(metrics) for constraint in constraints}
    return {name: value for name, value in told.items() if is_number(value)}


def attributes(record: TrialRecord) -> dict[str, Any]:
    """What optuna-dashboard shows of a trial beside its values: its id, and the figures it ended with."""
    figures = {name: value for name, value in record.metrics.items() if is_number(value)}
    return {"trial": record.id, **figures}


def curve(run: RunFolder, trial_id: str, metric: str, resource: str) -> dict[int, float]:
    """What a trial reported on its way, by step; a trial that went on from its checkpoint repeats a few."""
    values: dict[int, float] = {}
    for row in run.trial(trial_id).reports():
        if is_number(row.get(metric)) and is_number(row.get(resource)):
            values.setdefault(int(row[resource]), row[metric])
    return values


def frozen(
    record: TrialRecord,
    space: Space,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    steps: Mapping[int, float] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A recorded trial as Optuna's storage has it; an unfinished one is running.

    steps: what it reported on its way, of a study with one objective. notes: what the sampler noted of it.
    """
    state = OPTUNA_STATES.get(record.state, TrialState.RUNNING)
    steps, values, judged = dict(steps or {}), None, state in (TrialState.COMPLETE, TrialState.PRUNED)
    if state == TrialState.COMPLETE:
        values = [record.metrics[objective.metric] for objective in objectives]
    elif state == TrialState.PRUNED and steps and len(objectives) == 1:
        values = [steps[max(steps)]]  # as Optuna has it of a trial that it is told was pruned
    return create_trial(
        state=state,
        values=values,
        params=dict(record.values),
        distributions={name: space.params[name].distribution for name in record.values},
        intermediate_values=steps,
        user_attrs=attributes(record),
        system_attrs=dict(notes or {}),
        constraints=violations(record.metrics, constraints) if judged else {},
    )
