"""What a search found, as values and as figures: its history, importance, slices, parallel coordinates, front, groups.

Takes: a study. Gives: `*_data`, plain frames; `plot_*`, figures of them that compute nothing but positions.
"""

import json
import math
from typing import TYPE_CHECKING, Any

from ftray import stats
from ftray.analysis.best import direction_of
from ftray.analysis.luck import SHARPE, folds_apart
from ftray.plots.theme import BLACK, BLUE, GREY, figure, plotly, series
from ftray.search.objectives import Objective
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ftray.analysis.study import Study

MOST_SLICES = 12


def search_data(study: "Study", metric: str | None = None) -> Frame:
    """Trials in the order they were drawn; columns: trial, number, encoder, state, value, best (so far), luck_line.

    best: of finished, feasible trials. luck_line: what the best of so many Sharpe ratios without skill is expected to
    be; null for other metrics.
    """
    goal = _goal(study, metric)
    names = ["trial", "number", "encoder", "state", "feasible", goal.metric, "validation/years", "spec"]
    trials: Frame = study.frame("trials", names).reindex(columns=names).dropna(subset=["number"]).sort_values("number")
    trials = trials.rename(columns={goal.metric: "value"}).reset_index(drop=True)
    counted = trials["value"].where((trials["state"] == "COMPLETE") & trials["feasible"].fillna(False))
    trials["best"] = (counted.cummax() if goal.direction == "maximize" else counted.cummin()).ffill()
    trials["luck_line"] = math.nan
    known = trials.dropna(subset=["validation/years"])
    if goal.metric == SHARPE and len(known):
        windows = json.loads(known["spec"].iloc[0]).get("windows") or {}
        years = float(known["validation/years"].median()) * folds_apart(windows)
        judged = trials["value"].notna().cumsum()
        trials["luck_line"] = [stats.luck_line(n, years) if n else math.nan for n in judged]
    trials.attrs |= {"metric": goal.metric}
    return trials.drop(columns=["spec", "validation/years", "feasible"])


