"""The parts of a report that say what was asked and what was found, one function each.

Takes: a study. Gives: HTML. Raises: NoResultError where a study has nothing to tell, with the reason.
"""

from typing import Any

from ftray import plots
from ftray.analysis.best import Best
from ftray.analysis.leaderboard import BENCHMARK, leaderboard_rows
from ftray.analysis.study import Study
from ftray.boards import html
from ftray.boards.live import luck_told
from ftray.boards.printing import shown_columns
from ftray.boards.standing import standing_data
from ftray.boards.terminal import fraction, ratio
from ftray.errors import NoResultError
from ftray.runs.version_0_1 import read_spec
from ftray.search.space import Param, Space
from ftray.tables.schema import Frame

TOP = 50
"""Trials on the report's leaderboard; `ftray results RUN --csv` has all of them."""

MEASURES = (
    "sharpe",
    "sortino",
    "annual_return",
    "volatility",
    "max_drawdown",
    "turnover",
    "exposure",
    "fees",
    "n_trades",
)
FRACTIONS = ("annual_return", "volatility", "max_drawdown", "exposure", "fees")
BESIDE = "equal_weight"
"""The benchmark that is drawn beside the winner; what each asset alone did stands in its table."""


def question(study: Study) -> str:
    search, standing = study.run.study.get("search") or {}, standing_data(study)
    goals = ", then ".join(f"{goal.direction} {goal.metric}" for goal in study.objectives)
    constraints = search.get("constraints") or []
    params = Space(study.run.study.get("trial") or {}).params
    states = ", ".join(f"{n} {state}" for state, n in standing.states.items()) or "none yet"
    told = html.paragraph(f"Which values of {len(params)} settings {goals} on bars that training never saw?")
    told += html.facts(
        {
            "trials": f"{standing.n_ended}"
            + ("" if standing.n_trials is None else f" of {standing.n_trials}")
            + f" ended ({states})",
            "subject to": ", ".join(constraints) or None,
            "sampler": _in_words(search.get("sampler")),
            "scheduler": _in_words(search.get("scheduler")),
        }
    )
    if params:
        told += html.table(["setting", "from"], [[name, _range(param)] for name, param in params.items()])
    return told


def data(study: Study) -> str:
    spec = _any_spec(study)
    bars: Frame = study.frame("returns", ["fold", "time", "portfolio"])
    rows = []
    for fold, own in bars.groupby("fold"):
        rows.append(
            [
                f"{fold}",
                f"{own['time'].min():%Y-%m-%d %H:%M}",
                f"{own['time'].max():%Y-%m-%d %H:%M}",
                f"{own['time'].nunique():,}",
            ]
        )
    rules = (spec.get("trading") or {}).get("rules") or {}
    told = html.facts(
        {
            "market": _in_words(spec.get("market")),
            "windows": _in_words(spec.get("windows")),
            "lookback, bars": (spec.get("features") or {}).get("lookback"),
            "indicators": ", ".join((spec.get("features") or {}).get("indicators") or []) or None,
            "fee, of notional": rules.get("fee"),
            "slippage, of the price": rules.get("slippage"),
            "candles": study.run.study.get("candles"),
        }
    )
    if rows:
        told += html.paragraph("Validation windows (opening times of the deciding bars, UTC):")
        told += html.table(["fold", "from", "to", "bars"], rows, numbers=[3])
    return told


