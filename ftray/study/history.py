"""What the run folder records, as Optuna stores it. Optuna's storage is rebuilt from it whenever a study starts.

Takes: trial records and a run folder. Gives: Optuna's frozen trials, and how much each value mattered.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from ftray.errors import RunFolderError
from ftray.results import RunFolder, TrialRecord
from ftray.results.objectives import Constraint, Objective, constraints_of, is_number, objectives_of
from ftray.study.space import Space

OPTUNA_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


def drawn_trials(run: RunFolder) -> list[TrialRecord]:
    """The configurations that a study drew, in Optuna's order; jobs that only serve them have no number."""
    return sorted((r for r in run.trials() if r.number is not None), key=lambda r: r.number or 0)


def violations(metrics: Mapping[str, Any], constraints: Sequence[Constraint]) -> dict[str, float]:
    """By how much each constraint is missed (0 or less: met), of those whose figure is known."""
    told = {str(constraint): constraint.violation(metrics) for constraint in constraints}
    return {name: value for name, value in told.items() if is_number(value)}


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
        distributions={name: space.holes[name].distribution for name in record.values},
        intermediate_values=steps,
        system_attrs=dict(notes or {}),
        constraints=violations(record.metrics, constraints) if judged else {},
    )


def importance(run: RunFolder | Path | str) -> dict[str, float]:
    """How much each searched value mattered for being among the best, largest first; the shares add up to 1.

    By conditional PED-ANOVA (Watanabe et al. 2023), which knows conditional spaces and several objectives, and judges
    the finished trials alone. A handful of trials tells little.

    Raises: RunFolderError for fewer than two finished trials, or a run without holes.
    """
    run = run if isinstance(run, RunFolder) else RunFolder.open(run)
    space, objectives = Space(run.study.get("trial") or {}), objectives_of(run)
    finished = [record for record in drawn_trials(run) if record.state == "COMPLETE"]
    if len(finished) < 2 or not space.holes:
        raise RunFolderError(
            f"importance needs at least 2 finished trials of a study with holes; {run.path} has {len(finished)} "
            f"finished trials and {len(space.holes)} holes"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a branch with a single trial is left out
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(directions=[objective.direction for objective in objectives])
            study.add_trials([frozen(record, space, objectives, constraints_of(run)) for record in finished])
            return optuna.importance.get_param_importances(study)
        finally:
            optuna.logging.set_verbosity(level)
