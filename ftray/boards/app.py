"""The live page as an application: what it asks, when, and how it shows the answers.

Takes: a study, and its sidecars. Gives: a Dash application, which is a WSGI application.

A clock on the page asks every few seconds whether anything has changed; only then is anything computed and sent. What
takes longer, like importance, is computed again when a trial has ended.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, no_update, set_props

from ftray import plots
from ftray.analysis.study import Study
from ftray.boards import live, page
from ftray.boards.columns import ENCODERS, FAILURES, MACHINES, Columns, TableColumn, leaderboard_columns
from ftray.boards.live import CachedStudy
from ftray.boards.page import Panel
from ftray.boards.sidecars import Sidecar, links
from ftray.boards.status import machines_data, status_data
from ftray.errors import FtrayError, NoResultError
from ftray.search.space import Space

EVERY, EVERY_REMOTE = 2.0, 6.0
"""Seconds between two reads: of a folder, of object storage."""

Draw = Callable[[Study], Any]

PLOTS: Mapping[str, Draw] = {
    "search": lambda study: plots.plot_search(plots.search_data(study)),
    "front": lambda study: plots.plot_pareto_front(study),
    "importance": lambda study: plots.plot_param_importances(study),
    "cost": lambda study: plots.plot_cost(plots.cost_data(study)),
    "vram": lambda study: plots.plot_vram(plots.vram_data(study)),
}
"""Plots that change whenever a trial has ended."""


def build_app(study: Study, sidecars: Sequence[Sidecar] = ()) -> dash.Dash:
    """The page of a study."""
    app = dash.Dash(
        "ftray",
        title=f"{study.name} · ftray",
        update_title="",
        assets_folder="",
        serve_locally=True,
        on_error=_show_failure,
    )
    app.index_string = page.index()
    cached, metric = CachedStudy(study), study.objectives[0].metric
    every = EVERY_REMOTE if study.run.mirror else EVERY
    drawn = PLOTS if len(study.objectives) > 1 else {name: draw for name, draw in PLOTS.items() if name != "front"}
    columns = leaderboard_columns(metric)
    columns = {key: columns[key] for key in ("rank", "trial", "state")} | dict(columns)
    params = _params(study)
    app.layout = page.layout(study.name, metric, _groups(study), list(drawn), every, columns, params)
    _update_columns(app, columns | {name: TableColumn(name) for name in params})
    _update_clock(app, cached, sidecars)
    _update_tables(app, cached)
    _update_curves(app, cached)
    _update_plots(app, cached, drawn)
    _update_trial(app, cached)
    return app


def _show_failure(error: Exception) -> None:
    """Shows an unexpected error on the page, and in the terminal with its traceback."""
    logging.getLogger(__name__).exception("the page could not be updated", exc_info=error)
    set_props("failure", {"children": page.problem(f"This page could not be updated: {error!r}")})


def _update_clock(app: dash.Dash, study: CachedStudy, sidecars: Sequence[Sidecar]) -> None:
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
        """What is computed each time; the rest of the page follows the stamp."""
        try:
            stamp = study.stamp()
            status = study.ask("status", (stamp, (n_intervals or 0) // 5), status_data)
        except FtrayError as error:
            return (*(no_update for _ in range(6)), page.problem(str(error)), no_update, False)
        state, more = live.describe_state(status)
        shown = page.tiles(live.describe_status(status)), page.links(links(sidecars))
        is_new = stamp != before  # what failed is tried again
        failure = None if is_new else no_update
        return (stamp if is_new else no_update, state, f"state {state}", more, *shown, None, failure, False)


def _update_tables(app: dash.Dash, study: CachedStudy) -> None:
    @app.callback(
        Output("leaderboard", "rowData"),
        Output("leaderboard", "style"),
        Output("luck", "children"),
        Output("failures", "children"),
        Output("jobs", "children"),
        Output("machines", "children"),
        Input("stamp", "data"),
        prevent_initial_call=True,
    )
    def tables(stamp: str) -> tuple[Any, ...]:
        failures = study.ask("failures", stamp, live.failures_page)
        rows = study.ask("rows", stamp, live.leaderboard_page)
        return (
            rows,
            page.grid_style(len(rows)),
            [dash.html.Div(line) for line in study.ask("luck", stamp, live.describe_luck)],
            page.table("Failed trials, by their first error", failures, FAILURES),
            page.table("Pre-training", study.ask("jobs", stamp, live.jobs_page), ENCODERS),
            page.table("Machines", study.ask("machines", stamp, machines_data), MACHINES),
        )


def _update_columns(app: dash.Dash, columns: Columns) -> None:
    @app.callback(
        Output("leaderboard", "columnDefs"),
        Output("leaderboard", "columnSize"),
        Input("columns", "value"),
        prevent_initial_call=True,
    )
    def switch(shown: list[str]) -> tuple[Any, ...]:
        return page.column_defs(columns, shown), "responsiveSizeToFit"


def _update_curves(app: dash.Dash, study: CachedStudy) -> None:
    @app.callback(
        Output("curves", "figure"),
        Output("curves-title", "children"),
        Output("curves-card", "className"),
        Output("metric", "options"),
        Input("stamp", "data"),
        Input("by", "value"),
        Input("metric", "value"),
        Input("leaderboard", "selectedRows"),
        prevent_initial_call=True,
    )
    def curves(stamp: str, by: str, metric: str, selected: list[dict[str, Any]] | None) -> tuple[Any, ...]:
        chosen = tuple(row["trial"] for row in selected or [] if not row["is_benchmark"])
        names = study.ask("metrics", stamp, lambda study: study.metrics)
        if by == "trial":
            question, depends_on = f"curves {metric} {chosen}", stamp
            panel = study.ask(question, depends_on, lambda study: _trial_curves(study, metric, chosen))
        else:
            question = f"groups {by} {metric}"
            panel = study.ask(question, study.n_ended(), lambda study: _group_curves(study, by, metric))
        return *panel, sorted({*names, metric})


def _update_plots(app: dash.Dash, study: CachedStudy, drawn: Mapping[str, Draw]) -> None:
    @app.callback(
        [
            *(Output(name, "figure") for name in drawn),
            *(Output(f"{name}-title", "children") for name in drawn),
            *(Output(f"{name}-card", "className") for name in drawn),
            Output("vram-card", "hidden"),
        ],
        Input("stamp", "data"),
        prevent_initial_call=True,
    )
    def figures(stamp: str) -> list[Any]:
        n = study.n_ended()
        panels = [study.ask(name, n, lambda study, name=name: _draw(study, drawn[name], name)) for name in drawn]
        on_gpu = study.ask("on a GPU", n, lambda study: len(plots.vram_data(study)) > 0)
        return [*itertools.chain(*zip(*panels, strict=True)), not on_gpu]


def _update_trial(app: dash.Dash, study: CachedStudy) -> None:
    @app.callback(
        Output("trial", "children"),
        Input("leaderboard", "selectedRows"),
        State("stamp", "data"),
        prevent_initial_call=True,
    )
    def one(selected: list[dict[str, Any]] | None, stamp: str) -> Any:
        """The card of the trial that was clicked first, and the equity of all that were."""
        names = tuple(row["trial"] for row in selected or [] if not row["is_benchmark"])[: live.MAX_CURVES]
        return study.ask(f"trials {names}", stamp, lambda study: _card(study, names)) if names else None


def _card(study: Study, names: Sequence[str]) -> Any:
    name = names[0]
    record, lineage = study.run.record(name), study.lineage(name)
    facts = {
        "state": record.state,
        **{key.removeprefix("trial/"): str(value) for key, value in record.values.items()},
        "machine": ", ".join(str(lineage[key]) for key in ("host", "cpu", "gpu") if lineage[key]),
        "encoder": "; ".join(dict.fromkeys(one["why"] for one in lineage["encoders"] if one.get("why"))),
    }
    try:
        plot = page.fluid(plots.plot_equity(plots.equities_data(study, names)), ", ".join(names))
    except NoResultError as error:
        plot = str(error)
    return page.trial_card(name, {key: value for key, value in facts.items() if value}, record.error, plot)


def _trial_curves(study: Study, metric: str, chosen: Sequence[str]) -> Panel:
    places = live.places_of_curves(live.shown_trials(study), chosen)
    curves = live.trial_curves_data(study, metric, places)
    return _draw(study, lambda _: live.plot_trial_curves(curves, metric, places, chosen), "curves")


def _group_curves(study: Study, by: str, metric: str) -> Panel:
    return _draw(study, lambda study: plots.plot_curves(plots.curves_data(study, by, metric)), "curves")


def _draw(study: Study, draw: Draw, name: str) -> Panel:
    try:
        return page.drawn(draw(study), name)
    except NoResultError as error:
        return page.not_drawn(name, str(error))


def _groups(study: Study) -> list[str]:
    return ["trial", "encoder", "encoder_shape", "pretrained", *_params(study)]


def _params(study: Study) -> list[str]:
    return list(Space(study.run.study.get("trial") or {}).params)
