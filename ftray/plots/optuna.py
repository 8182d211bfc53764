"""Optuna's plots of a study, by Optuna's names, in the look of all plots.

Takes: a study. Gives: plotly figures. `Study.to_optuna` gives the study to whatever else Optuna draws or computes.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftray.errors import NoResultError
from ftray.metrics import metric_title, validation
from ftray.plots.theme import (
    BLUE,
    GREEN,
    ORANGE,
    SERIES,
    VERMILLION,
    figure,
    integer_axis,
    logarithmic_axis,
    metric_axis,
    plotly,
    themed,
)
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

    from ftray.analysis.study import Study

MAX_PANELS = 4
"""Search parameters of a plot that has a panel for each pair of them."""

COLUMNS = 3

HATCHINGS = ("", "/", ".", "x")

BAR_LOOKS = {"blue": (BLUE, ""), "red": (VERMILLION, "x"), "orange": (ORANGE, "/"), "green": (GREEN, ".")}
"""By Optuna's colour of a state: ours, and a hatching."""


def plot_slice(study: "Study", metric: str | None = None, params: Sequence[str] | None = None) -> "go.Figure":
    """The objective against each search parameter by itself; a point per complete trial, later ones darker.

    metric: what is plotted; the study's first objective by default.
    params: names of search parameters, with `trial/` or without; all of them by default.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    name, found = _optuna_study(study, metric)
    made = _draw("plot_slice", found, params=_short_names(params), target_name=metric_title(name))
    made.update_yaxes(metric_axis(name, _values(found)))
    rows = _wrap(made, metric_title(name))
    made.update_xaxes(exponentformat="power", tickangle=0, nticks=5)
    last = found.trials[-1].number
    made.update_traces(marker={"cmin": 0, "cmax": last, "colorbar": integer_axis((0, last))})
    _mark_axes(made, found)
    title = f"{metric_title(name)} by each search parameter"
    return themed(made, title, "a point per complete trial, later ones darker", height=130 + 290 * rows, width=960)


def plot_contour(study: "Study", metric: str | None = None, params: Sequence[str] | None = None) -> "go.Figure":
    """The objective over pairs of search parameters.

    metric: what is plotted; the study's first objective by default.
    params: names of search parameters, with `trial/` or without; the four most important ones by default.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    name, found = _optuna_study(study, metric)
    made = _draw("plot_contour", found, params=_chosen(found, params), target_name=metric_title(name))
    return _panels(made, found, f"{metric_title(name)} over pairs of search parameters")


def plot_rank(study: "Study", metric: str | None = None, params: Sequence[str] | None = None) -> "go.Figure":
    """Ranks of the objective over pairs of search parameters.

    metric: what is plotted; the study's first objective by default.
    params: names of search parameters, with `trial/` or without; the four most important ones by default.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    name, found = _optuna_study(study, metric)
    made = _draw("plot_rank", found, params=_chosen(found, params), target_name=metric_title(name))
    return _panels(made, found, f"Rank in {metric_title(name)} over pairs of search parameters")


def plot_parallel_coordinate(
    study: "Study", metric: str | None = None, params: Sequence[str] | None = None
) -> "go.Figure":
    """A line per complete trial through the objective and all of its search parameters; better ones darker.

    metric: what is plotted; the study's first objective by default.
    params: names of search parameters, with `trial/` or without; all of them by default.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    name, found = _optuna_study(study, metric)
    made = _draw("plot_parallel_coordinate", found, params=_short_names(params), target_name=metric_title(name))
    width = max(820, 150 * len(made.layout.shapes))
    note = "a line per complete trial, better ones darker"
    themed(made, f"{metric_title(name)} and search parameters", note, width=width)
    return made.update_layout(margin={"t": 110})


