"""How much each search parameter matters, as far as the trials can say.

Takes: an Optuna study. Gives: shares, and a frame of them with intervals.
"""

from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from ftray.errors import NoResultError
from ftray.search.optuna_trials import quiet

if TYPE_CHECKING:
    import pandas as pd

MIN_TRIALS = 10
"""Complete trials below which nothing is said: the best tenth of fewer is a trial, by luck."""

N_RESAMPLES = 100
TAIL = 0.025


def importance(study: optuna.Study) -> "pd.DataFrame":
    """How much each search parameter matters for being among the best, largest first, as shares to a tenth.

    Columns: importance, and low, high: its 95 % interval, of its values for 100 samples of as many trials, with
    replacement (the percentile bootstrap).

    Raises: NoResultError for fewer than `MIN_TRIALS` complete trials, without search parameters, and where the
        intervals of all parameters overlap: then the trials do not say which one matters.
    """
    import pandas as pd

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    n_params = len({name for trial in trials for name in trial.params})
    if len(trials) < MIN_TRIALS or not n_params:
        raise NoResultError(
            f"importance needs at least {MIN_TRIALS} complete trials and a search parameter; this study has "
            f"{len(trials)} complete trials and {n_params} search parameters"
        )
    found = shares(study)
    rng = np.random.default_rng(0)
    resampled = [
        _shares_of(study, [trials[i] for i in rng.integers(len(trials), size=len(trials))]) for _ in range(N_RESAMPLES)
    ]
    values = np.array([[one.get(name, 0.0) for name in found] for one in resampled])
    low, high = np.quantile(values, [TAIL, 1.0 - TAIL], axis=0)
    if n_params > 1 and low.max() <= high.min():
        raise NoResultError(
            f"{len(trials)} complete trials do not say which search parameter matters: the intervals of all "
            f"{n_params} overlap; more trials may"
        )
    return pd.DataFrame({"importance": found.values(), "low": low, "high": high}, index=list(found)).round(1)


def shares(study: optuna.Study) -> dict[str, float]:
    """The importance of each search parameter, largest first, adding up to 1; without any idea of how sure it is.

    By conditional PED-ANOVA (Watanabe et al. 2023), which handles conditional spaces and several objectives, over the
    complete trials.
    """
    with quiet():  # Optuna warns of a branch with a single trial, which it leaves out
        return optuna.importance.get_param_importances(study)


def share_text(importance: float, low: float, high: float) -> str:
    """A share with its interval, as people read it.

    >>> share_text(0.6, 0.3, 0.8)
    '0.6 (0.3 to 0.8)'
    """
    return f"{importance:.1f} ({low:.1f} to {high:.1f})"


def _shares_of(study: optuna.Study, trials: list[FrozenTrial]) -> dict[str, float]:
    with quiet():
        made = optuna.create_study(directions=study.directions)
        made.add_trials(trials)
    return shares(made)