def winner(study: Study) -> str:
    best = study.best()
    row: Frame = study.trials.set_index("trial").loc[best.trial]
    told = html.paragraph(verdict(best), "verdict")
    told += best._repr_html_()
    told += html.facts(
        {name.removeprefix("trial/"): value for name, value in study.run.record(best.trial).values.items()}
    )
    benchmarks = study.benchmarks
    names = [name for name in MEASURES if f"validation/{name}" in row.index]
    portfolios: dict[str, Any] = {best.trial: {name: row[f"validation/{name}"] for name in names}}
    portfolios |= {str(name): values.to_dict() for name, values in benchmarks.iterrows()}
    rows = [
        [name, *(_measure(measure, values.get(measure)) for measure in names)] for name, values in portfolios.items()
    ]
    told += html.paragraph("On the same bars, after the same fees:")
    told += html.table(
        ["portfolio", *(name.replace("_", " ") for name in names)], rows, numbers=range(1, len(names) + 1)
    )
    try:
        told += html.paragraph("Use it: ")
        told += html.verbatim(f"policy = ftray.load_policy({str(study.policy_path(best.trial))!r})")
    except NoResultError:
        told += html.paragraph("it has left no policy", "note")
    return told


def verdict(best: Best) -> str:
    """The winner in a sentence that does not flatter it."""
    figure_ = f"{best.trial} has the best {best.metric} of {best.chosen_from} finished trials: {best.value:.4g}"
    if best.interval is not None:
        figure_ += f" (95 %: {best.interval[0]:.3g} to {best.interval[1]:.3g})"
    if best.luck is None:
        return f"{figure_}. The best of many looks better than it is."
    if best.luck.clears:
        return f"{figure_}. That is more than luck explains: the deflated Sharpe ratio is {best.luck.deflated:.0%}."
    return (
        f"{figure_}. Luck may explain it: {best.luck.n_trials} trials without skill are expected to show "
        f"{best.luck.luck_line:.2f} at best, and the deflated Sharpe ratio is {best.luck.deflated:.0%}, not 95 %."
    )


def leaderboard(study: Study) -> str:
    rows = leaderboard_rows(study.records(), study.objectives, study.constraints, study.run.benchmarks())
    trials = [row for row in rows if row["state"] != BENCHMARK]
    kept = {row["trial"] for row in trials[:TOP]}
    shown = shown_columns(study.objectives[0], rows)
    lines = [
        [write(row[key]) for key, (_, write) in shown.items()]
        for row in rows
        if row["trial"] in kept or row["state"] == BENCHMARK
    ]
    words = ("trial", "encoder", "pretrained", "state")
    numbers = [i for i, key in enumerate(shown) if key not in words]
    told = html.table([title for title, _ in shown.values()], lines, numbers)
    if len(trials) > TOP:
        told += html.paragraph(
            f"The first {TOP} of {len(trials)} trials; ftray results RUN --csv FILE writes all.", "note"
        )
    for line in luck_told(study):
        told += html.paragraph(line)
    chance = study.overfitting()
    if chance is None:
        told += html.paragraph(
            "Probability of backtest overfitting: unknown, it takes two trials whose bars are known.", "note"
        )
    else:
        told += html.paragraph(
            f"Probability of backtest overfitting: {chance:.0%}. So often is the trial that is best on one half of the "
            "validation bars below the median on the other half; 50 % is what choosing at random would give."
        )
    told += html.plot(plots.plot_search(plots.search_data(study)), "search")
    if len(study.objectives) > 1:
        told += html.plot(plots.plot_pareto_front(study), "front")
    return told


def curves(study: Study) -> str:
    metric = study.objectives[0].metric
    made = [plots.plot_curves(plots.curves_data(study, by, metric)) for by in ("encoder", "trial")]
    return "".join(html.plot(one, f"curves-{i}") for i, one in enumerate(made))


def equity(study: Study) -> str:
    best = study.best()
    return html.plot(plots.plot_equity(plots.equity_data(study, best.trial, _beside(study))), "equity")


