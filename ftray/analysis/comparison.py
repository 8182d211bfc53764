"""Groups of trials compared: robust means, their intervals, the probability that one beats another.

Takes: the tables `trials`, `folds` and `returns` as frames. Gives: frames of plain numbers.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ftray import stats
from ftray.errors import NoResultError, QueryError
from ftray.spec import nearest

if TYPE_CHECKING:
    import pandas as pd

GROUP = "group"
MAX_BLOCKS = 16
MAX_COMPARED = 500
"""Trials that the probability of overfitting is computed over, at most: all their bars are in memory at once."""


class Runs(NamedTuple):
    """scores: (trials × seeds, folds). trials: (trials × seeds,) which one each row is of."""

    scores: np.ndarray
    trials: np.ndarray


COMPARED = ("n_trials", "n_runs", "mean", "low", "high", "improvement", "improvement_low", "improvement_high")
"""The columns of `compare_data`."""


def compare_data(
    trials: "pd.DataFrame",
    folds: "pd.DataFrame",
    by: str,
    metric: str,
    where: str | None = None,
    baseline: str | None = None,
    confidence: float = 0.95,
) -> "pd.DataFrame":
    """A row per group of finished trials, the best first.

    by: a column of `trials`, like `encoder`, or the end of a search parameter's name, like `d_token`. metric: a column
    of `folds`. where: a condition on `trials` in pandas' syntax. baseline: by default the group with the lowest mean.

    Columns: n_trials, n_runs (fold × seed), the interquartile mean of all trainings with its interval, and with its
    interval the probability that a training beats one of the baseline on the same fold (`improvement`). The intervals
    are over whole trials, with their seeds and folds: NaN below 5 of them, here or in the baseline. Groups also differ
    in what else was searched. Only folds that all groups share are compared.

    Raises: QueryError for an unknown column or baseline; NoResultError if there are no groups to compare.
    """
    import pandas as pd

    column = column_of(trials, by)
    keys = [key for key in ("study", "trial") if key in folds]
    runs = _finished_runs(trials, folds, column, keys, where).dropna(subset=[metric, GROUP])
    if runs.empty:
        raise NoResultError(f"there is no finished training to compare by {column}")
    n_trials = {str(name): len(group[keys].drop_duplicates()) for name, group in runs.groupby(GROUP)}
    runs_of, n_folds = _shared_runs(runs, metric, keys)
    means = {name: stats.interquartile_mean(found.scores) for name, found in runs_of.items()}
    beaten = _baseline(means, baseline)
    rows = [
        {column: name, "n_trials": n_trials[name], "mean": means[name], **_interval(found, confidence)}
        | ({} if name == beaten else _improvement(found, runs_of[beaten], confidence))
        for name, found in runs_of.items()
    ]
    compared = pd.DataFrame(rows, columns=[column, *COMPARED]).sort_values("mean", ascending=False).set_index(column)
    compared.attrs |= {"metric": metric, "baseline": beaten, "confidence": confidence, "folds": n_folds}
    return compared


def _baseline(means: dict[str, float], wanted: str | None) -> str:
    if wanted is not None and wanted not in means:
        raise QueryError(f"baseline must be one of {', '.join(means)}; got {wanted!r}")
    return wanted or min(means, key=lambda name: means[name])


def _interval(runs: Runs, confidence: float) -> dict[str, float]:
    low, high = stats.interquartile_mean_interval(runs.scores, trials=runs.trials, confidence=confidence)
    return {"n_runs": runs.scores.size, "low": low, "high": high}


def _finished_runs(
    trials: "pd.DataFrame", folds: "pd.DataFrame", column: str, keys: list[str], where: str | None
) -> "pd.DataFrame":
    """The rows of `folds` that belong to finished, feasible trials, with the trial's group."""
    import pandas as pd

    finished = trials[(trials["state"] == "COMPLETE") & trials["feasible"].fillna(False)]
    if where:
        finished = finished.query(where)
    groups = {**{key: finished[key] for key in keys}, GROUP: finished[column]}  # `folds` may have its name, too
    return folds.merge(pd.DataFrame(groups), on=keys)


def column_of(trials: "pd.DataFrame", name: str) -> str:
    """The column of `trials` that a name means: its own, or a searched value's by the end of its path.

    Raises: QueryError for none, or several.
    """
    if name in trials:
        return name
    found = [column for column in trials if str(column).startswith("trial/") and str(column).endswith(f"/{name}")]
    if len(found) != 1:
        what = f"{', '.join(found)} end with it; name one of them" if found else nearest(name, trials)
        raise QueryError(f"no column {name!r} of trials to compare by: {what}")
    return str(found[0])


def compared(trials: list[str]) -> list[str]:
    """The trials for the probability of overfitting: an evenly spaced sample if there are very many."""
    if len(trials) <= MAX_COMPARED:
        return trials
    return [trials[i] for i in np.linspace(0, len(trials) - 1, MAX_COMPARED).round().astype(int)]


def overfitting_data(returns: "pd.DataFrame") -> float | None:
    """The probability of backtest overfitting over all trials whose bars are known; None with fewer than two.

    returns: columns trial, time, return; a trial's returns at the same bar, of several seeds or paths, are averaged.
    """
    trials = returns[returns["trial"].notna()]
    by_bar = trials.pivot_table(index="trial", columns="time", values="return", aggfunc="mean").dropna(axis="columns")
    n_blocks = min(MAX_BLOCKS, by_bar.shape[1] // 2 // 2 * 2)
    if len(by_bar) < 2 or n_blocks < 2:
        return None
    return stats.overfitting_probability(by_bar.to_numpy(), n_blocks)


def _shared_runs(runs: "pd.DataFrame", metric: str, keys: list[str]) -> tuple[dict[str, Runs], int]:
    """The runs of each group, on the folds that all groups share; how many folds.

    Raises: NoResultError if the groups share no fold.
    """
    groups = {
        str(name): group.pivot_table(index=[*keys, "seed"], columns="fold", values=metric, aggfunc="first")
        for name, group in runs.groupby(GROUP)
    }
    shared = sorted(set.intersection(*(set(group.columns) for group in groups.values())))
    if not shared:
        raise NoResultError(f"groups must share a fold to be compared, and {', '.join(groups)} share none")
    complete = {name: group[shared].dropna() for name, group in groups.items()}
    return {
        name: Runs(group.to_numpy(float), group.index.droplevel("seed").factorize()[0])
        for name, group in complete.items()
    }, len(shared)


def _improvement(runs: Runs, baseline: Runs, confidence: float) -> dict[str, float]:
    value = stats.probability_of_improvement(runs.scores, baseline.scores)
    low, high = stats.probability_of_improvement_interval(
        runs.scores, baseline.scores, trials=runs.trials, other_trials=baseline.trials, confidence=confidence
    )
    return {"improvement": value, "improvement_low": low, "improvement_high": high}
