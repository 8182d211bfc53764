"""The parts of a report that show the question and its answers, one function each.

Takes: a study. Gives: blocks. Raises: NoResultError where a study has no answer, with the reason.
"""

from collections.abc import Hashable
from typing import Any

from ftray import plots
from ftray.analysis.best import Best
from ftray.analysis.leaderboard import is_benchmark, leaderboard_rows
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.ranking import describe_hardly_trading
from ftray.analysis.study import Study
from ftray.boards.blocks import Block, Code, Facts, Heading, Paragraph, Plot, Table, plot_or_why, table_of
from ftray.boards.columns import TableColumn, leaderboard_columns, of_metric
from ftray.boards.live import describe_luck
from ftray.boards.status import status_data
from ftray.boards.tear_sheet import described, tear_sheet
from ftray.errors import NoResultError
from ftray.metrics import EQUAL_WEIGHT, metric, validation
from ftray.runs.records import JobKind
from ftray.runs.version_0_1 import read_spec
from ftray.search.space import Param, Space
from ftray.tables.schema import Frame

TOP = 50
"""Trials on the report's leaderboard; `ftray results RUN --csv` has all of them."""

COMPARED = [
    validation(measure)
    for measure in (
        *(
            "active_sharpe",
            "sharpe",
            "sortino",
            "annual_return",
            "volatility",
            "max_drawdown",
            "turnover",
            "exposure",
            "fees",
            "n_trades",
        ),
    )
]
"""The metrics that the winner is compared with the benchmarks by."""


def question(study: Study) -> list[Block]:
    search, status = study.run.study.get("search") or {}, status_data(study)
    goals = ", then ".join(f"{goal.direction} {goal.metric}" for goal in study.objectives)
    params = Space(study.run.study.get("trial") or {}).params
    states = ", ".join(f"{n} {state}" for state, n in status.states.items()) or "none yet"
    total = "" if status.n_trials is None else f" of {status.n_trials}"
    blocks: list[Block] = [
        Paragraph(f"Which values of {len(params)} settings {goals} on bars that training never saw?"),
        Facts(
            {
                "trials": f"{status.n_ended}{total} ended ({states})",
                "subject to": ", ".join(map(str, study.constraints)) or None,
                "sampler": _on_a_line(search.get("sampler")),
                "scheduler": _on_a_line(search.get("scheduler")),
            }
        ),
    ]
    if params:
        blocks.append(Table(["setting", "from"], [[name, _range(param)] for name, param in params.items()]))
    return blocks


def data(study: Study) -> list[Block]:
    spec = _any_spec(study)
    features, rules = spec.get("features") or {}, (spec.get("trading") or {}).get("rules") or {}
    blocks: list[Block] = [
        Facts(
            {
                "market": _on_a_line(spec.get("market")),
                "windows": _on_a_line(spec.get("windows")),
                "lookback, bars": features.get("lookback"),
                "indicators": ", ".join(features.get("indicators") or []) or None,
                "fee, of notional": rules.get("fee"),
                "slippage, of the price": rules.get("slippage"),
                "candles": study.run.study.get("candles"),
            }
        )
    ]
    rows = [_window(fold, own) for fold, own in study.frame("returns", ["fold", "time", "portfolio"]).groupby("fold")]
    if rows:
        blocks.append(Paragraph("Validation windows, by the closes at which equity is marked, UTC:"))
        blocks.append(Table(["fold", "from", "to", "bars"], rows, numbers=[3]))
    return blocks


def _window(fold: Hashable, bars: Frame) -> list[str]:
    times = bars["time"]
    return [f"{fold}", f"{times.min():%Y-%m-%d %H:%M}", f"{times.max():%Y-%m-%d %H:%M}", f"{times.nunique():,}"]


def winner(study: Study) -> list[Block]:
    best = study.best()
    values = study.run.record(best.trial).values
    blocks: list[Block] = [
        Paragraph(verdict(best), "verdict"),
        Facts(best.describe()),
        Facts({name.removeprefix("trial/"): value for name, value in values.items()}),
        Paragraph("On the same bars, after the same fees:"),
        _beside_benchmarks(study, best),
    ]
    try:
        plugins = list(study.run.study.get("plugins", {}))
        asked = f", plugins={plugins}" if plugins else ""
        code = f"policy = ftray.load_policy({str(study.policy_path(best.trial))!r}{asked})"
        return [*blocks, Paragraph("Use it:"), Code(code)]
    except NoResultError:
        return [*blocks, Paragraph("It has no policy.", "note")]


def _beside_benchmarks(study: Study, best: Best) -> Table:
    row: Frame = study.trials.set_index("trial").loc[best.trial]
    names = [name for name in COMPARED if name in row.index]
    rows = [{"portfolio": best.trial, **{name: row[name] for name in names}}]
    for name, measures in study.benchmarks.iterrows():
        rows.append({"portfolio": name, **{validation(str(key)): value for key, value in measures.items()}})
    return table_of({"portfolio": TableColumn("portfolio"), **{name: of_metric(name) for name in names}}, rows)


def verdict(best: Best) -> str:
    """The winner in a sentence that does not flatter it."""
    words = f"{best.trial} has the best {best.metric} of {best.chosen_from} finished trials: {best.value:.4g}"
    if best.interval is not None:
        words += f" (95 %: {best.interval[0]:.3g} to {best.interval[1]:.3g})"
    if best.luck is None:
        return f"{words}. The best of many looks better than it is."
    if best.luck.clears:
        return f"{words}. That is more than luck explains: the deflated Sharpe ratio is {best.luck.deflated:.0%}."
    return (
        f"{words}. Luck may explain it: {best.luck.chosen_from} without skill are expected to show "
        f"{best.luck.luck_line:.2f} at best, and the deflated Sharpe ratio is {best.luck.deflated:.0%}, not 95 %."
    )


