"""What a trial did with the money, as values and as figures: equity, drawdown, regimes of the market.

Takes: a study. Gives: `*_data`, plain frames and mappings; `plot_*`, figures of them that compute nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray import stats
from ftray.errors import NoResultError
from ftray.metrics import EQUAL_WEIGHT, SHARPE, format_metric, validation
from ftray.plots.theme import BLACK, GREY, faint, figure, series
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ftray.analysis.study import Study

MAX_POINTS = 1_500
"""Bars of an equity curve that a figure shows: 3 years of hours would make a page of megabytes."""

YEAR = np.timedelta64(365, "D")


def equity_data(study: "Study", trial: str, benchmarks: Sequence[str] = (EQUAL_WEIGHT,)) -> dict[str, Any]:
    """Equity of a trial on its validation windows, from 1, and of benchmarks: its trainings share the money equally.

    Folds are chained in time order; returns of several seeds, or of folds that share a bar, are averaged at each bar.

    trial: its id.
    benchmarks: names of what is shown with it: `equal_weight`, `hold_BTC` and so on; see `Study.benchmarks`.

    Returns: a mapping with times (N + 1,) datetime64: where the first bar begins, then each bar's close; equity:
    name → (N + 1,); low and high (N + 1,): the worst and best of its seeds by themselves.

    Raises: NoResultError where the returns per bar are not known; QueryError for an unknown trial or benchmark.
    """
    own = bars_of(study, trial)
    by_bar = own.pivot_table(index="time", columns="seed", values="return", aggfunc="mean").sort_index()
    equity = {trial: stats.equity_curve(by_bar.mean(axis="columns").to_numpy())}
    for name in benchmarks:
        equity[name] = stats.equity_curve(benchmark_returns(study, name, by_bar.index))
    seeds = np.stack([stats.equity_curve(by_bar[seed].fillna(0.0).to_numpy()) for seed in by_bar])
    times = with_start(by_bar.index.to_numpy())
    return {"times": times, "equity": equity, "low": seeds.min(axis=0), "high": seeds.max(axis=0)}


def equities_data(study: "Study", trials: Sequence[str], benchmarks: Sequence[str] = (EQUAL_WEIGHT,)) -> dict[str, Any]:
    """Equity of several trials on one time axis, and of benchmarks; of one trial, what `equity_data` returns.

    The axis has every bar of any of them; where a trial has no bar, its money rests.

    trials: their ids; one without returns per bar is left out.
    benchmarks: names of what is shown with them.

    Returns: as `equity_data`, without low and high where there are several trials.

    Raises: NoResultError where no trial's returns per bar are known; QueryError for an unknown trial or benchmark.
    """
    if len(trials) == 1:
        return equity_data(study, trials[0], benchmarks)
    import pandas as pd

    returned: dict[str, Frame] = {trial: study.returns(trial) for trial in trials}
    found = {trial: bars.groupby("time")["return"].mean() for trial, bars in returned.items() if len(bars)}
    if not found:
        raise NoResultError(f"none of {', '.join(trials)} has returns per bar: they have ended no training yet")
    returns: Frame = pd.DataFrame(found).sort_index()
    equity = {trial: stats.equity_curve(returns[trial].fillna(0.0).to_numpy()) for trial in found}
    for name in benchmarks:
        equity[name] = stats.equity_curve(benchmark_returns(study, name, returns.index))
    return {"times": with_start(returns.index.to_numpy()), "equity": equity, "title": f"Equity of {', '.join(found)}"}


def bars_of(study: "Study", trial: str) -> Frame:
    """The returns of a trial. Raises: NoResultError where they are not known; QueryError for an unknown trial."""
    own: Frame = study.returns(trial)
    if own.empty:
        raise NoResultError(f"{trial} has no returns per bar: it has ended no training yet, or an older version ran it")
    return own


def benchmark_returns(study: "Study", name: str, times: Frame) -> np.ndarray:
    """A benchmark's returns at these closes, the mean over the folds that share one; 0 where it has none."""
    found: Frame = study.returns(name)
    return found.groupby("time")["return"].mean().reindex(times).fillna(0.0).to_numpy()


def with_start(times: np.ndarray) -> np.ndarray:
    """Where the first bar begins, then the closes (N,). Shape: (N + 1,). A lone bar's length is not known."""
    interval = np.median(np.diff(times)) if len(times) > 1 else np.timedelta64(0, "s")
    return np.concatenate((times[:1] - interval, times))


