"""What a search found beyond Optuna's plots: its history against the luck line, groups of trials compared.

Takes: a study. Gives: `search_data`, a plain frame; `plot_*`, figures that compute nothing but positions.
"""

import math
from typing import TYPE_CHECKING, Any

from ftray import stats
from ftray.analysis.best import direction_of
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.luck import looks_taken, luck_of_best
from ftray.errors import NoResultError
from ftray.metrics import metric_title
from ftray.plots.theme import BLACK, GREY, figure, integer_axis, metric_axis, series
from ftray.search.objectives import Objective
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ftray.analysis.study import Study


def search_data(study: "Study", metric: str | None = None) -> Frame:
    """Trials in the order they were sampled, for `plot_search`.

    Columns: trial, number, encoder, state, value, best (so far, of complete, feasible trials), luck_line (the ratio to
    expect of the best of as many trials and looks of other studies without skill; null for other metrics than Sharpe
    ratios).

    metric: the study's first objective by default.

    Raises: MetricError for a metric that is better neither way.
    """
    metric = metric or study.objectives[0].metric
    direction = direction_of(metric, study.objectives)
    names = ["trial", "number", "encoder", "state", "feasible", metric]
    trials: Frame = study.frame("trials", names).reindex(columns=names).dropna(subset=["number"]).sort_values("number")
    trials = trials.rename(columns={metric: "value"}).reset_index(drop=True)
    counted = trials["value"].where((trials["state"] == "COMPLETE") & trials["feasible"].fillna(False))
    trials["best"] = (counted.cummax() if direction == "maximize" else counted.cummin()).ffill()
    trials["luck_line"] = math.nan
    goal, elsewhere = Objective(metric=metric, direction=direction), looks_elsewhere(study.run).n
    records = study.records()
    luck = luck_of_best(records, [goal], study.constraints, elsewhere)
    if luck is not None:
        looks = trials["trial"].map({record.id: looks_taken([record]) for record in records})
        scored = looks.where(trials["value"].notna(), 0.0).cumsum() + elsewhere
        trials["luck_line"] = [stats.expected_maximum_sharpe(n, luck.error) if n else math.nan for n in scored]
    trials.attrs |= {"metric": metric}
    return trials.drop(columns="feasible")


def plot_search(data: Frame) -> "go.Figure":
    """The objective of every trial, the best so far, and the luck line.

    data: of `search_data`.

    Raises: NoResultError where no trial has a value yet; MissingDependencyError where plotly is missing.
    """
    metric = data.attrs["metric"]
    if data["value"].isna().all():
        raise NoResultError(f"no trial has reported {metric!r}")
    has_line = data["luck_line"].notna().any()
    note = "; luck line: expected maximum Sharpe under the null (Bailey and López de Prado)" if has_line else ""
    made = figure(f"{metric_title(metric)} of every trial", f"hollow: it did not complete{note}")
    for name, look in series(sorted(data["encoder"].dropna().unique())).items():
        own = data[data["encoder"] == name]
        symbols = [look.symbol if one == "COMPLETE" else f"{look.symbol}-open" for one in own["state"]]
        marker = {"symbol": symbols, "size": 9, "color": look.color, "line": {"width": 1.5, "color": look.color}}
        made.add_scatter(x=own["number"], y=own["value"], text=own["trial"], mode="markers", marker=marker, name=name)
    line = {"color": BLACK, "width": 1.5, "shape": "hv"}
    made.add_scatter(x=data["number"], y=data["best"], mode="lines", line=line, name="best so far")
    if has_line:
        line = {"color": GREY, "width": 2, "dash": "dot"}
        made.add_scatter(x=data["number"], y=data["luck_line"], mode="lines", line=line, name="luck line")
    return made.update_xaxes(title="trial", **integer_axis(data["number"])).update_yaxes(
        metric_axis(metric, data["value"])
    )


def plot_comparison(data: Frame) -> "go.Figure":
    """Groups side by side: interquartile means with intervals, and how often each beats the baseline.

    data: of `Study.compare`.

    Raises: MissingDependencyError where plotly is missing.
    """
    metric, baseline = data.attrs["metric"], data.attrs["baseline"]
    made = figure(
        f"{metric_title(metric)} by {str(data.index.name).removeprefix('trial/')}",
        f"interquartile mean over trainings, {data.attrs['confidence']:.0%} intervals over trials from 5 on; "
        f"right: probability that a training beats one of {baseline} on the same fold",
        height=170 + 46 * len(data),
    )
    looks = series(sorted(map(str, data.index)))
    for name, row in data[::-1].iterrows():
        look = looks[str(name)]
        made.add_scatter(
            x=[row["mean"]],
            y=[str(name)],
            error_x=None if math.isnan(row["low"]) else _bars(row),
            mode="markers",
            marker={"symbol": look.symbol, "size": 12, "color": look.color},
            showlegend=False,
        )
        counted = f"{int(row['n_runs'])} trainings"
        beats = "" if math.isnan(row["improvement_low"]) else f", {row['improvement']:.0%}"
        made.add_annotation(
            x=1.01, y=str(name), xref="paper", text=f"{counted}{beats}", showarrow=False, xanchor="left", align="left"
        )
    made.update_layout(margin={"r": 150, "l": 20})
    shown = metric_axis(metric, data[["mean", "low", "high"]].to_numpy(float).ravel())
    return made.update_xaxes(shown).update_yaxes(type="category", automargin=True)


def _bars(row: "pd.Series") -> dict[str, Any]:
    return {"array": [row["high"] - row["mean"]], "arrayminus": [row["mean"] - row["low"]], "thickness": 1.5}