def plot_param_importances(study: "Study", metric: str | None = None) -> "go.Figure":
    """How much each search parameter matters, as shares with their intervals; see `Study.importance`.

    metric: what they matter for; each of the study's objectives by default, in bars of their own.

    Raises: NoResultError with fewer than ten complete trials, and where they do not say which parameter matters for any
    of the metrics; MetricError for a metric that is better neither way; MissingDependencyError where plotly is missing.
    """
    from ftray.analysis.importance import share_text

    goals = [metric] if metric else [goal.metric for goal in study.objectives]
    found, unknown = _importances(study, goals)
    if not found:
        raise unknown[0]
    title = f"Importance for {' and '.join(map(metric_title, found))}"
    note = "share of the variance among the best trials (conditional PED-ANOVA), with 95 % intervals over trials"
    made = figure(title, note, height=150 + 34 * sum(map(len, found.values())))
    for (goal, frame), look, hatching in zip(found.items(), SERIES, HATCHINGS, strict=False):
        shown = frame[::-1]
        spread = {"array": shown["high"] - shown["importance"], "arrayminus": shown["importance"] - shown["low"]}
        made.add_bar(
            x=shown["importance"],
            y=list(shown.index),
            error_x=spread,
            text=[share_text(*row) for row in shown.itertuples(index=False)],
            marker={"color": look.color, "pattern": {"shape": hatching, "solidity": 0.25}},
            orientation="h",
            name=metric_title(goal),
        )
    made.update_layout(showlegend=len(found) > 1, margin={"l": 20})
    return made.update_xaxes(range=[0, 1]).update_yaxes(automargin=True)


def _importances(study: "Study", goals: Sequence[str]) -> tuple[dict[str, Frame], list[NoResultError]]:
    """The importance for each metric that the trials say something about, and why not for the others."""
    from ftray.analysis.importance import importance

    found: dict[str, Frame] = {}
    unknown: list[NoResultError] = []
    for goal in goals:
        try:
            found[goal] = importance(_optuna_study(study, goal)[1])
        except NoResultError as error:
            unknown.append(error)
    return found, unknown


