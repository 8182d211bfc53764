"""Whoever names the best trial of a study names the same one: notebook, table, JSON, boards, backtest and promotion."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ftray
from ftray.boards.blocks import Facts
from ftray.boards.live import describe_luck, leaderboard_page, shown_trials
from ftray.boards.report_parts import winner
from ftray.cli import main
from ftray.errors import NoResultError
from ftray.runs import RunFolder
from ftray.study.promote import chosen
from ftray.tables.parquet import compact
from ftray.trial.judge import policy_folder

SHARPE, DRAWDOWN, TRIPS = "validation/sharpe", "validation/max_drawdown", "validation/round_trips"
UP, DOWN = {"metric": SHARPE, "direction": "maximize"}, {"metric": DRAWDOWN, "direction": "minimize"}
CAPPED = f"{DRAWDOWN} <= 0.3"
NAN = float("nan")


class Played(NamedTuple):
    """A trial as it is played into a run folder; a value of None is never reported."""

    state: str
    sharpe: float | None = None
    drawdown: float | None = None
    round_trips: float | None = 100.0

    def metrics(self) -> dict:
        moments = {"n_bars": 8_760.0, "years": 1.0, "skewness": 0.0, "kurtosis": 3.0}
        own = {SHARPE: self.sharpe, DRAWDOWN: self.drawdown, TRIPS: self.round_trips}
        known = own | {f"validation/{k}": v for k, v in moments.items()}
        return {name: value for name, value in known.items() if value is not None}


def played_study(folder: Path, trials: list[Played], objectives: list[dict], constraints: list[str]) -> RunFolder:
    """A study of these trials, which nothing has trained."""
    search = {"objectives": objectives, "constraints": constraints, "min_round_trips": 10}
    run = RunFolder.create(folder, {"name": folder.name, "search": search, "trial": {}})
    run.add_trial("encoder-0", None, "pretraining", {}, {})
    run.trial_started("encoder-0")
    run.trial_ended("encoder-0", "COMPLETE", {"validation_loss": 0.1})
    for number, trial in enumerate(trials):
        name = f"trial-{number:04d}"
        spec = {"encoder": {"kind": "mlp", "hidden": 64}, "windows": {"kind": "single"}}
        run.add_trial(name, number, "trial", {"trial/x": number}, spec)
        if trial.state == "PENDING":
            continue
        run.trial_started(name)
        run.trial_folder(name).report({"env_steps": 100, **trial.metrics()})
        if trial.state != "RUNNING":
            run.trial_ended(name, trial.state, error="broken" if trial.state == "FAILED" else None)
    return run


def expected_best(trials: list[Played], objectives: list[dict], constraints: list[str]) -> str | None:
    """By the definition, written down once more: the first finished, feasible trial than which none is better."""

    def known(value: float | None) -> bool:
        return value is not None and value == value

    def values(trial: Played) -> list[float | None]:
        return [trial.sharpe if goal["metric"] == SHARPE else trial.drawdown for goal in objectives]

    best: tuple[list[float], str] | None = None
    for number, trial in enumerate(trials):
        if trial.state != "COMPLETE" or not all(map(known, values(trial))):
            continue
        if not (known(trial.round_trips) and trial.round_trips >= 10):
            continue
        if constraints and not (known(trial.drawdown) and trial.drawdown <= 0.3):
            continue
        gains = [
            v if goal["direction"] == "maximize" else -v for v, goal in zip(values(trial), objectives, strict=True)
        ]
        if best is None or gains > best[0]:
            best = gains, f"trial-{number:04d}"
    return None if best is None else best[1]


def printed(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(list(arguments)) == 0
    return out.getvalue()


def ranked_first(table: str) -> str | None:
    """The trial of rank 1 in a printed leaderboard."""
    rows = (line.split() for line in table.splitlines())
    return next((cells[1] for cells in rows if cells[:1] == ["1"] and cells[1].startswith("trial-")), None)


def named_by_all(run: RunFolder) -> dict[str, str | None]:
    """The best trial by whoever names one; None where they raise NoResultError or rank none."""
    study = ftray.open_study(run.path)

    def asked(ask) -> str | None:
        try:
            return ask()
        except NoResultError:
            return None

    def first(rows: list[dict]) -> str | None:
        return next((row["trial"] for row in rows if row["rank"] == 1), None)

    def of_report() -> str:
        facts = next(block for block in winner(study) if isinstance(block, Facts))
        return facts.rows["best trial"]

    # Trials without a rank have curves, too, after those that have one.
    ended = [trial for trial in shown_trials(study) if study.run.record(trial).state != "RUNNING"]
    return {
        "notebook": asked(lambda: study.best().trial),
        "front": next(iter(study.pareto()["trial"]), None),
        "ftray results": ranked_first(printed("results", str(run.path))),
        "ftray results --json": first(json.loads(printed("results", str(run.path), "--json", "-"))["leaderboard"]),
        "ftray backtest": asked(lambda: policy_folder(run).parent.name),
        "ftray promote": asked(lambda: chosen(run, None).id),
        "live page, leaderboard": first(leaderboard_page(study)),
        "live page, curves": ended[0] if ended and first(leaderboard_page(study)) else None,
        "report": asked(of_report),
    }


VALUES = st.sampled_from([None, NAN, 0.1, 0.2, 0.3, 0.4])
STATES = st.sampled_from(["COMPLETE"] * 6 + ["PRUNED", "FAILED", "INTERRUPTED", "RUNNING", "PENDING"])
TRADED = st.sampled_from([100.0] * 4 + [10.0, 9.9, 0.0, None])
TRIALS = st.lists(st.builds(Played, STATES, VALUES, VALUES, TRADED), max_size=7)
GOALS = st.sampled_from([[UP], [DOWN], [UP, DOWN], [DOWN, UP]])
TIED = [Played("COMPLETE", 0.4, 0.3), Played("COMPLETE", 0.4, 0.2), Played("COMPLETE", 0.4, 0.2)]
BETTER_IF_IT_COUNTED = [
    Played("COMPLETE", 0.1, 0.2),
    *(Played(state, 0.4, 0.1) for state in ("PRUNED", "FAILED", "INTERRUPTED", "RUNNING", "PENDING")),
    Played("COMPLETE", 0.4, 0.4),
    Played("COMPLETE", 0.4, NAN),
    Played("COMPLETE", 0.4, 0.0, 9.9),
]


@settings(max_examples=25, deadline=None)
@given(TRIALS, GOALS, st.sampled_from([[], [CAPPED]]), st.booleans())
@example(TIED, [UP], [], False)
@example(TIED, [UP, DOWN], [], True)
@example(TIED, [DOWN, UP], [CAPPED], False)
@example(BETTER_IF_IT_COUNTED, [UP], [CAPPED], True)
@example(BETTER_IF_IT_COUNTED, [UP, DOWN], [], False)
@example([Played("COMPLETE", 0.4, None), Played("COMPLETE", 0.1, 0.1)], [UP, DOWN], [], False)
@example([], [UP], [], False)
def test_everyone_names_the_same_best_trial(trials, objectives, constraints, compacted):
    with tempfile.TemporaryDirectory() as folder:
        run = played_study(Path(folder) / "study", trials, objectives, constraints)
        if compacted:
            compact(run)
        best = expected_best(trials, objectives, constraints)
        named = named_by_all(run)
        assert named == dict.fromkeys(named, best)


def test_everyone_shows_the_same_luck_line(tmp_path):
    trials = [*BETTER_IF_IT_COUNTED, Played("COMPLETE", 0.3, 0.3)]
    run = played_study(tmp_path / "study", trials, [UP, DOWN], [CAPPED])
    study = ftray.open_study(run.path)
    luck = study.best().luck
    assert luck is not None and luck.value == 0.3
    assert luck.n_trials == sum(trial.state != "PENDING" for trial in trials)
    shown, verdict, idle = describe_luck(study)
    assert shown == str(luck) and verdict == luck.verdict and "1 of 5 finished trials (trial-0008) hardly trade" in idle
    assert str(luck) in printed("results", str(run.path))
    shown = json.loads(printed("results", str(run.path), "--json", "-"))
    assert shown["luck"]["luck_line"] == pytest.approx(luck.luck_line)
    (first,) = [row for row in shown["leaderboard"] if row["rank"] == 1]
    assert first["deflated_sharpe"] == pytest.approx(luck.deflated)
