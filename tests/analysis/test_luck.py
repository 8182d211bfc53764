"""Under a board of Sharpe ratios stands what luck alone would show, and how often the test window was read."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

import ftray
from ftray import stats
from ftray.analysis.luck import Luck, folds_apart, luck_of, luck_of_best
from ftray.analysis.test_window import reads_of, record_read
from ftray.boards.printing import print_luck, print_reads
from ftray.runs import RunFolder
from ftray.search.objectives import objectives_of

HOURS = 8_760
SINGLE = {"kind": "single"}


def figures(sharpe: float | None, **other) -> dict:
    shown = {"sharpe": sharpe, "skewness": -0.5, "kurtosis": 6.0, "n_bars": 4_380.0, "years": 0.5} | other
    return {f"validation/{name}": value for name, value in shown.items()}


def run_of(path: Path, sharpes: dict[str, float | None], search: dict | None = None) -> RunFolder:
    run = RunFolder.create(path, {"name": path.name, "search": search or {}})
    for number, (state, sharpe) in enumerate(sharpes.items()):
        run.add_trial(f"trial-{number:04d}", number, "trial", {}, {"windows": SINGLE})
        run.trial_started(f"trial-{number:04d}")
        run.trial_ended(f"trial-{number:04d}", state.split()[0], figures(sharpe))
    return run


def luck_of_run(run: RunFolder) -> Luck | None:
    return luck_of_best(run.records(), objectives_of(run.study))


def printed(what, run: RunFolder) -> str:
    console = Console(file=io.StringIO(), width=80)
    what(run, console=console)
    return console.file.getvalue()


def test_it_is_the_expected_maximum_of_that_many_trials():
    luck = luck_of(figures(2.0), SINGLE, n_trials=40, effective=10.0)
    assert luck.luck_line == pytest.approx(stats.luck_line(10.0, years=0.5))
    expected = stats.deflated_sharpe(2.0, 4_380, HOURS, n_trials=10.0, skewness=-0.5, kurtosis=6.0)
    assert luck.deflated == pytest.approx(expected) and not luck.clears
    assert luck_of(figures(9.0), SINGLE, n_trials=40, effective=10.0).clears
    assert "40 trials (worth 10.0 independent ones)" in str(luck)


def test_more_trials_raise_the_line_and_more_bars_lower_it():
    few, many = (luck_of(figures(2.0), SINGLE, n, float(n)) for n in (2, 200))
    assert many.luck_line > few.luck_line and many.deflated < few.deflated
    folds = luck_of(figures(2.0), {"kind": "walk_forward", "n_folds": 4}, 200, 200.0)
    assert folds.luck_line == pytest.approx(many.luck_line / 2) and folds.years == 2.0


def test_combinatorial_folds_share_their_bars():
    assert folds_apart({"kind": "combinatorial", "n_groups": 6, "n_validation_groups": 2}) == 3.0
    assert folds_apart(SINGLE) == folds_apart({}) == 1.0


@pytest.mark.parametrize("unknown", ["sharpe", "kurtosis", "years"])
def test_what_is_unknown_is_not_guessed(unknown):
    assert luck_of(figures(2.0) | {f"validation/{unknown}": None}, SINGLE, 4, 4.0) is None
    assert luck_of(figures(2.0) | {f"validation/{unknown}": math.nan}, SINGLE, 4, 4.0) is None


def test_every_trial_that_showed_a_ratio_counts_however_it_ended(tmp_path):
    run = run_of(
        tmp_path / "study", {"COMPLETE": 1.0, "COMPLETE too": 2.0, "PRUNED": -1.0, "FAILED": 3.0, "FAILED 2": None}
    )
    luck = luck_of_run(run)
    assert (luck.n_trials, luck.value) == (4, 2.0)
    assert f"luck line {luck.luck_line:.2f}" in printed(print_luck, run)


def test_a_running_trial_counts_from_its_first_ratio_on_and_the_notebook_agrees(tmp_path):
    run = run_of(tmp_path / "study", {"COMPLETE": 1.0})
    trial = run.add_trial("trial-0001", 1, "trial", {}, {"windows": SINGLE})
    run.trial_started("trial-0001")
    trial.report({"env_steps": 1_000} | figures(2.0))
    trial.report({"env_steps": 2_000, "loss/value": 0.5})  # not every report comes with a validation
    luck = luck_of_run(run)
    assert luck.n_trials == 2 and luck == ftray.open_study(run.path).best().luck


def test_a_board_of_anything_else_has_no_such_line(tmp_path):
    reward = {"objectives": [{"metric": "reward", "direction": "maximize"}]}
    assert printed(print_luck, run_of(tmp_path / "reward", {"COMPLETE": 1.0}, reward)) == ""
    assert printed(print_luck, run_of(tmp_path / "empty", {})) == ""


def test_reads_of_the_test_window_are_shown_for_good(tmp_path):
    run = run_of(tmp_path / "study", {"COMPLETE": 1.0})
    assert printed(print_reads, run) == "" and reads_of(run.events()) == []
    test = [{"sharpe": 1.0, "total_return": 0.1}, {"sharpe": 2.0, "total_return": -0.3}]
    record_read(run, "trial-0000", (1, 2), test, forced=())
    assert "test window read once:" in printed(print_reads, run)
    record_read(run, "trial-0000", (1, 2), test, forced=("it was read before",))
    text = printed(print_reads, RunFolder.open(run.path))
    assert "test window read 2 times:" in text
    assert text.count("trial-0000 on 2 fresh seeds: mean Sharpe 1.50, mean return -10.0%") == 2
    assert text.count("forced, despite: it was read before") == 1