def plot_search(data: Frame) -> "go.Figure":
    """The objective of every trial, the best so far, and the luck line; data: of `search_data`."""
    metric = data.attrs["metric"]
    lucky = data["luck_line"].notna().any()
    note = "dotted: the best that as many trials without skill are expected to show" if lucky else ""
    made = figure(f"Every trial: {metric}", f"hollow: it did not finish; {note}".rstrip("; "))
    for name, look in series(sorted(data["encoder"].dropna().unique())).items():
        own = data[data["encoder"] == name]
        symbols = [look.symbol if one == "COMPLETE" else f"{look.symbol}-open" for one in own["state"]]
        marker = {"symbol": symbols, "size": 9, "color": look.color, "line": {"width": 1.5, "color": look.color}}
        made.add_scatter(x=own["number"], y=own["value"], text=own["trial"], mode="markers", marker=marker, name=name)
    line = {"color": BLACK, "width": 1.5, "shape": "hv"}
    made.add_scatter(x=data["number"], y=data["best"], mode="lines", line=line, name="best so far")
    if lucky:
        line = {"color": GREY, "width": 2, "dash": "dot"}
        made.add_scatter(x=data["number"], y=data["luck_line"], mode="lines", line=line, name="luck line")
    every = max(1, len(data) // 10)
    return made.update_xaxes(title="trial", dtick=every if every < 10 else None).update_yaxes(title=metric)


def plot_importance(data: Frame) -> "go.Figure":
    """Importance of searched values, largest on top; data: of `Study.importance`."""
    shown = data[::-1]
    made = figure(
        "How much each searched value mattered",
        "share of the variance among the best trials (conditional PED-ANOVA); few trials tell little",
        height=150 + 34 * len(data),
    )
    made.add_bar(
        x=shown.to_list(),
        y=[_short(name) for name in shown.index],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{value:.1%}" for value in shown],
        textposition="outside",
        cliponaxis=False,
    )
    made.update_layout(margin={"l": 20})
    return made.update_xaxes(tickformat=".0%", rangemode="tozero").update_yaxes(automargin=True)


def values_data(study: "Study", metric: str | None = None) -> Frame:
    """Searched values of finished trials, and what came of them; columns: trial, state, `trial/...`, value."""
    goal = _goal(study, metric)
    trials: Frame = study.frame("trials", None, state="COMPLETE").dropna(subset=["number"])
    searched = [name for name in trials if str(name).startswith("trial/") and trials[name].notna().any()]
    made = trials.reindex(columns=["trial", "number", *searched, goal.metric]).rename(columns={goal.metric: "value"})
    made = made.dropna(subset=["value"])
    made.attrs |= {"metric": goal.metric, "direction": goal.direction, "log": sorted(_logarithmic(study))}
    return made


def plot_slices(data: Frame) -> "go.Figure":
    """The objective against each searched value by itself; data: of `values_data`."""
    names = [name for name in data if str(name).startswith("trial/")][:MOST_SLICES]
    columns = min(3, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    made = figure(
        f"{data.attrs['metric']} by each searched value",
        "a point per finished trial",
        height=130 + 290 * rows,
        width=960,
        rows=rows,
        cols=columns,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.36 / rows,
    )
    for i, name in enumerate(names):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        own = data.dropna(subset=[name])
        numbers = _is_numeric(own[name])
        x = own[name] if numbers else own[name].astype(str)
        look = {"mode": "markers", "marker": {"color": BLUE, "size": 8, "opacity": 0.75}, "showlegend": False}
        made.add_scatter(x=x, y=own["value"], text=own["trial"], **look, **place)
        kind = "log" if name in data.attrs["log"] else None if numbers else "category"
        made.update_xaxes(title=_short(name), type=kind, **place)
        if kind == "category":
            made.update_xaxes(tickangle=20, categoryorder="category ascending", **place)
        if kind == "log":
            made.update_xaxes(exponentformat="power", minexponent=1, nticks=5, **place)
    for row in range(1, rows + 1):
        made.update_yaxes(title=data.attrs["metric"], row=row, col=1)
    return made


def plot_parallel(data: Frame) -> "go.Figure":
    """A line per finished trial through all its searched values to the objective; data: of `values_data`.

    The better, the darker. A value that a trial does not have (another branch of the space) lies at the foot, marked -.
    """
    go, _ = plotly()
    names = [name for name in data if str(name).startswith("trial/")]
    dimensions = [_dimension(data[name], _short(name), name in data.attrs["log"]) for name in names]
    value = data["value"].to_numpy(float)
    dimensions.append({"label": data.attrs["metric"].rpartition("/")[2], "values": value})
    made = figure(
        f"Searched values and {data.attrs['metric']}",
        "a line per finished trial, darker where it is better; -: a value that the trial does not have",
        width=max(820, 150 * len(dimensions)),
    )
    color = value if data.attrs["direction"] == "maximize" else -value
    line = {"color": color, "colorscale": [[0, "#d0d0d0"], [0.5, "#56b4e9"], [1, "#08306b"]]}
    made.add_trace(go.Parcoords(line=line, dimensions=dimensions, labelangle=-12, labelfont={"size": 12}))
    return made.update_layout(margin={"t": 130, "l": 90, "r": 60})


def front_data(study: "Study", x: str | None = None, y: str | None = None) -> Frame:
    """Finished trials by two metrics, and which of them no other beats in both; columns: trial, encoder, x, y, front.

    y: the study's first objective unless told otherwise. x: its second one, else the maximum drawdown.
    """
    goals = study.objectives
    y = y or goals[0].metric
    others = [goal.metric for goal in goals if goal.metric != y]
    x = x or (others[0] if others else "validation/max_drawdown")
    ways = {name: direction_of(name, goals) for name in (x, y)}
    names = ["trial", "encoder", "feasible", x, y]
    found: Frame = study.frame("trials", names, state="COMPLETE").reindex(columns=names).dropna(subset=[x, y])
    better = {name: found[name] * (1 if ways[name] == "maximize" else -1) for name in (x, y)}
    feasible = found["feasible"].fillna(False).astype(bool)
    beaten = [
        bool(
            (
                feasible
                & (better[x] >= better[x][i])
                & (better[y] >= better[y][i])
                & ((better[x] > better[x][i]) | (better[y] > better[y][i]))
            ).any()
        )
        for i in found.index
    ]
    made = found.assign(front=feasible & ~found.index.to_series().map(dict(zip(found.index, beaten, strict=True))))
    made = made.rename(columns={x: "x", y: "y"}).drop(columns="feasible").reset_index(drop=True)
    made.attrs |= {"x": x, "y": y, "directions": ways}
    return made


def plot_front(data: Frame) -> "go.Figure":
    """Two metrics of every finished trial, and the front; data: of `front_data`."""
    x, y, ways = data.attrs["x"], data.attrs["y"], data.attrs["directions"]
    made = figure("The trials that no other beats", "on the line: none is better in both figures")
    front = data[data["front"]].sort_values(["x", "y"])
    line = {"color": BLACK, "width": 1.5, "shape": "hv" if ways[x] == "minimize" else "vh"}
    made.add_scatter(x=front["x"], y=front["y"], mode="lines", line=line, name="front")
    for name, look in series(sorted(data["encoder"].dropna().unique())).items():
        own = data[data["encoder"] == name]
        symbols = [look.symbol if one else f"{look.symbol}-open" for one in own["front"]]
        marker = {"symbol": symbols, "size": 10, "color": look.color, "line": {"width": 1.5, "color": look.color}}
        made.add_scatter(x=own["x"], y=own["y"], text=own["trial"], mode="markers", marker=marker, name=name)
    arrow = {"maximize": "more is better", "minimize": "less is better"}
    return made.update_xaxes(title=f"{x} ({arrow[ways[x]]})").update_yaxes(title=f"{y} ({arrow[ways[y]]})")


def plot_comparison(data: Frame) -> "go.Figure":
    """Groups side by side: interquartile means with intervals, and how often each beats the baseline.

    data: of `Study.compare`.
    """
    metric, baseline = data.attrs["metric"], data.attrs["baseline"]
    made = figure(
        f"{metric} by {_short(str(data.index.name))}",
        f"interquartile mean over runs with {data.attrs['confidence']:.0%} bootstrap intervals; "
        f"right: probability that a run beats one of {baseline} on the same fold",
        height=170 + 46 * len(data),
    )
    looks = series(sorted(map(str, data.index)))
    for name, row in data[::-1].iterrows():
        look = looks[str(name)]
        made.add_scatter(
            x=[row["mean"]],
            y=[str(name)],
            error_x={"array": [row["high"] - row["mean"]], "arrayminus": [row["mean"] - row["low"]], "thickness": 1.5},
            mode="markers",
            marker={"symbol": look.symbol, "size": 12, "color": look.color},
            showlegend=False,
        )
        runs = f"{int(row['n_runs'])} runs"
        beats = "" if math.isnan(row["improvement"]) else f", {row['improvement']:.0%}"
        made.add_annotation(
            x=1.01, y=str(name), xref="paper", text=f"{runs}{beats}", showarrow=False, xanchor="left", align="left"
        )
    made.update_layout(margin={"r": 130, "l": 20})
    return made.update_xaxes(title=metric).update_yaxes(type="category", automargin=True)


def _goal(study: "Study", metric: str | None) -> Objective:
    metric = metric or study.objectives[0].metric
    return Objective(metric=metric, direction=direction_of(metric, study.objectives))


def _logarithmic(study: "Study") -> set[str]:
    """Searched values that were drawn by their logarithm."""
    from ftray.search.space import Space

    params = Space(study.run.study.get("trial") or {}).params
    return {name for name, param in params.items() if getattr(param.distribution, "log", False)}


def _dimension(values: Frame, label: str, log: bool) -> dict[str, Any]:
    """An axis of parallel coordinates: numbers as they are or by their logarithm, words at places of their own.

    What is missing lies below everything else.
    """
    missing = values.isna().to_numpy()
    known = values.dropna()
    if _is_numeric(values) and (log or known.nunique() > 6):
        scaled = [math.log10(value) if log else float(value) for value in known]
        low, high = min(scaled), max(scaled)
        ticks = [low + (high - low) * part / 4 for part in range(5)]
        texts = [f"{10**tick if log else tick:.2g}" for tick in ticks]
        foot = low - 0.15 * ((high - low) or 1.0)
        numbers = iter(scaled)
        at = [foot if gone else next(numbers) for gone in missing]
        ticks, texts = [foot] * bool(missing.any()) + ticks, ["-"] * bool(missing.any()) + texts
        return {"label": label, "values": at, "tickvals": ticks, "ticktext": texts}
    words = sorted(known.unique(), key=lambda value: (isinstance(value, str), value))
    places = {word: i + int(missing.any()) for i, word in enumerate(words)}
    texts = ["-"] * bool(missing.any()) + [f"{word:.3g}" if isinstance(word, float) else str(word) for word in words]
    at = [0 if gone else places[value] for value, gone in zip(values, missing, strict=True)]
    return {"label": label, "values": at, "tickvals": list(range(len(texts))), "ticktext": texts}


def _is_numeric(values: Frame) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _short(name: str) -> str:
    """A searched value's name without what all of them begin with.

    >>> _short("trial/encoder/d_token")
    'encoder/d_token'
    """
    return name.removeprefix("trial/")
