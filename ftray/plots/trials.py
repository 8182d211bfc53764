"""How trials trained, as values and as figures: learning curves, memory, cost.

Takes: a study. Gives: `*_data`, plain frames and mappings; `plot_*`, figures of them that compute nothing.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ftray import stats
from ftray.analysis.comparison import column_of
from ftray.errors import NoResultError
from ftray.metrics import CPU_SECONDS, GPU_SECONDS, PLANNED_GIB, SHARPE, USED_GIB, WALL_SECONDS, metric_title
from ftray.plots.theme import GREY, faint, figure, integer_axis, metric_axis, series
from ftray.spec import Count, parse_member
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ftray.analysis.study import Study


def curves_data(study: "Study", by: str = "trial", metric: str = SHARPE, top: int = 6) -> Frame:
    """Learning curves of groups of trials: at each evaluation, the interquartile mean over a group's trainings.

    Columns: group, env_steps (of a training, its median over the group), mean, n_runs, and low, high: the 95 % interval
    over whole trials, NaN below 5 of them.

    by: a column of `Study.trials`, or the end of a searched value's name.
    metric: a reported one.
    top: only so many of the largest groups are kept; of single trials, those that ended best.

    Raises: SpecError for a `top` that is no whole number from 1 on; QueryError for an unknown column or metric;
    NoResultError for a metric that no trial has reported yet.
    """
    import pandas as pd

    top = parse_member(Count, top, path=("top",))

    trials: Frame = study.frame("trials")
    column = column_of(trials, by)
    runs = runs_data(study, metric).merge(
        trials.filter(list({"trial", column, metric})), on="trial", suffixes=("", "_")
    )
    ends = {} if column != "trial" else trials.set_index("trial")[metric].fillna(-np.inf).to_dict()
    sizes = runs[column].value_counts()
    kept = sorted(sizes.index, key=lambda name: (-ends.get(name, 0.0), -sizes[name], str(name)))[:top]
    rows = []
    for name in kept:
        group = runs[runs[column] == name]
        for _, at in group.groupby("evaluation"):
            scores = at[metric].to_numpy(float)[:, None]
            low, high = stats.interquartile_mean_interval(scores, trials=at["trial"])
            steps, mean = int(at["run_steps"].median()), stats.interquartile_mean(scores)
            row = {"group": str(name), "env_steps": steps, "mean": mean, "low": low, "high": high}
            rows.append(row | {"n_runs": len(at)})
    made = pd.DataFrame(rows, columns=["group", "env_steps", "mean", "low", "high", "n_runs"])
    made.attrs |= {"metric": metric, "by": column}
    return made


def runs_data(study: "Study", metric: str) -> Frame:
    """A metric of every training, over its own env steps.

    A trial with several trainings reports the mean over the finished ones and the current one, whose own value follows
    from that. Columns: trial, fold, seed, evaluation (from 1 on), run_steps, and the metric.
    """
    import pandas as pd

    reports: Frame = study.frame("metrics", ["trial", "fold", "seed", "env_steps", metric]).dropna(subset=["fold"])
    if metric not in reports:
        raise study.missing_metric(metric, f"no trial has reported {metric!r}")
    reports = reports.dropna(subset=[metric]).sort_values(["trial", "env_steps"], kind="stable")
    folds: Frame = study.frame("folds", ["trial", "fold", "seed", "env_steps", metric])
    ended = {key: (int(row["env_steps"]), row.get(metric)) for *_, row in folds.iterrows() for key in [_run(row)]}
    rows = []
    for trial, own in reports.groupby("trial", sort=False):
        order = list(dict.fromkeys(zip(own["fold"], own["seed"], strict=True)))
        for place, (fold, seed) in enumerate(order):
            before = [ended.get((trial, *one), (0, np.nan)) for one in order[:place]]
            steps = sum(one[0] for one in before)
            run = own[(own["fold"] == fold) & (own["seed"] == seed)]
            values = run[metric].to_numpy(float)
            if metric in folds:  # a mean over trainings
                values = values * (place + 1) - sum(one[1] for one in before)
            facts = {"trial": trial, "fold": fold, "seed": seed, "evaluation": np.arange(1, len(run) + 1)}
            rows.append(pd.DataFrame({**facts, "run_steps": run["env_steps"].to_numpy(int) - steps, metric: values}))
    columns = ["trial", "fold", "seed", "evaluation", "run_steps", metric]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def plot_curves(data: Frame) -> "go.Figure":
    """Learning curves with their bands.

    data: of `curves_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    metric, by = data.attrs["metric"], data.attrs["by"]
    note = f"by {by}: interquartile mean over trainings; band: 95 % interval, from 5 trials on"
    made = figure(f"Learning curves: {metric_title(metric)}", note)
    looks = series(data["group"])
    for name, group in data.groupby("group", sort=False):
        look = looks[str(name)]
        known = group.dropna(subset=["low"])
        steps, low, high = (known[key].tolist() for key in ("env_steps", "low", "high"))
        band = {
            "mode": "lines",
            "fill": "toself",
            "fillcolor": faint(look.color),
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
        made.add_scatter(x=steps + steps[::-1], y=high + low[::-1], showlegend=False, legendgroup=name, **band)
        made.add_scatter(
            x=group["env_steps"].tolist(),
            y=group["mean"].tolist(),
            name=f"{name} ({int(group['n_runs'].max())} trainings)",
            legendgroup=name,
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.symbol, "size": 8},
        )
    steps = integer_axis(data["env_steps"])
    return made.update_xaxes(title="env steps of a training", **steps).update_yaxes(
        metric_axis(metric, data[["mean", "low", "high"]].to_numpy(float).ravel())
    )


def vram_data(study: "Study") -> Frame:
    """GPU memory that was planned, and the most that was used, in GiB; trials that ran without a GPU are left out.

    Columns: trial, encoder, planned, used.
    """
    reports: Frame = study.frame("metrics", ["trial", PLANNED_GIB, USED_GIB])
    if not {PLANNED_GIB, USED_GIB} <= set(reports.columns):
        return (
            reports.iloc[:0].assign(encoder="", planned=0.0, used=0.0).filter(["trial", "encoder", "planned", "used"])
        )
    most = reports.groupby("trial", as_index=False).max().dropna()
    named = most.rename(columns={PLANNED_GIB: "planned", USED_GIB: "used"})
    return named.merge(study.frame("trials", ["trial", "encoder"]), on="trial")


def plot_vram(data: Frame) -> "go.Figure":
    """Used against planned GPU memory in GiB: a point above the line used more than planned.

    data: of `vram_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    made = figure("GPU memory: planned and used", "a point per trial; above the line it used more than planned")
    top = 1.1 * max([*data["planned"], *data["used"], 1.0])
    made.add_scatter(x=[0, top], y=[0, top], mode="lines", line={"color": GREY, "dash": "dot"}, name="as planned")
    _points(made, data, "planned", "used")
    if data.empty:
        made.add_annotation(text="no trial of this study ran on a GPU", showarrow=False, x=top / 2, y=top / 2)
    made.update_xaxes(title="planned, GiB", range=[0, top])
    return made.update_yaxes(title="used at most, GiB", range=[0, top])