def plot_pareto_front(study: "Study", metrics: Sequence[str] = ()) -> "go.Figure":
    """Complete trials by two or three metrics; diamonds are those that no other beats in all of them.

    metrics: the study's objectives by default; of a study with one, the maximum drawdown and that one.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    goals = tuple(metrics) or tuple(goal.metric for goal in study.objectives[:3])
    goals = goals if len(goals) > 1 else (validation("max_drawdown"), *goals)
    _, found = _optuna_study(study, *goals)
    better = {"MAXIMIZE": "more is better", "MINIMIZE": "less is better"}
    titles = [f"{metric_title(goal)} ({better[way.name]})" for goal, way in zip(goals, found.directions, strict=True)]
    made = _draw("plot_pareto_front", found, target_names=titles)
    made.update_traces(marker={"size": 9, "showscale": False})
    made.data[-1].marker.update(symbol="diamond", size=12)
    if len(goals) == 2:
        made.update_xaxes(metric_axis(goals[0], _values(found)) | {"title": titles[0]})
        made.update_yaxes(metric_axis(goals[1], _values(found, 1)) | {"title": titles[1]})
    return themed(made, "The trials that no other beats", "diamonds: no other trial is better in all metrics")


def plot_edf(study: "Study", metric: str | None = None) -> "go.Figure":
    """The share of complete trials with at most so much of the objective.

    metric: what is plotted; the study's first objective by default.

    Raises: NoResultError where no trial is complete yet; MetricError for a metric that is better neither way;
    MissingDependencyError where plotly is missing.
    """
    name, found = _optuna_study(study, metric)
    made = _draw("plot_edf", found, target_name=metric_title(name))
    themed(made, f"Distribution of {metric_title(name)}", "share of complete trials at or below a value")
    made.update_xaxes(metric_axis(name, _values(found))).update_yaxes(title=None, tickformat=".0%")
    return made.update_layout(showlegend=False)


def plot_timeline(study: "Study") -> "go.Figure":
    """When each trial ran, and how it ended; a bar per trial, since it was started last.

    Raises: NoResultError where no trial is complete yet; MissingDependencyError where plotly is missing.
    """
    _, found = _optuna_study(study)
    made = _draw("plot_timeline", found)
    for bars in made.data:
        color, hatching = BAR_LOOKS.get(bars.marker.color, (bars.marker.color, ""))
        bars.marker.update(color=color, pattern={"shape": hatching, "solidity": 0.25})
    themed(made, "When trials ran, and how they ended", "a bar per trial, since it was started last")
    numbers = integer_axis(trial.number for trial in found.trials)
    return made.update_xaxes(title="local time").update_yaxes(title="trial", **numbers)


def _optuna_study(study: "Study", *metrics: str | None) -> tuple[str, "optuna.Study"]:
    """The first metric, and the study with labels that fit into plots.

    Optuna cuts names of parameters after 20 characters, and shows all user attributes at the mouse.

    Raises: NoResultError where no trial is complete with these metrics.
    """
    import optuna

    from ftray.search.optuna_trials import quiet

    goals = [metric for metric in metrics if metric] or [study.objectives[0].metric]
    found = study.to_optuna(*goals, reports=False)
    trials = found.get_trials()
    if not any(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials):
        raise NoResultError(f"{study.name} has no complete trial with {' and '.join(goals)} yet")
    for trial in trials:
        trial.params = {_short(name): value for name, value in trial.params.items()}
        trial.distributions = {_short(name): one for name, one in trial.distributions.items()}
        trial.user_attrs = {"trial": trial.user_attrs["trial"]}
    with quiet():
        made = optuna.create_study(directions=found.directions)
        made.set_metric_names([metric_title(goal) for goal in goals])
    made.add_trials(trials)
    return goals[0], made


def _draw(name: str, study: "optuna.Study", **options: Any) -> Any:
    plotly()  # Optuna's own error does not name our extra
    import optuna

    from ftray.search.optuna_trials import quiet

    with quiet():
        return getattr(optuna.visualization, name)(study, **options)


def _wrap(made: "go.Figure", y_title: str) -> int:
    """Wraps panels that Optuna puts in one row, `COLUMNS` in each; the number of rows."""
    n = sum(1 for _ in made.select_xaxes())
    rows, columns = math.ceil(n / COLUMNS), min(COLUMNS, n)
    for i, (x, y) in enumerate(zip(made.select_xaxes(), made.select_yaxes(), strict=True)):
        row, column = divmod(i, COLUMNS)
        x.domain = [(column + 0.03) / columns, (column + 0.97) / columns]
        y.domain = [1 - (row + 0.72) / rows, 1 - row / rows]
        y.update(showticklabels=column == 0, title=y_title if column == 0 else None)
    return rows


def _panels(made: "go.Figure", study: "optuna.Study", title: str) -> "go.Figure":
    n = math.isqrt(len(list(made.select_xaxes())))
    _mark_axes(made, study)
    return themed(made, title, "a point per complete trial", width=max(820, 260 * n), height=max(460, 130 + 230 * n))


def _mark_axes(made: "go.Figure", study: "optuna.Study") -> None:
    """Ticks of the axes of search parameters; only axes with a title have labels."""
    import optuna

    known = {name: one for trial in study.trials for name, one in trial.distributions.items()}
    for axis in (*made.select_xaxes(), *made.select_yaxes()):
        searched = known.get(name := axis.title.text)
        if axis.type == "log" and searched is not None:
            axis.update(logarithmic_axis([trial.params[name] for trial in study.trials if name in trial.params]))
        elif isinstance(searched, optuna.distributions.IntDistribution):
            axis.update(integer_axis((searched.low, searched.high)))


def _values(study: "optuna.Study", place: int = 0) -> list[float]:
    return [trial.values[place] for trial in study.trials if trial.values]


def _chosen(study: "optuna.Study", params: Sequence[str] | None) -> list[str]:
    """The given search parameters, or the most important ones."""
    from ftray.analysis.importance import shares

    return _short_names(params) or list(shares(study))[:MAX_PANELS]


def _short_names(params: Sequence[str] | None) -> list[str] | None:
    return None if params is None else [_short(name) for name in params]


def _short(name: str) -> str:
    """A search parameter's name without what all of them begin with.

    >>> _short("trial/encoder/d_token")
    'encoder/d_token'
    """
    return name.removeprefix("trial/")
