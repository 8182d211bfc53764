"""Under a board of Sharpe ratios stands what luck alone would show, and how often the test window was read."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import ftray
from ftray import stats
from ftray.analysis.leaderboard import leaderboard_rows
from ftray.analysis.luck import ACTIVE_SHARPE, Luck, gate_opens, luck_of, luck_of_best
from ftray.analysis.test_window import reads_of, record_read
from ftray.boards.printing import print_luck, print_reads
from ftray.runs import RunFolder
from ftray.runs.looks import folds_apart, looks_of
from ftray.search.objectives import objectives_of

HOURS = 8_760
DRAWDOWN = {"metric": "validation/max_drawdown", "direction": "minimize"}
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
    error = stats.sharpe_error(2.0, 4_380, HOURS, skewness=-0.5, kurtosis=6.0)
    assert luck.error == pytest.approx(error) and error > 1 / math.sqrt(0.5)
    assert luck.luck_line == pytest.approx(stats.expected_maximum_sharpe(40, error, 10.0))
    expected = stats.probability_above(2.0, luck.luck_line, error, 4_380, kurtosis=6.0)
    assert luck.deflated == pytest.approx(expected) and not luck.clears
    assert luck_of(figures(9.0), SINGLE, n_trials=40, effective=10.0).clears
    assert "40 trials (worth 10.0 independent ones)" in str(luck)


def test_four_trials_worth_little_more_than_one_still_have_a_line():
    luck = luck_of(figures(2.0), SINGLE, n_trials=4, effective=1.3)
    assert luck.luck_line == pytest.approx(math.sqrt(0.1) * stats.expected_maximum_sharpe(4, luck.error))
    assert luck.luck_line > 0.45


def test_an_error_that_knows_autocorrelation_widens_the_line_and_one_that_is_too_good_does_not_lower_it():
    usual, least = luck_of(figures(2.0), SINGLE, 40, 40.0), 1 / math.sqrt(0.5)
    wide = luck_of(figures(2.0, sharpe_newey_west=2.0), SINGLE, 40, 40.0)
    assert wide.error == 2.0 and wide.luck_line == pytest.approx(2.0 / usual.error * usual.luck_line)
    narrow = luck_of(figures(2.0, sharpe_newey_west=0.5), SINGLE, 40, 40.0)
    assert narrow.error == pytest.approx(least) and narrow.luck_line == pytest.approx(stats.luck_line(40, 0.5))
    folds = luck_of(figures(2.0, sharpe_newey_west=4.0), {"kind": "walk_forward", "n_folds": 4}, 40, 40.0)
    assert folds.error == pytest.approx(2.0)


def test_trials_of_other_studies_on_the_same_bars_count():
    here = luck_of(figures(2.0), SINGLE, 4, 4.0)
    both = luck_of(figures(2.0), SINGLE, 4, 24.0, n_elsewhere=20)
    assert both.luck_line == luck_of(figures(2.0), SINGLE, 24, 24.0).luck_line > here.luck_line
    assert "of 4 trials here and 20 in other studies without skill" in str(both)


def test_trials_that_select_among_their_evaluations_count_each_as_a_look(tmp_path):
    run = run_of(tmp_path / "study", {"COMPLETE": 1.0, "COMPLETE too": 2.0})
    for number, sharpe in ((2, 1.5), (3, -1.0)):
        trial = f"trial-{number:04d}"
        run.add_trial(trial, number, "trial", {}, {"windows": SINGLE})
        run.trial_started(trial)
        run.trial_ended(trial, "COMPLETE", figures(sharpe) | {"selected/evaluations": 40, "selected/env_steps": 640})
    luck = luck_of_run(run)
    assert (luck.n_trials, luck.n_looks, luck.effective) == (4, 82.0, 82.0)
    assert luck.luck_line == pytest.approx(stats.expected_maximum_sharpe(82, luck.error))
    assert "to expect of 4 trials (82 looks) without skill" in str(luck)
    assert luck == ftray.open_study(run.path).best().luck
    (first, *_) = leaderboard_rows(run.records(), objectives_of(run.study))
    assert first["deflated_sharpe"] == luck.deflated and first["trial"] == "trial-0001"


@pytest.mark.parametrize(("n_evaluations", "n_folds"), [(10, 1), (10, 4), (40, 4)])
def test_the_line_is_above_what_selection_alone_shows_and_not_far(n_evaluations, n_folds):
    windows = {"kind": "walk_forward", "n_folds": n_folds} if n_folds > 1 else SINGLE
    looks = looks_of({"selected/evaluations": n_evaluations}, windows)
    noise = np.random.default_rng(0).normal(size=(4_000, n_folds, n_evaluations))
    one = noise.max(axis=-1).mean(axis=-1)  # a trial: the mean over folds of each fold's best evaluation
    for n_trials, truth in ((1, one.mean()), (20, one.reshape(-1, 20).max(axis=1).mean())):
        line = stats.expected_maximum_sharpe(n_trials * looks, 1 / math.sqrt(n_folds))
        assert 0.99 * truth < line < 1.35 * truth


def test_an_active_ratio_has_a_line_of_its_own_and_the_gate_asks_for_both():
    figures_of_both = figures(9.0, active_sharpe=1.0, active_skewness=0.0, active_kurtosis=3.0, active_newey_west=1.5)
    plain = luck_of(figures_of_both, SINGLE, 4, 4.0)
    active = luck_of(figures_of_both, SINGLE, 4, 4.0, ACTIVE_SHARPE)
    assert (active.metric, active.value, active.error) == (ACTIVE_SHARPE, 1.0, 1.5)
    assert "deflated active Sharpe ratio" in str(active)
    assert plain.clears and not active.clears and not gate_opens(plain, active)
    skilled = luck_of(figures_of_both | {ACTIVE_SHARPE: 9.0}, SINGLE, 4, 4.0, ACTIVE_SHARPE)
    assert gate_opens(plain, skilled) and not gate_opens(active, skilled)
    undefined = luck_of(figures_of_both | {ACTIVE_SHARPE: None}, SINGLE, 4, 4.0, ACTIVE_SHARPE)
    assert undefined is None and not gate_opens(plain, undefined) and not gate_opens(None, skilled)


def test_the_verdict_is_that_nothing_was_found_until_luck_hardly_explains_the_best(tmp_path):
    lucky = run_of(tmp_path / "lucky", {"COMPLETE": 1.0, "COMPLETE too": 2.0})
    skilled = run_of(tmp_path / "skilled", {"COMPLETE": 1.0, "COMPLETE too": 12.0})
    assert printed(print_luck, lucky).splitlines()[-1] == "nothing found: luck may explain the best trial"
    assert printed(print_luck, skilled).splitlines()[-1] == "found: more than luck explains"


def test_nothing_was_found_where_trials_finished_and_none_has_a_rank(tmp_path):
    idle = run_of(tmp_path / "idle", {"COMPLETE": None, "PRUNED": 2.0})
    assert printed(print_luck, idle).strip() == "nothing found: no finished trial has a rank"
    begun = run_of(tmp_path / "begun", {"FAILED": None, "PRUNED": 2.0})
    assert printed(print_luck, begun) == ""
    other = run_of(tmp_path / "other", {"COMPLETE": None}, {"objectives": [DRAWDOWN]})
    assert printed(print_luck, other) == ""


def test_more_trials_raise_the_line_and_more_bars_lower_it():
    few, many = (luck_of(figures(2.0), SINGLE, n, float(n)) for n in (2, 200))
    assert many.luck_line > few.luck_line and many.deflated < few.deflated
    folds = luck_of(figures(2.0), {"kind": "walk_forward", "n_folds": 4}, 200, 200.0)
    assert folds.luck_line == pytest.approx(many.luck_line / 2, rel=1e-3) and folds.years == 2.0


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
