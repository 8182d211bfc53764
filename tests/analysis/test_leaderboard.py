"""The leaderboard ranks what was validated with the benchmarks that every policy must beat, and opens quickly."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from ftray.analysis.leaderboard import encoder_rows, first_rows, is_benchmark, leaderboard_rows
from ftray.analysis.luck import luck_of_best
from ftray.boards.export import leaderboard_csv, leaderboard_json
from ftray.boards.printing import print_encoders, print_leaderboard
from ftray.errors import SpecError
from ftray.runs import RunFolder
from ftray.search.objectives import objectives_of

FT = {"kind": "ft", "d_token": 64, "n_blocks": 2, "n_heads": 4, "patch_length": 60}
FROZEN = FT | {"pretrained": "auto", "frozen": True}
MLP = {"kind": "mlp", "hidden": 512, "encoding_dim": 512}


def figures(sharpe: float | None) -> dict:
    validated = {"sharpe": sharpe, "total_return": 0.1234, "max_drawdown": 0.05}
    return {f"validation/{name}": value for name, value in validated.items()} | {"sharpe": 99}


def rows_of(run: RunFolder) -> list[dict]:
    return leaderboard_rows(run.records(), objectives_of(run.study), benchmarks=run.benchmarks())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    outcomes = [
        ("trial-0001", "trial", MLP, "COMPLETE", figures(0.4)),
        ("trial-0002", "trial", FROZEN, "COMPLETE", figures(1.6)),
        ("trial-0003", "trial", FT, "FAILED", figures(9.0)),
        ("trial-0004", "trial", MLP, "PRUNED", figures(-0.3)),
        ("trial-0005", "pretraining", FT, "COMPLETE", {"validation/loss": 0.2}),
        ("trial-0006", "trial", FT, "COMPLETE", figures(float("nan"))),
    ]
    for number, (trial, kind, encoder, state, metrics) in enumerate(outcomes, start=1):
        run.add_trial(trial, number, kind, {}, {"encoder": encoder})
        run.trial_started(trial)
        run.trial_ended(trial, state, metrics)
    run.add_trial("trial-0007", 7, "trial", {}, {})
    run.record_benchmarks(
        {
            "equal_weight": {"sharpe": 0.5, "total_return": 0.2, "max_drawdown": 0.3},
            "hold_BTC": {"sharpe": 0.1, "total_return": 0.1, "max_drawdown": 0.4},
        }
    )
    return run


def test_the_best_validation_sharpe_ratio_comes_first_and_benchmarks_stand_between(run: RunFolder):
    rows = rows_of(run)
    assert [row["trial"] for row in rows] == [
        *("trial-0002", "equal_weight", "trial-0001", "hold_BTC"),
        *("trial-0003", "trial-0004", "trial-0006", "trial-0007"),
    ]
    assert [row["rank"] for row in rows] == [1, None, 2, None, None, None, None, None]
    assert [row["validation_sharpe"] for row in rows[:4]] == [1.6, 0.5, 0.4, 0.1]


def test_a_benchmark_that_cannot_trade_says_why_and_is_not_compared(run: RunFolder):
    why = "orders of 1,428.57 are below min_order 2,000"
    run.record_benchmarks({"equal_weight": {"cannot_trade": why}, "cash": {"sharpe": 0.0, "total_return": 0.0}})
    rows = rows_of(run)
    assert [row["trial"] for row in rows][:3] == ["trial-0002", "trial-0001", "cash"]
    (row,) = [row for row in rows if row["trial"] == "equal_weight"]
    assert row["state"] == f"BENCHMARK, cannot trade: {why}" and is_benchmark(row)
    assert row["rank"] is row["objective"] is row["validation_sharpe"] is row["validation_return"] is None
    assert [one["trial"] for one in first_rows(rows, 1)] == ["trial-0002", "cash", "equal_weight"]


def test_a_row_says_what_was_trained(run: RunFolder):
    best = rows_of(run)[0]
    assert best["encoder"] == "ft 64/2/4 p60"
    assert best["pretrained"] == "auto, frozen"
    assert best["validation_return"] == 0.1234
    assert best["validation_max_drawdown"] == 0.05
    assert best["wall_seconds"] > 0


def test_without_a_terminal_the_table_is_plain_lines(run: RunFolder):
    out = io.StringIO()
    print_leaderboard(run, console=Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    titles = "rank  trial  encoder  pretrained  Sharpe  error  deflated  return  max drawdown  turnover  exposure"
    titles += "  wall time  state"
    assert lines[0].split() == titles.split()
    assert lines[1].split()[:2] == ["1", "trial-0002"]
    assert "12.3%" in lines[1]
    assert lines[9:] == ["", "6 trials: 1 PENDING, 3 COMPLETE, 1 PRUNED, 1 FAILED", "1 failed (trial-0003): "]
    assert out.getvalue().isascii()


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "6"])
def test_the_first_trials_are_a_whole_number(tmp_path, wrong):
    run = RunFolder.create(tmp_path / "run", {"name": "run"})
    with pytest.raises(SpecError, match=rf"^top: must be (at least 1|an int), got {wrong!r}$"):
        print_leaderboard(run, top=wrong)


def test_the_best_few_are_shown_with_all_benchmarks(run: RunFolder):
    out = io.StringIO()
    print_leaderboard(run, top=1, console=Console(file=out))
    names = [line.split()[1] for line in out.getvalue().splitlines()[1:4]]
    assert names == ["trial-0002", "equal_weight", "hold_BTC"]


def test_before_any_trial_has_ended_the_first_few_are_those_that_run(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    for number in range(3):
        run.add_trial(f"trial-{number}", number, "trial", {}, {"encoder": {"kind": "mlp"}})
    run.trial_started("trial-2")
    out = io.StringIO()
    print_leaderboard(run, top=1, console=Console(file=out))
    text = out.getvalue()
    assert "trial-2" in text and "trial-0" not in text and "3 trials: 2 PENDING, 1 RUNNING" in text


def test_a_terminal_gets_a_table(run: RunFolder):
    out = io.StringIO()
    print_leaderboard(run, console=Console(file=out, force_terminal=True, width=150))
    assert "study, on the validation window" in out.getvalue()
    assert "trial-0002" in out.getvalue()


def test_a_study_without_trials_says_so(tmp_path: Path):
    out = io.StringIO()
    print_leaderboard(RunFolder.create(tmp_path / "new", {"a": 1}), console=Console(file=out))
    assert out.getvalue() == "new: no trials yet\n"


def test_printing_needs_neither_pandas_nor_torch_nor_ray(run: RunFolder):
    script = (
        "import sys; from ftray.runs import RunFolder; from ftray.boards.printing import print_leaderboard; "
        f"print_leaderboard(RunFolder.open({str(run.path)!r})); "
        "print('heavy:', sorted({'pandas', 'pyarrow', 'torch', 'ray', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_pretraining_jobs_have_a_table_of_their_own_best_loss_first_and_failures_are_printed_below(tmp_path: Path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    how = {"encoder": FT, "pretraining": {"learning_rate": 1e-3, "mask_ratio": 0.15}}
    for job, loss in (("encoder-a", 0.5), ("encoder-b", None), ("encoder-c", 0.25)):
        run.add_trial(job, None, "pretraining", {}, how)
        run.trial_started(job)
        run.trial_ended(job, "FAILED" if loss is None else "COMPLETE", {"epoch": 3, "validation_loss": loss}, "no luck")
    assert [row["job"] for row in encoder_rows(run.records())] == ["encoder-c", "encoder-a", "encoder-b"]
    printed = io.StringIO()
    print_encoders(run, console=Console(file=printed, width=200))
    print_leaderboard(run, console=Console(file=printed, width=200))
    assert "ft 64/2/4 p60" in printed.getvalue() and "0.2500" in printed.getvalue() and "1.0e-03" in printed.getvalue()


def test_a_failed_trial_is_listed_with_the_first_line_of_its_error(run: RunFolder):
    run.add_trial("trial-0008", 8, "trial", {}, {"encoder": MLP})
    run.trial_started("trial-0008")
    run.trial_ended("trial-0008", "FAILED", {}, "no such checkpoint\nTraceback ...")
    printed = io.StringIO()
    print_leaderboard(run, console=Console(file=printed, width=200))
    assert "1 failed (trial-0008): no such checkpoint\n" in printed.getvalue()


def minimizing(tmp_path: Path) -> RunFolder:
    goals = [{"metric": "validation/max_drawdown", "direction": "minimize"}]
    run = RunFolder.create(tmp_path / "calm", {"name": "calm", "search": {"objectives": goals}})
    for number, (drawdown, sharpe) in enumerate([(0.3, 9.0), (0.1, 1.0), (0.2, 5.0)]):
        name = f"trial-{number:04}"
        run.add_trial(name, number, "trial", {}, {"encoder": MLP})
        run.trial_started(name)
        metrics = {"validation/max_drawdown": drawdown, "validation/sharpe": sharpe, "cost/cpu_seconds": 60.0}
        run.trial_ended(name, "COMPLETE", metrics)
    run.record_benchmarks({"equal_weight": {"sharpe": 0.5, "max_drawdown": 0.15}})
    return run


def test_trials_are_ranked_by_what_their_study_searches_for(tmp_path):
    run = minimizing(tmp_path)
    rows = rows_of(run)
    assert [row["trial"] for row in rows] == ["trial-0001", "equal_weight", "trial-0002", "trial-0000"]
    assert [row["rank"] for row in rows] == [1, None, 2, 3] and rows[0]["objective"] == 0.1
    out = io.StringIO()
    print_leaderboard(run, console=Console(file=out))
    titles = out.getvalue().splitlines()[0].split()
    assert (
        titles[4:7] == ["max", "drawdown", "Sharpe"]
        and titles.count("drawdown") == 1
        and "CPU" in titles
        and "deflated" not in titles
    )


def test_a_sharpe_ratio_has_its_error_and_the_probability_that_luck_is_not_all(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    moments = {"n_bars": 8760.0, "years": 1.0, "skewness": 0.0, "kurtosis": 3.0}
    for number, sharpe in enumerate((0.5, 3.0)):
        run.add_trial(f"trial-{number}", number, "trial", {}, {"encoder": MLP})
        run.trial_started(f"trial-{number}")
        known = {"sharpe": sharpe, **moments}
        run.trial_ended(f"trial-{number}", "COMPLETE", {f"validation/{name}": value for name, value in known.items()})
    best, other = rows_of(run)
    assert best["error"] == pytest.approx(1.0, rel=0.01)  # 1 / √years, for a ratio that is small per bar
    assert best["deflated_sharpe"] > 0.97 and other["deflated_sharpe"] < 0.5
    assert best["deflated_sharpe"] == pytest.approx(luck_of_best(run.records(), objectives_of(run.study)).deflated)


def test_the_leaderboard_goes_to_other_programs_whole(tmp_path):
    run = minimizing(tmp_path)
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(run))))
    assert [row["trial"] for row in rows] == [row["trial"] for row in rows_of(run)]
    assert rows[0]["objective"] == "0.1" and rows[1]["rank"] == ""
    content = json.loads(leaderboard_json(run))
    assert content["leaderboard"] == rows_of(run) and content["states"] == {"COMPLETE": 3} and content["luck"] is None
