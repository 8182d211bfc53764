"""The live page as an application: what it asks when, and what it shows of the answers.

Takes: a study, and the pages beside it. Gives: a Dash application, which is a WSGI application.

A clock on the page asks every few seconds whether anything has changed; only then is anything computed and sent. What
takes longer, like importance, depends on the number of ended trials alone.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, no_update, set_props

from ftray import plots
from ftray.analysis.study import Study
from ftray.boards import live, page
from ftray.boards.beside import Child, links
from ftray.boards.live import Looking
from ftray.boards.standing import machines_data, standing_data
from ftray.boards.terminal import duration, figure, ratio, text
from ftray.errors import FtrayError, NoResultError
from ftray.search.space import Space

EVERY, EVERY_REMOTE = 2.0, 6.0
"""Seconds between two looks: at a folder, at object storage."""

JOBS = {
    "job": ("job", text),
    "encoder": ("encoder", text),
    "mask_ratio": ("mask ratio", ratio),
    "epochs": ("epochs", text),
    "loss": ("validation loss", lambda loss: "–" if loss is None else f"{loss:.4f}"),
    "wall_seconds": ("wall time", duration),
    "state": ("state", text),
}
MACHINES = {
    "host": ("machine", text),
    "cpu": ("processor", text),
    "gpu": ("GPU", text),
    "running": ("trials running", text),
    "ended": ("ended", text),
    "cpu_hours": ("CPU core hours", figure),
    "gpu_hours": ("GPU hours", figure),
    "vram_planned_gib": ("GiB planned", figure),
    "vram_used_gib": ("GiB used at most", figure),
}
Draw = Callable[[Study], Any]

DRAWN: Mapping[str, Draw] = {
    "search": lambda study: plots.plot_search(plots.search_data(study)),
    "front": lambda study: plots.plot_pareto_front(study),
    "importance": lambda study: plots.plot_param_importances(study),
    "cost": lambda study: plots.plot_cost(plots.cost_data(study)),
    "vram": lambda study: plots.plot_vram(plots.vram_data(study)),
}
"""Plots that change whenever a trial has ended."""

FAILURES = {"n": ("trials", text), "error": ("first error", text), "trials": ("which", lambda names: _some(names))}


def build_app(study: Study, children: Sequence[Child] = ()) -> dash.Dash:
    """The page of a study."""
    app = dash.Dash(
        "ftray",
        title=f"{study.name} · ftray",
        update_title="",
        assets_folder="",
        serve_locally=True,
        on_error=_told,
    )
    app.index_string = page.INDEX
    looking, metric = Looking(study), study.objectives[0].metric
    every = EVERY_REMOTE if study.run.mirror else EVERY
    drawn = DRAWN if len(study.objectives) > 1 else {name: how for name, how in DRAWN.items() if name != "front"}
    left_out = ["objective"] if metric == SHARPE else ["error", "deflated_sharpe"]
    app.layout = page.layout(study.name, metric, _groups(study), list(drawn), every, left_out)
    _clock(app, looking, children)
    _tables(app, looking)
    _curves(app, looking)
    _figures(app, looking, drawn)
    _one_trial(app, looking)
    return app


def _told(error: Exception) -> None:
    """What no part of the page expected is shown on it, and in the terminal with its traceback."""
    logging.getLogger(__name__).exception("the page could not be brought up to date", exc_info=error)
    set_props("failure", {"children": page.problem(f"This page could not be brought up to date: {error!r}")})


def _clock(app: dash.Dash, looking: Looking, children: Sequence[Child]) -> None:
    @app.callback(
        Output("stamp", "data"),
        Output("state", "children"),
        Output("state", "className"),
        Output("heard", "children"),
        Output("tiles", "children"),
        Output("links", "children"),
        Output("problem", "children"),
        Output("failure", "children"),
        Output("clock", "disabled"),
        Input("clock", "n_intervals"),
        State("stamp", "data"),
    )
    def look(n_intervals: int | None, before: str | None) -> tuple[Any, ...]:
        """What is always told anew; the rest of the page follows the stamp."""
        try:
            stamp = looking.stamp()
            standing = looking.ask("standing", (stamp, (n_intervals or 0) // 5), standing_data)
        except FtrayError as error:
            return (*(no_update for _ in range(6)), page.problem(str(error)), no_update, False)
        state, more = live.state_told(standing)
        told = page.tiles(live.standing_told(standing)), page.links(links(children))
        anew = stamp != before  # what failed is tried again
        failure = None if anew else no_update
        return (stamp if anew else no_update, state, f"state {state}", more, *told, None, failure, False)


def _tables(app: dash.Dash, looking: Looking) -> None:
    @app.callback(
        Output("leaderboard", "rowData"),
        Output("luck", "children"),
        Output("failures", "children"),
        Output("jobs", "children"),
        Output("machines", "children"),
        Input("stamp", "data"),
        prevent_initial_call=True,
    )
    def tables(stamp: str) -> tuple[Any, ...]:
        return (
            looking.ask("rows", stamp, live.leaderboard_page),
            [dash.html.Div(line) for line in looking.ask("luck", stamp, live.luck_told)],
            page.table(
                "Failed trials, by their first error", looking.ask("failed", stamp, live.failures_page), FAILURES
            ),
            page.table("Pre-training", looking.ask("jobs", stamp, live.jobs_page), JOBS),
            page.table("Machines", looking.ask("machines", stamp, machines_data), MACHINES),
        )


def _curves(app: dash.Dash, looking: Looking) -> None:
    @app.callback(
        Output("curves", "figure"),
        Output("curves-title", "children"),
        Output("metric", "options"),
        Input("stamp", "data"),
        Input("by", "value"),
        Input("metric", "value"),
        Input("leaderboard", "selectedRows"),
        prevent_initial_call=True,
    )
    def curves(stamp: str, by: str, metric: str, selected: list[dict[str, Any]] | None) -> tuple[Any, ...]:
        chosen = tuple(row["trial"] for row in selected or [] if not row["is_benchmark"])
        names = looking.ask("metrics", stamp, lambda study: study.metrics)
        if by == "trial":
            made = looking.ask(f"curves {metric} {chosen}", stamp, lambda study: _trial_curves(study, metric, chosen))
        else:
            made = looking.ask(
                f"groups {by} {metric}", looking.n_ended(), lambda study: _group_curves(study, by, metric)
            )
        return *made, sorted({*names, metric})


def _figures(app: dash.Dash, looking: Looking, drawn: Mapping[str, Draw]) -> None:
    @app.callback(
        [
            *(Output(name, "figure") for name in drawn),
            *(Output(f"{name}-title", "children") for name in drawn),
            Output("vram-card", "hidden"),
        ],
        Input("stamp", "data"),
        prevent_initial_call=True,
    )
    def figures(stamp: str) -> list[Any]:
        n = looking.n_ended()
        made = [looking.ask(name, n, lambda study, name=name: _drawn(study, drawn[name], name)) for name in drawn]
        on_gpu = looking.ask("on a GPU", n, lambda study: len(plots.vram_data(study)) > 0)
        return [*(figure for figure, _ in made), *(title for _, title in made), not on_gpu]


def _one_trial(app: dash.Dash, looking: Looking) -> None:
    @app.callback(
        Output("trial", "children"),
        Input("leaderboard", "selectedRows"),
        State("stamp", "data"),
        prevent_initial_call=True,
    )
    def one(selected: list[dict[str, Any]] | None, stamp: str) -> Any:
        """What is known of the trial that was clicked."""
        names = [row["trial"] for row in selected or [] if not row["is_benchmark"]]
        return looking.ask(f"trial {names[0]}", stamp, lambda study: _card(study, names[0])) if names else None


def _card(study: Study, name: str) -> Any:
    record = study.run.record(name)
    lineage = study.lineage(name)
    facts = {
        "state": record.state,
        **{key.removeprefix("trial/"): text(value) for key, value in record.values.items()},
        "machine": ", ".join(str(lineage[key]) for key in ("host", "cpu", "gpu") if lineage[key]),
        "encoder": "; ".join(dict.fromkeys(one["why"] for one in lineage["encoders"] if one.get("why"))),
    }
    try:
        plot = page.fluid(plots.plot_equity(plots.equity_data(study, name)), name)
    except NoResultError as error:
        plot = str(error)
    return page.trial_card(name, {key: value for key, value in facts.items() if value}, record.error, plot)


def _trial_curves(study: Study, metric: str, chosen: Sequence[str]) -> Any:
    shown = [*chosen, *(one for one in live.shown_trials(study) if one not in chosen)]
    curves = live.trial_curves_data(study, metric, shown[: live.MOST_CURVES])
    return page.parts(live.plot_trial_curves(curves, metric), f"{metric} {chosen}")


def _group_curves(study: Study, by: str, metric: str) -> Any:
    return _drawn(study, lambda study: plots.plot_curves(plots.curves_data(study, by, metric)), "curves")


def _drawn(study: Study, draw: Draw, name: str) -> tuple[Any, Any]:
    """A figure and its title, or an empty one that says why there is none yet."""
    try:
        return page.parts(draw(study), name)
    except FtrayError as error:
        return page.nothing(), page.title(f"{name[0].upper()}{name[1:]}: not yet", str(error))


def _groups(study: Study) -> list[str]:
    params = list(Space(study.run.study.get("trial") or {}).params)
    return ["trial", "encoder", "encoder_shape", "pretrained", *params]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")
