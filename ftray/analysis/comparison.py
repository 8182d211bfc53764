"""Groups of trials side by side, honestly: robust means, their intervals, who beats whom how often.

Takes: the tables `trials`, `folds` and `returns` as frames. Gives: frames of plain numbers.
"""

from typing import TYPE_CHECKING

import numpy as np

from ftray import stats
from ftray.errors import RunFolderError
from ftray.spec import nearest

if TYPE_CHECKING:
    import pandas as pd

GROUP = "group"
MOST_BLOCKS = 16
MOST_COMPARED = 500
"""Trials that the probability of overfitting is computed over, at most: it takes all their bars at once."""


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

    by: a column of `trials`, like `encoder`, or the end of a searched value's name, like `d_token`.
    metric: of `folds`: a run's own figure. where: a condition on `trials` in pandas' words, like "seed == 0".
    baseline: the group that the others are held against; the one with the lowest mean unless told otherwise.

    Columns: n_trials, n_runs (fold × seed), mean, low, high: the interquartile mean of all runs and its stratified
    bootstrap interval; improvement, improvement_low, improvement_high: the probability that a run of the group beats
    one of the baseline on the same fold, and its interval. Every seed of every trial of a group is one more run on each
    fold: groups whose other settings were searched differ in those, too. Only folds that all runs share are compared.

    Raises: RunFolderError if there are no groups to compare.
    """
    import pandas as pd

    column = column_of(trials, by)
    finished = trials[(trials["state"] == "COMPLETE") & trials["feasible"].fillna(False)]
    if where:
        finished = finished.query(where)
    if metric not in folds:
        raise RunFolderError(f"no run has a figure {metric!r}; a run has {', '.join(folds.columns)}")
    keys = [key for key in ("study", "trial") if key in folds]
    of_group = {**{key: finished[key] for key in keys}, GROUP: finished[column]}  # `folds` may have its name, too
    runs = folds.merge(pd.DataFrame(of_group), on=keys).dropna(subset=[metric, GROUP])
    groups = {str(name): _scores(group, metric, keys) for name, group in runs.groupby(GROUP)}
    if not groups:
        raise RunFolderError(f"there is no finished run to compare by {column}; {len(finished)} trials were looked at")
    common = sorted(set.intersection(*(set(scores.columns) for scores in groups.values())))
    if not common:
        raise RunFolderError(f"groups by {column} must share a fold to be compared, and these share none")
    scores = {name: found[common].dropna().to_numpy(float) for name, found in groups.items()}
    means = {name: stats.interquartile_mean(found) for name, found in scores.items()}
    if baseline is not None and baseline not in means:
        raise RunFolderError(f"baseline must be one of {', '.join(means)}; got {baseline!r}")
    beaten = baseline or min(means, key=lambda name: means[name])
    rows = []
    for name, found in scores.items():
        low, high = stats.interquartile_mean_interval(found, confidence=confidence)
        row = {column: name, "n_trials": runs.loc[runs[GROUP].astype(str) == name, keys].drop_duplicates().shape[0]}
        row |= {"n_runs": found.size, "mean": means[name], "low": low, "high": high}
        if name != beaten:
            other = scores[beaten]
            row["improvement"] = stats.probability_of_improvement(found, other)
            row["improvement_low"], row["improvement_high"] = stats.probability_of_improvement_interval(
                found, other, confidence=confidence
            )
        rows.append(row)
    shown = [column, "n_trials", "n_runs", "mean", "low", "high", "improvement", "improvement_low", "improvement_high"]
    made = pd.DataFrame(rows, columns=shown).sort_values("mean", ascending=False).set_index(column)
    made.attrs |= {"metric": metric, "baseline": beaten, "confidence": confidence, "folds": len(common)}
    return made


def column_of(trials: "pd.DataFrame", name: str) -> str:
    """The column of `trials` that a name means: its own, or a searched value's by the end of its path.

    Raises: RunFolderError for none, or several.
    """
    if name in trials:
        return name
    found = [column for column in trials if str(column).startswith("trial/") and str(column).endswith(f"/{name}")]
    if len(found) != 1:
        what = f"{', '.join(found)} all end so; say which" if found else nearest(name, trials)
        raise RunFolderError(f"no column {name!r} of trials to compare by: {what}")
    return str(found[0])


def compared(trials: list[str]) -> list[str]:
    """The trials that the probability of overfitting is computed over: an even choice stands for very many."""
    if len(trials) <= MOST_COMPARED:
        return trials
    return [trials[i] for i in np.linspace(0, len(trials) - 1, MOST_COMPARED).round().astype(int)]


def overfitting_data(returns: "pd.DataFrame") -> float | None:
    """The probability of backtest overfitting over all trials whose bars are known; None with fewer than two.

    returns: columns trial, time, return; a trial's returns at the same bar, of several seeds or paths, are averaged.
    """
    trials = returns[returns["trial"].notna()]
    by_bar = trials.pivot_table(index="trial", columns="time", values="return", aggfunc="mean").dropna(axis="columns")
    n_blocks = min(MOST_BLOCKS, by_bar.shape[1] // 2 // 2 * 2)
    if len(by_bar) < 2 or n_blocks < 2:
        return None
    return stats.overfitting_probability(by_bar.to_numpy(), n_blocks)


def _scores(group: "pd.DataFrame", metric: str, keys: list[str]) -> "pd.DataFrame":
    """A group's figures, a row per trial and seed and a column per fold."""
    return group.pivot_table(index=[*keys, "seed"], columns="fold", values=metric, aggfunc="first")
