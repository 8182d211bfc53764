"""How much each searched value mattered.

Takes: finished trials and their study. Gives: shares. optuna is imported when it is asked for.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ftray.errors import RunFolderError
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, is_number


def importance(
    trials: Sequence[TrialRecord],
    study: Mapping[str, Any],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
) -> dict[str, float]:
    """How much each searched value mattered for being among the best, largest first; the shares add up to 1.

    By conditional PED-ANOVA (Watanabe et al. 2023), which knows conditional spaces and several objectives, and judges
    the finished trials alone. A handful of trials tells little.

    Raises: RunFolderError for fewer than two finished trials, or without searched values.
    """
    finished = [
        trial
        for trial in trials
        if trial.state == "COMPLETE" and all(is_number(trial.metrics.get(goal.metric)) for goal in objectives)
    ]
    import optuna

    from ftray.search.space import Space

    params = Space(study.get("trial") or {}).params
    if len(finished) < 2 or not params:
        raise RunFolderError(
            f"importance needs at least 2 finished trials and a search parameter; this study has {len(finished)} "
            f"finished trials and {len(params)} search parameters"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a branch with a single trial is left out
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            made = optuna.create_study(directions=[objective.direction for objective in objectives])
            for trial in finished:
                told = {str(bound): bound.violation(trial.metrics) for bound in constraints}
                made.add_trial(
                    optuna.trial.create_trial(
                        values=[trial.metrics[goal.metric] for goal in objectives],
                        params=dict(trial.values),
                        distributions={name: params[name].distribution for name in trial.values},
                        constraints={name: value for name, value in told.items() if is_number(value)},
                    )
                )
            return optuna.importance.get_param_importances(made)
        finally:
            optuna.logging.set_verbosity(level)
