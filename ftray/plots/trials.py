"""What trials did, as values and as figures: learning curves, equity, regimes, memory, cost.

Takes: a study. Gives: `*_data`, plain frames and mappings; `plot_*`, figures of them that compute nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray import stats
from ftray.analysis.comparison import column_of
from ftray.errors import RunFolderError
from ftray.plots.theme import BLACK, GREY, faint, figure, series
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ftray.analysis.study import Study

MOST_DRAWN = 1_500
"""Bars of an equity curve that a figure holds: 3 years of hours would make a page of megabytes."""

YEAR = np.timedelta64(365, "D")


def curves_data(study: "Study", by: str = "trial", metric: str = "validation/sharpe", top: int = 6) -> Frame:
    """Learning curves of groups of trials: at each evaluation of a run, the interquartile mean over the group's runs.

    by: a column of `trials`, or the end of a searched value's name. Only the `top` largest groups are kept; of single
    trials, those that ended best.

    Columns: group, env_steps (of a run, its median over the group), mean, low, high (95 % bootstrap), n_runs.
    """
    import pandas as pd

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
            low, high = stats.interquartile_mean_interval(scores, n_resamples=500)
            steps, mean = int(at["run_steps"].median()), stats.interquartile_mean(scores)
            row = {"group": str(name), "env_steps": steps, "mean": mean, "low": low, "high": high}
            rows.append(row | {"n_runs": len(at)})
    made = pd.DataFrame(rows, columns=["group", "env_steps", "mean", "low", "high", "n_runs"])
    made.attrs |= {"metric": metric, "by": column}
    return made


def runs_data(study: "Study", metric: str) -> Frame:
    """A metric of every run by itself, over the run's own env steps.

    A report of a trial with several runs has the mean over the finished runs and the one at hand; what is that one's
    own follows from the finished ones. Columns: trial, fold, seed, evaluation (from 1 on), run_steps, and the metric.
    """
    import pandas as pd

    reports: Frame = study.frame("metrics", ["trial", "fold", "seed", "env_steps", metric]).dropna(subset=["fold"])
    if metric not in reports:
        raise RunFolderError(f"no trial reports {metric!r}; names are in `study.metrics`")
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
            if metric in folds:  # a mean over runs
                values = values * (place + 1) - sum(one[1] for one in before)
            facts = {"trial": trial, "fold": fold, "seed": seed, "evaluation": np.arange(1, len(run) + 1)}
            rows.append(pd.DataFrame({**facts, "run_steps": run["env_steps"].to_numpy(int) - steps, metric: values}))
    columns = ["trial", "fold", "seed", "evaluation", "run_steps", metric]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def plot_curves(data: Frame) -> "go.Figure":
    """Learning curves with their bands; data: of `curves_data`."""
    metric, by = data.attrs["metric"], data.attrs["by"]
    made = figure(f"Learning curves: {metric}", f"by {by}: interquartile mean over runs, with 95 % bootstrap intervals")
    looks = series(data["group"])
    for name, group in data.groupby("group", sort=False):
        look = looks[str(name)]
        x, low, high = (group[key].tolist() for key in ("env_steps", "low", "high"))
        band = {
            "mode": "lines",
            "fill": "toself",
            "fillcolor": faint(look.color),
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
        made.add_scatter(x=x + x[::-1], y=high + low[::-1], showlegend=False, legendgroup=name, **band)
        made.add_scatter(
            x=x,
            y=group["mean"].tolist(),
            name=f"{name} ({int(group['n_runs'].max())} runs)",
            legendgroup=name,
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.symbol, "size": 8},
        )
    return made.update_xaxes(title="env steps of a run").update_yaxes(title=metric)


def equity_data(study: "Study", trial: str, benchmarks: Sequence[str] = ("equal_weight",)) -> dict[str, Any]:
    """Equity of a trial on its validation windows, from 1, beside benchmarks: as if its runs shared the money equally.

    Folds are chained in time order; returns of several seeds, or of folds that share a bar, are averaged at each bar.

    Returns: times (N,) datetime64, equity: name → (N,), low and high (N,): the worst and best of its seeds by
    themselves.
    Raises: RunFolderError where the bars are not known: an older version kept none.
    """
    own: Frame = study.returns(trial)
    if own.empty:
        raise RunFolderError(f"{trial} has no returns per bar: it has ended no run yet, or an older version ran it")
    by_bar = own.pivot_table(index="time", columns="seed", values="return", aggfunc="mean").sort_index()
    equity = {trial: _grown(by_bar.mean(axis="columns").to_numpy())}
    for name in benchmarks:
        found: Frame = study.returns(name)
        aligned = found.groupby("time")["return"].mean().reindex(by_bar.index)
        equity[name] = _grown(aligned.fillna(0.0).to_numpy())
    seeds = np.stack([_grown(by_bar[seed].fillna(0.0).to_numpy()) for seed in by_bar])
    return {"times": by_bar.index.to_numpy(), "equity": equity, "low": seeds.min(axis=0), "high": seeds.max(axis=0)}


def regimes_data(study: "Study", trial: str, benchmarks: Sequence[str] = ("equal_weight",)) -> Frame:
    """How a trial and benchmarks did in each regime of the market, as far as the number of bars allows to say.

    Returns of several seeds are averaged at each bar, as in `equity_data`.
    Columns: portfolio, regime, n_bars, annual_return, sharpe, low, high (95 %); see `stats.regime_performance`.
    """
    import pandas as pd

    rows = []
    for name in (trial, *benchmarks):
        own: Frame = study.returns(name)
        labelled = own.dropna(subset=["regime"])
        if labelled.empty:
            continue
        bars = labelled.groupby("time", as_index=False).agg({"return": "mean", "regime": "first"})
        labels = bars["regime"].map({regime: i for i, regime in enumerate(stats.REGIMES)}).to_numpy(int)
        times: Frame = np.unique(own["time"].to_numpy())
        periods = float(YEAR / np.median(np.diff(times)))
        for regime, found in stats.regime_performance(bars["return"].to_numpy(), labels, periods).items():
            low, high = found.interval or (None, None)
            row = {"portfolio": name, "regime": regime, "n_bars": found.n_bars, "annual_return": found.annual_return}
            rows.append(row | {"sharpe": found.sharpe, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["portfolio", "regime", "n_bars", "annual_return", "sharpe", "low", "high"])


def plot_regimes(data: Frame) -> "go.Figure":
    """Sharpe ratio by regime with 95 % intervals, and the figures below; data: of `regimes_data`."""
    made = figure(
        "Sharpe ratio by regime of the market",
        f"95 % intervals; nothing is said of fewer than {stats.MIN_BARS} bars",
        height=400 + 30 * (len(data) + 2),
        rows=2,
        cols=1,
        row_heights=[280, 30 * (len(data) + 2)],
        specs=[[{"type": "xy"}], [{"type": "table"}]],
        vertical_spacing=0.1,
    )
    names = list(dict.fromkeys(data["portfolio"]))
    looks = series(["policy", *names[1:]])
    for i, name in enumerate(names):
        own, look = data[data["portfolio"] == name].dropna(subset=["sharpe"]), looks["policy" if i == 0 else name]
        sharpe, low, high = (own[key].to_numpy(float) for key in ("sharpe", "low", "high"))
        made.add_scatter(
            x=[list(stats.REGIMES).index(regime) + 0.12 * (i - (len(names) - 1) / 2) for regime in own["regime"]],
            y=sharpe,
            error_y={"array": high - sharpe, "arrayminus": sharpe - low, "color": look.color, "thickness": 1.5},
            mode="markers",
            marker={"symbol": look.symbol, "size": 11, "color": look.color},
            name=name,
            row=1,
            col=1,
        )
    made.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=1)
    made.update_xaxes(tickvals=[0, 1, 2], ticktext=list(stats.REGIMES), range=[-0.5, 2.5], row=1, col=1)
    made.update_yaxes(title="Sharpe ratio", row=1, col=1)
    shown = {
        "portfolio": data["portfolio"],
        "regime": data["regime"],
        "bars": [f"{n:,}" for n in data["n_bars"]],
        "annual return": [_or_dash(value, ".1%") for value in data["annual_return"]],
        "Sharpe": [_or_dash(value, ".2f") for value in data["sharpe"]],
    }
    made.add_table(
        header={"values": list(shown), "align": "left", "fill": {"color": "white"}, "line": {"color": GREY}},
        cells={"values": list(shown.values()), "align": "left", "fill": {"color": "white"}, "height": 22},
        row=2,
        col=1,
    )
    return made


def vram_data(study: "Study") -> Frame:
    """GPU memory that was planned and that was used at most, in GiB; columns: trial, encoder, planned, used.

    Trials that ran without a GPU are left out.
    """
    reports: Frame = study.frame("metrics", ["trial", "vram/planned_gib", "vram/used_gib"])
    if not {"vram/planned_gib", "vram/used_gib"} <= set(reports.columns):
        return (
            reports.iloc[:0].assign(encoder="", planned=0.0, used=0.0).filter(["trial", "encoder", "planned", "used"])
        )
    most = reports.groupby("trial", as_index=False).max().dropna()
    named = most.rename(columns={"vram/planned_gib": "planned", "vram/used_gib": "used"})
    return named.merge(study.frame("trials", ["trial", "encoder"]), on="trial")


def plot_vram(data: Frame) -> "go.Figure":
    """Used against planned GPU memory: a point above the line took more than it was given; data: of `vram_data`."""
    made = figure("GPU memory: predicted and observed", "a point per trial; above the line it used more than planned")
    top = 1.1 * max([*data["planned"], *data["used"], 1.0])
    made.add_scatter(x=[0, top], y=[0, top], mode="lines", line={"color": GREY, "dash": "dot"}, name="as planned")
    _points(made, data, "planned", "used")
    if data.empty:
        made.add_annotation(text="no trial of this study ran on a GPU", showarrow=False, x=top / 2, y=top / 2)
    return made.update_xaxes(title="planned, GiB", range=[0, top]).update_yaxes(
        title="used at most, GiB", range=[0, top]
    )


def cost_data(study: "Study", metric: str | None = None) -> Frame:
    """What each trial cost and what came of it.

    Columns: trial, encoder, state, value, cpu_hours, gpu_hours (booked shares times their time), wall_hours.
    """
    metric = metric or study.objectives[0].metric
    columns = ["trial", "encoder", "state", "cost/cpu_seconds", "cost/gpu_seconds", "wall_seconds", metric]
    found: Frame = study.frame("trials", columns, kind=study.run.study.get("search", {}).get("job", "trial"))
    made = found.reindex(columns=columns).rename(columns={metric: "value"})
    for name, seconds in (("cpu", "cost/cpu_seconds"), ("gpu", "cost/gpu_seconds"), ("wall", "wall_seconds")):
        made[f"{name}_hours"] = made.pop(seconds) / 3600
    made.attrs["metric"] = metric
    return made


def plot_cost(data: Frame) -> "go.Figure":
    """The objective against hours of GPUs, or of CPU cores where there were none; data: of `cost_data`."""
    on_gpu = data["gpu_hours"].fillna(0).sum() > 0
    made = figure("What the trials cost, and what came of it", "a point per trial; hollow: it did not finish")
    _points(made, data.dropna(subset=["value"]), "gpu_hours" if on_gpu else "cpu_hours", "value")
    return made.update_xaxes(title="GPU hours" if on_gpu else "CPU core hours", rangemode="tozero").update_yaxes(
        title=data.attrs["metric"]
    )


def _points(made: "go.Figure", data: Frame, x: str, y: str) -> None:
    looks = series(sorted(data["encoder"].dropna().unique()))
    for name, look in looks.items():
        own = data[data["encoder"] == name]
        done = own["state"] == "COMPLETE" if "state" in own else [True] * len(own)
        symbols = [look.symbol if one else f"{look.symbol}-open" for one in done]
        marker = {"symbol": symbols, "size": 10, "color": look.color, "line": {"width": 1.5, "color": look.color}}
        made.add_scatter(x=own[x], y=own[y], text=own["trial"], mode="markers", marker=marker, name=name)


def plot_equity(data: Mapping[str, Any]) -> "go.Figure":
    """Equity over time, each from 1, and the drawdown of the first one; the first in black, the others beside it.

    data: of `equity_data`, or times (N,) and equity: name → (N,).
    """
    first = np.asarray(next(iter(data["equity"].values())))
    drawn = _drawn(first)
    times, equity = data["times"][drawn], {name: np.asarray(one)[drawn] for name, one in data["equity"].items()}
    grid = {"rows": 2, "cols": 1, "shared_xaxes": True, "row_heights": [0.7, 0.3], "vertical_spacing": 0.05}
    names = list(equity)
    made = figure(f"Equity of {names[0]}", "from 1, on the validation windows", height=560, width=960, **grid)
    looks = series(["policy", *names[1:]])
    if len(data.get("low", ())) and not np.array_equal(data["low"], data["high"]):
        edge = {"x": times, "hoverinfo": "skip", "row": 1, "col": 1}
        made.add_scatter(y=data["high"][drawn], line={"width": 0}, showlegend=False, **edge)
        band = {"fill": "tonexty", "fillcolor": faint(BLACK, 0.12), "line": {"width": 0}, "name": "its seeds"}
        made.add_scatter(y=data["low"][drawn], **edge, **band)
    for i, (name, values) in enumerate(equity.items()):
        look = looks["policy" if i == 0 else name]
        line = {"color": look.color, "dash": look.dash, "width": 2 if i == 0 else 1.5}
        made.add_scatter(x=times, y=values / np.asarray(data["equity"][name])[0], name=name, line=line, row=1, col=1)
    under = -stats.drawdowns(first)[drawn]
    fill = {"fill": "tozeroy", "fillcolor": faint(BLACK, 0.2), "line": {"color": BLACK, "width": 1}}
    made.add_scatter(x=times, y=under, showlegend=False, name="drawdown", row=2, col=1, **fill)
    made.update_yaxes(title="equity", type="log", row=1, col=1)
    return made.update_yaxes(title="drawdown", tickformat=".2~%", row=2, col=1)


def _grown(returns: np.ndarray) -> np.ndarray:
    return np.cumprod(1.0 + returns)


def _drawn(equity: np.ndarray) -> np.ndarray:
    """The bars of an equity curve that are drawn: no more than a screen can show, the deepest drawdown among them."""
    some = np.linspace(0, len(equity) - 1, min(MOST_DRAWN, len(equity))).round().astype(int)
    return np.unique([*some, int(np.argmax(stats.drawdowns(equity)))])


def _run(row: Any) -> tuple[str, int, int]:
    return row["trial"], row["fold"], row["seed"]


def _or_dash(value: Any, form: str) -> str:
    return "-" if value is None or np.isnan(value) else format(value, form)