def regimes_data(study: "Study", trial: str, benchmarks: Sequence[str] = (EQUAL_WEIGHT,)) -> Frame:
    """How a trial and benchmarks did in each regime of the market, as far as the number of bars allows to say.

    Returns of several seeds are averaged at each bar, as in `equity_data`.

    Columns: portfolio, regime, n_bars, annual_return, sharpe, low, high (95 %); see `ftray.stats.regime_performance`.

    trial: its id.
    benchmarks: names of what is compared with it: `equal_weight`, `hold_BTC` and so on; see `Study.benchmarks`.

    Raises: QueryError for an unknown trial or benchmark.
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
    """Sharpe ratio by regime with 95 % intervals, and a table below.

    data: of `regimes_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    made = figure(
        "Sharpe ratio by regime of the market",
        f"95 % intervals; a regime of fewer than {stats.MIN_BARS} bars has no ratio",
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
    return _add_table(made, data)


def _add_table(made: Any, data: Frame) -> Any:
    shown = {
        "portfolio": data["portfolio"],
        "regime": data["regime"],
        "bars": [f"{n:,}" for n in data["n_bars"]],
        "annual return": [format_metric(validation("annual_return"), value) for value in data["annual_return"]],
        "Sharpe": [format_metric(SHARPE, value) for value in data["sharpe"]],
    }
    made.add_table(
        header={"values": list(shown), "align": "left", "fill": {"color": "white"}, "line": {"color": GREY}},
        cells={"values": list(shown.values()), "align": "left", "fill": {"color": "white"}, "height": 22},
        row=2,
        col=1,
    )
    return made


def plot_equity(data: Mapping[str, Any]) -> "go.Figure":
    """Equity over time, each from 1, and the drawdown of the first one; the first in black, for comparison the others.

    data: of `equity_data`, or a mapping with times (N,) and equity: name → (N,).

    Raises: MissingDependencyError where plotly is missing.
    """
    first = np.asarray(next(iter(data["equity"].values())))
    shown = _shown_bars(first)
    times, equity = data["times"][shown], {name: np.asarray(one)[shown] for name, one in data["equity"].items()}
    grid = {"rows": 2, "cols": 1, "shared_xaxes": True, "row_heights": [0.7, 0.3], "vertical_spacing": 0.05}
    names = list(equity)
    made = figure(
        data.get("title", f"Equity of {names[0]}"),
        "from 1; after fees and slippage, but for gross; growth is chained over gaps in time",
        height=560,
        width=960,
        **grid,
    )
    looks = series(["policy", *names[1:]])
    if len(data.get("low", ())) and not np.array_equal(data["low"], data["high"]):
        edge = {"x": times, "hoverinfo": "skip", "row": 1, "col": 1}
        made.add_scatter(y=data["high"][shown], line={"width": 0}, showlegend=False, **edge)
        band = {"fill": "tonexty", "fillcolor": faint(BLACK, 0.12), "line": {"width": 0}, "name": "its seeds"}
        made.add_scatter(y=data["low"][shown], **edge, **band)
    for i, (name, values) in enumerate(equity.items()):
        look = looks["policy" if i == 0 else name]
        line = {"color": look.color, "dash": look.dash, "width": 2 if i == 0 else 1.5}
        made.add_scatter(x=times, y=values / np.asarray(data["equity"][name])[0], name=name, line=line, row=1, col=1)
    under = -stats.drawdowns(first)[shown]
    fill = {"fill": "tozeroy", "fillcolor": faint(BLACK, 0.2), "line": {"color": BLACK, "width": 1}}
    made.add_scatter(x=times, y=under, showlegend=False, name="drawdown", row=2, col=1, **fill)
    drawn = np.concatenate([one[shown] / one[0] for one in map(np.asarray, data["equity"].values())])
    ticks = {"tickvals": _round_values(drawn.min(), drawn.max()), "tickformat": ".4~g"}
    made.update_yaxes(title="equity", type="log", row=1, col=1, **ticks)
    return made.update_yaxes(title="drawdown", tickformat=".2~%", row=2, col=1)


def _round_values(low: float, high: float) -> list[float] | None:
    """Values to label on a logarithmic axis of less than a decade, where plotly writes one digit; None elsewhere."""
    if high >= 10 * low or high <= low:
        return None
    wanted = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(wanted))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= wanted)
    return [step * i for i in range(int(np.ceil(low / step)), int(high / step) + 1)]


def _shown_bars(equity: np.ndarray) -> np.ndarray:
    """The bars of an equity curve that a figure shows: no more than fit a screen, the deepest drawdown among them."""
    some = np.linspace(0, len(equity) - 1, min(MAX_POINTS, len(equity))).round().astype(int)
    return np.unique([*some, int(np.argmax(stats.drawdowns(equity)))])