def comparison(study: Study) -> str:
    compared: Frame = study.compare("encoder", metric=study.objectives[0].metric)
    names = ["n_trials", "n_runs", "mean", "low", "high", "improvement", "improvement_low", "improvement_high"]
    rows = [[name, *(_any(row[column]) for column in names)] for name, row in compared.iterrows()]
    told = html.plot(plots.plot_comparison(compared), "comparison")
    told += html.table(["encoder", *(name.replace("_", " ") for name in names)], rows, range(1, len(names) + 1))
    told += html.paragraph(
        f"mean, low, high: interquartile mean of {compared.attrs['metric']} over all runs with its 95 % bootstrap "
        "interval. improvement: the probability that a run beats one of the last group on the same fold. "
        "Groups also differ in their other settings, which were searched.",
        "note",
    )
    return told


def importance(study: Study) -> str:
    told = html.plot(plots.plot_param_importances(study), "importance")
    return told + html.plot(plots.plot_slice(study), "slices")


def regimes(study: Study) -> str:
    found = plots.regimes_data(study, study.best().trial, _beside(study))
    if found.empty:
        raise NoResultError("no bars of the winner are known: an older version ran this study")
    return html.plot(plots.plot_regimes(found), "regimes")


def encoder(study: Study) -> str:
    """The card of the encoder that the winner used; of the best one where it used none."""
    best = study.best()
    used = [one["encoder"] for one in study.lineage(best.trial)["encoders"] if one.get("encoder")]
    made: Frame = study.encoders
    if made.empty:
        raise NoResultError("this study pre-trained no encoder")
    own = [name for name in used if name in set(made["encoder"])]
    name = own[0] if own else made["encoder"].iloc[0]
    card = study.encoder_card(name)
    whose = f"Used by {best.trial}" if own else f"{best.trial} used none of this study's; its best one"
    told = html.paragraph(
        f"{whose}: {name[:12]}. What it can be asked for needs no labels: hidden cells, linear probes."
    )
    shape = "d_token {d_token}, {n_blocks} blocks, {n_heads} heads, patches of {patch_length} bars".format_map(card)
    told += html.facts(
        {
            "shape": shape,
            "trained on": f"{card['train_from']} to {card['train_to']}",
            "measured on": f"{card['validation_from']} to {card['validation_to']}",
            "validation loss": f"{card['validation_loss']:.4f}, in epoch {card['best_epoch']} of {card['epochs']}",
            "weights": card["weights"],
        }
    )
    if card["history"]:
        told += html.plot(plots.plot_history(card["history"]), "history")
    for kind in (card["figures"] or {}).get("reconstruction") or {}:
        told += html.plot(plots.plot_reconstruction(card, kind), f"reconstruction-{kind}")
    if (card["figures"] or {}).get("probes"):
        told += html.plot(plots.plot_probes(card), "probes")
    return told


def _beside(study: Study) -> list[str]:
    known = set(study.read("returns", ["portfolio"], trial=None)["portfolio"].to_pylist())
    return [BESIDE] if BESIDE in known else []


def _any_spec(study: Study) -> dict[str, Any]:
    specs = study.read("trials", ["spec", "kind"]).to_pylist()
    if not specs:
        raise NoResultError("no trial has been drawn yet")
    found = next((one for one in specs if one["kind"] == "trial"), specs[0])
    return read_spec(found["spec"])


def _range(param: Param) -> str:
    ends = param.extremes()
    if hasattr(param.distribution, "choices"):
        return ", ".join(map(str, ends))
    return f"{ends[0]} to {ends[-1]}" + (", by its logarithm" if getattr(param.distribution, "log", False) else "")


def _in_words(value: Any) -> str | None:
    """A subtree of a spec on a line."""
    if not isinstance(value, dict):
        return None if value is None else str(value)
    rest = ", ".join(f"{key} {_in_words(item)}" for key, item in value.items() if key != "kind" and item is not None)
    return ": ".join(filter(None, [value.get("kind"), rest]))


def _measure(name: str, value: Any) -> str:
    if value is None or value != value:
        return "–"
    return fraction(value) if name in FRACTIONS else f"{value:,.0f}" if name.startswith("n_") else ratio(value)


def _any(value: Any) -> str:
    return (
        "–" if value != value else f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.3f}"
    )