def leaderboard(study: Study) -> list[Block]:
    given = study.records(), study.objectives, study.constraints, study.run.benchmarks()
    rows = leaderboard_rows(*given, looks_elsewhere(study.run).n)
    trials = [row for row in rows if not is_benchmark(row)]
    first = {row["trial"] for row in trials[:TOP]}
    shown = [row for row in rows if row["trial"] in first or is_benchmark(row)]
    blocks: list[Block] = [table_of(leaderboard_columns(study.objectives[0].metric, rows), shown)]
    if len(trials) > TOP:
        words = f"The first {TOP} of {len(trials)} trials; ftray results RUN --csv FILE writes all."
        blocks.append(Paragraph(words, "note"))
    blocks += [Paragraph(line) for line in describe_luck(study)]
    searched = plot_or_why(lambda: plots.plot_search(plots.search_data(study)), "search")
    blocks += [_overfitting(study.overfitting()), searched]
    if len(study.objectives) > 1:
        blocks.append(Plot(plots.plot_pareto_front(study), "front"))
    return blocks


def _overfitting(chance: float | None) -> Paragraph:
    if chance is None:
        words = "Probability of backtest overfitting: unknown, it takes two trials whose bars are known."
        return Paragraph(words, "note")
    return Paragraph(
        f"Probability of backtest overfitting: {chance:.0%}. This is how often the trial that is best on one half of "
        "the validation bars is below the median on the other half; random choice would give 50 %."
    )


def curves(study: Study) -> list[Block]:
    goal = study.objectives[0].metric
    figures = [plots.plot_curves(plots.curves_data(study, by, goal)) for by in ("encoder", "trial")]
    return [Plot(figure, f"curves-{i}") for i, figure in enumerate(figures)]


def money(study: Study) -> list[Block]:
    """The tear sheet of the winner, with the band of its seeds around its equity."""
    trial = study.best().trial
    sheet = plots.tear_sheet_data(study, trial)
    band = plots.equity_data(study, trial, [])
    blocks: list[Block] = [Paragraph(described(sheet))]
    for title, part in tear_sheet({**sheet, "low": band["low"], "high": band["high"]}).items():
        blocks += [Heading(title), *part]
    return blocks


def comparison(study: Study) -> list[Block]:
    goal = study.objectives[0].metric
    compared: Frame = study.compare("encoder", metric=goal)
    columns = {
        "encoder": TableColumn("encoder"),
        "n_trials": TableColumn("trials", "count"),
        "n_runs": TableColumn("trainings", "count"),
    }
    columns |= {name: TableColumn(name, metric(goal).unit) for name in ("mean", "low", "high")}
    chances = ("improvement", "improvement_low", "improvement_high")
    columns |= {name: TableColumn(name.replace("_", " "), "fraction") for name in chances}
    rows = [{"encoder": name, **row.to_dict()} for name, row in compared.iterrows()]
    return [
        Plot(plots.plot_comparison(compared), "comparison"),
        table_of(columns, rows),
        Paragraph(
            f"mean, low, high: interquartile mean of {compared.attrs['metric']} over all trainings with its 95 % "
            "interval over whole trials. improvement: the probability that a training beats one of the last group on "
            "the same fold. Groups of fewer than 5 trials have no interval. "
            "Groups also differ in their other settings, which were searched.",
            "note",
        ),
        *(Paragraph(line, "note") for line in describe_hardly_trading(study.records(), study.constraints)),
    ]


def importance(study: Study) -> list[Block]:
    slices = Plot(plots.plot_slice(study), "slices")
    try:
        return [Plot(plots.plot_param_importances(study), "importance"), slices]
    except NoResultError as unknown:
        return [Paragraph(f"No importance: {unknown}.", "note"), slices]


def regimes(study: Study) -> list[Block]:
    found = plots.regimes_data(study, study.best().trial, _benchmarks_drawn(study))
    if found.empty:
        raise NoResultError("no bars of the winner are known: an older version ran this study")
    return [Plot(plots.plot_regimes(found), "regimes")]


def _benchmarks_drawn(study: Study) -> list[str]:
    known = set(study.read("returns", ["portfolio"], trial=None)["portfolio"].to_pylist())
    return [EQUAL_WEIGHT] if EQUAL_WEIGHT in known else []


def _any_spec(study: Study) -> dict[str, Any]:
    specs = study.read("trials", ["spec", "kind"]).to_pylist()
    if not specs:
        raise NoResultError("no trial has been sampled yet")
    found = next((one for one in specs if one["kind"] == JobKind.TRIAL), specs[0])
    return read_spec(found["spec"])


def _range(param: Param) -> str:
    ends = param.extremes()
    if hasattr(param.distribution, "choices"):
        return ", ".join(map(str, ends))
    return f"{ends[0]} to {ends[-1]}" + (", by its logarithm" if getattr(param.distribution, "log", False) else "")


def _on_a_line(value: Any) -> str | None:
    """A subtree of a spec."""
    if not isinstance(value, dict):
        return None if value is None else str(value)
    rest = ", ".join(f"{key} {_on_a_line(item)}" for key, item in value.items() if key != "kind" and item is not None)
    return ": ".join(filter(None, [value.get("kind"), rest]))