def cost_data(study: "Study", metric: str | None = None) -> Frame:
    """What each trial cost, and its result.

    Columns: trial, encoder, state, value, cpu_hours, gpu_hours (booked fractions times their time), wall_hours.

    metric: what `value` is; the study's first objective by default.
    """
    metric = metric or study.objectives[0].metric
    columns = ["trial", "encoder", "state", CPU_SECONDS, GPU_SECONDS, WALL_SECONDS, metric]
    found: Frame = study.frame("trials", columns, kind=study.run.study.get("search", {}).get("job", "trial"))
    made = found.reindex(columns=columns).rename(columns={metric: "value"})
    for name, seconds in (("cpu", CPU_SECONDS), ("gpu", GPU_SECONDS), ("wall", WALL_SECONDS)):
        made[f"{name}_hours"] = made.pop(seconds) / 3600
    made.attrs["metric"] = metric
    return made


def plot_cost(data: Frame) -> "go.Figure":
    """The objective against hours of GPUs, or of CPU cores where there were none.

    data: of `cost_data`.

    Raises: NoResultError where no trial has a value yet; MissingDependencyError where plotly is missing.
    """
    metric = data.attrs["metric"]
    if data["value"].isna().all():
        raise NoResultError(f"no trial has reported {metric!r}")
    on_gpu = data["gpu_hours"].fillna(0).sum() > 0
    made = figure(f"{metric_title(metric)} by cost", "a point per trial; hollow: it did not complete")
    _points(made, data.dropna(subset=["value"]), "gpu_hours" if on_gpu else "cpu_hours", "value")
    made.update_xaxes(title="GPU hours" if on_gpu else "CPU core hours", rangemode="tozero")
    return made.update_yaxes(metric_axis(metric, data["value"]))


def _points(made: "go.Figure", data: Frame, x: str, y: str) -> None:
    looks = series(sorted(data["encoder"].dropna().unique()))
    for name, look in looks.items():
        own = data[data["encoder"] == name]
        done = own["state"] == "COMPLETE" if "state" in own else [True] * len(own)
        symbols = [look.symbol if one else f"{look.symbol}-open" for one in done]
        marker = {"symbol": symbols, "size": 10, "color": look.color, "line": {"width": 1.5, "color": look.color}}
        made.add_scatter(x=own[x], y=own[y], text=own["trial"], mode="markers", marker=marker, name=name)


def _run(row: Any) -> tuple[str, int, int]:
    return row["trial"], row["fold"], row["seed"]
