"""How much each search parameter matters.

Takes: an Optuna study. Gives: shares.
"""

import optuna
from optuna.trial import TrialState

from ftray.errors import NoResultError
from ftray.search.optuna_trials import quiet


def importance(study: optuna.Study) -> dict[str, float]:
    """How much each search parameter matters for being among the best, largest first; the shares add up to 1.

    By conditional PED-ANOVA (Watanabe et al. 2023), which handles conditional spaces and several objectives, over the
    complete trials. A handful of trials is not enough.

    Raises: NoResultError for fewer than two complete trials, or without search parameters.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    n_params = len({name for trial in complete for name in trial.params})
    if len(complete) < 2 or not n_params:
        raise NoResultError(
            f"importance needs at least 2 complete trials and a search parameter; this study has {len(complete)} "
            f"complete trials and {n_params} search parameters"
        )
    with quiet():  # Optuna warns of a branch with a single trial, which it leaves out
        return optuna.importance.get_param_importances(study)
