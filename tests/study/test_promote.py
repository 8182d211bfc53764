"""A promotion trains on seeds that the study never saw, and is the only look at the test window."""

import ast
import dataclasses
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ftray
from ftray import stats
from ftray.analysis.test_window import reads_of, record_read
from ftray.cli import main
from ftray.errors import NoResultError, QueryError, RefusedError, RunFolderError, SpecError
from ftray.features.dataset import open_test_window
from ftray.metrics import ACTIVE_SHARPE, SHARPE
from ftray.nets import Policy
from ftray.runs import RunFolder, TrialFolder
from ftray.spec import LEAST_SEEDS, parse, to_mapping
from ftray.study import load_study, parse_study, promote
from ftray.study.promotion.candidate import chosen, fresh_seeds
from ftray.study.promotion.draws import draws_of, effective_numbers, spread_of_seeds
from ftray.study.promotion.outcome import describe_promotion
from ftray.study.run import run_study
from ftray.trading import backtest, equal_weight
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.judge import judge

from ..runs.seen import candles, study_bars
from .promoted import ratios, searched, trained
from .tiny import TINY, tiny_file

MLP = "trial.encoder={kind: mlp, hidden: 64, encoding_dim: 64}"
MAY_KNOW_THE_TEST_WINDOW = {
    "analysis/later.py",  # reads it where --force does, and records that
    "analysis/looks.py",  # records its dates for a study of an earlier version
    "features/dataset.py",  # builds and keeps it
    "features/history.py",  # says when it is, so that later bars begin after it
    "market/folds.py",  # splits it off
    "market/windows.py",
    "pretraining/store.py",  # asks whether weights were trained on its bars
    "study/data_summary.py",  # prints its dates
    "study/draft_text.py",  # names its dates
    "study/fitting.py",  # counts its bars
    "study/promote.py",  # reads it
    "study/promotion/outcome.py",  # describes what was read
    "trading/prices.py",  # refuses backtests and episodes on its bars
    "trial/judge.py",  # refuses it by name
    "trial/run.py",
    "trial/windows.py",  # records its dates
}


def by_hand(path: Path, outcomes: list[tuple[str, float | None, float]], **spec) -> RunFolder:
    """A run of (state, Sharpe, drawdown)."""
    objectives = [{"metric": "validation/sharpe", "direction": "maximize"}]
    search = {"objectives": objectives, "constraints": ["validation/max_drawdown <= 0.3"]}
    run = RunFolder.create(path, {"name": "hand", "search": search})
    for number, (state, sharpe, drawdown) in enumerate(outcomes):
        run.add_trial(f"trial-{number:04d}", number, "trial", {}, to_mapping(TrialSpec(**spec)))
        run.trial_started(f"trial-{number:04d}")
        run.trial_ended(
            f"trial-{number:04d}", state, {"validation/sharpe": sharpe, "validation/max_drawdown": drawdown}
        )
    return run


def test_nothing_else_in_the_package_can_reach_the_test_window():
    root = Path(ftray.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            named = (isinstance(node, ast.Attribute) and node.attr == "test") or (
                isinstance(node, ast.Constant) and node.value == "test"
            )
            assert not named or file.relative_to(root).as_posix() in MAY_KNOW_THE_TEST_WINDOW, (file, node.lineno)


def test_it_is_opened_in_two_places_which_record_every_read():
    root = Path(ftray.__file__).parent
    found = [
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "open_test_window"
    ]
    assert sorted(found) == ["analysis/later.py", "study/promote.py"]


def test_neither_judge_nor_backtest_opens_it(tmp_path, capsys):
    with pytest.raises(SpecError, match="`ftray promote` alone reads the test window"):
        judge(None, None, None, "test")  # type: ignore[arg-type]  # refused before it looks at anything
    with pytest.raises(SystemExit):
        main(["backtest", str(tmp_path), "--window", "test"])
    assert "invalid choice: 'test'" in capsys.readouterr().err


def test_the_best_complete_and_feasible_trial_is_chosen_or_the_named_one(tmp_path):
    outcomes = [("COMPLETE", 1.0, 0.1), ("COMPLETE", 3.0, 0.9), ("PRUNED", 4.0, 0.1), ("COMPLETE", 2.0, 0.2)]
    run = by_hand(tmp_path / "run", outcomes)
    assert chosen(run, None).id == "trial-0003"
    assert chosen(run, "trial-0000").id == "trial-0000"
    with pytest.raises(NoResultError, match="needs a complete trial, and trial-0002 is a trial, PRUNED"):
        chosen(run, "trial-0002")
    with pytest.raises(NoResultError, match="has none; see: ftray results"):
        chosen(by_hand(tmp_path / "none", [("FAILED", None, 0.1)]), None)


def test_what_a_trial_selected_among_its_evaluations_is_promoted_against_all_of_them(tmp_path):
    run = searched(tmp_path / "run", [ratios(3.0) | {"selected/evaluations": 20}, ratios(2.0)])
    draws = draws_of(run, 4)
    assert (draws.n_trials, draws.n_looks, draws.effective) == (2, 21.0, {SHARPE: 25.0, ACTIVE_SHARPE: 25.0})
    luck = draws.luck(ratios(3.0), {}, SHARPE)
    assert luck is not None and luck.luck_line == pytest.approx(stats.expected_maximum_sharpe(25, luck.error))
    assert luck.chosen_from == "2 trials (21 looks) here and 4 in other studies"


def test_fresh_seeds_follow_every_seed_of_the_study(tmp_path):
    run = by_hand(tmp_path / "run", [("COMPLETE", 1.0, 0.1)], seed=4, seeds=3)
    assert fresh_seeds(run.records(), 3) == (7, 8, 9)


def test_a_promotion_needs_three_seeds_and_the_candles_of_the_study(tmp_path, capsys):
    with pytest.raises(SpecError, match="at least 3 fresh seeds, got 2: the mean of fewer is again one"):
        promote.promote(tmp_path, n_seeds=2)
    for wrong, words in ((0, "at least 3"), (-1, "at least 3"), (True, "must be an int"), (3.5, "must be an int")):
        with pytest.raises(SpecError, match=f"{words}.*got {wrong}"):
            promote.promote(tmp_path, n_seeds=wrong)
    with pytest.raises(SystemExit):
        main(["promote", str(tmp_path), "--seeds", "2", "--force"])
    assert f"argument --seeds: must be at least {LEAST_SEEDS}, got 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["promote", "--help"])
    assert f"fresh seeds to train, at least {LEAST_SEEDS} " in " ".join(capsys.readouterr().out.split())
    run = RunFolder.create(tmp_path / "run", {"name": "run", "candles": "0123456789abcdef"})
    run.add_trial("trial-0000", 0, "trial", {}, to_mapping(TrialSpec()))
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {"validation/sharpe": 1.0})
    with pytest.raises(RunFolderError, match="was searched on candles 0123456789abcdef, and its market has"):
        promote.promote(run.path)


STRONG, WEAK = 6.0, 0.5
"""Ratios of a year that clear the luck line of a few trials, and that do not."""


def searches(path: Path, *found: dict) -> RunFolder:
    """A study of eight weak trials and these, which are better or win by name."""
    return searched(path, [ratios(WEAK + number / 10) for number in range(8)] + list(found))


def read(run, specs, folders):
    """What a test window that shows nothing reads as; the seam of `promote` for tests without policies."""
    return tuple({"sharpe": 0.0, "total_return": 0.0, "max_drawdown": 0.0} for _ in specs), {}


def unread(run, specs, folders):
    raise AssertionError("it was read")


def quietly(run: RunFolder, **how):
    return promote.promote(run.path, **{"n_seeds": 3, "say": lambda line: None, "read": unread} | how)


def test_what_the_search_itself_found_by_luck_is_not_trained_unless_somebody_agrees(tmp_path, capsys):
    run, lines, asked = searches(tmp_path / "run"), [], []

    def ask(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(RefusedError) as raised:
        quietly(run, say=lines.append)
    assert "Sharpe ratio 1.20, luck line" in str(raised.value) and "--yes trains them" in str(raised.value)
    assert "active Sharpe ratio 1.20, luck line" in str(raised.value) and "no terminal" in str(raised.value)
    assert any("3 seeds to train, which is likely to take 0:0" in line for line in lines)
    with pytest.raises(RefusedError, match="nothing was trained"):
        quietly(run, ask=ask)
    assert "will hardly pass" in asked[0] and asked[0].endswith("Train 3 fresh seeds all the same?")
    assert main(["promote", str(run.path), "--seeds", "3"]) == 1
    assert "--yes trains them" in capsys.readouterr().err
    assert not (run.path / "promoted").exists() and "promotion_refused" not in str(run.events())


def test_who_continues_a_promotion_is_not_asked_again(tmp_path):
    run = searches(tmp_path / "run")
    trained(run, "trial-0007", {1: ratios(WEAK), 2: ratios(WEAK), 3: ratios(WEAK)})

    def never(question: str) -> bool:
        raise AssertionError(question)

    with pytest.raises(RefusedError, match="the test window was not read"):
        quietly(run, ask=never)


@pytest.mark.parametrize("fails", [{"plain": WEAK, "active": STRONG}, {"plain": STRONG, "active": WEAK}])
def test_the_gate_needs_both_ratios_and_records_both(tmp_path, fails):
    run = searches(tmp_path / "run", ratios(STRONG))
    trained(run, "trial-0008", {seed: ratios(**fails) for seed in (1, 2, 3)})
    with pytest.raises(RefusedError) as raised:
        quietly(run)
    text, event = str(raised.value), run.events()[-1]
    assert f"validation Sharpe ratios of fresh seeds: {fails['plain']:.2f}" in text
    assert f"validation active Sharpe ratios of fresh seeds: {fails['active']:.2f}" in text
    assert "the best Sharpe ratio to expect of 9 trials" in text and "the best active Sharpe ratio to expect" in text
    assert event["event"] == "promotion_refused" and reads_of(run.events()) == []
    assert (event["luck"]["value"], event["active_luck"]["value"]) == (fails["plain"], fails["active"])
    assert event["luck"]["metric"] == SHARPE and event["active_luck"]["metric"] == ACTIVE_SHARPE


def test_seeds_that_clear_both_lines_open_it_once(tmp_path):
    run = searches(tmp_path / "run", ratios(STRONG))
    trained(run, "trial-0008", {seed: ratios(STRONG + seed / 10) for seed in (1, 2, 3)})
    found = quietly(run, read=read)
    assert found.forced == () and found.gate.is_open and found.gate.plain.value == pytest.approx(STRONG + 0.2)
    (event,) = (one for one in run.events() if one["event"] == "test_window_read")
    assert event["luck"]["deflated"] >= 0.95 and event["active_luck"]["deflated"] >= 0.95
    assert [one["active_sharpe"] for one in event["validation"]] == pytest.approx([6.1, 6.2, 6.3])
    table = describe_promotion(found)
    assert "validation active" in table[1] and "test active" in table[1] and "6.20 ± 0.06" in "".join(table)


def test_seeds_that_cannot_save_it_are_left_untrained_and_the_others_kept(tmp_path):
    run = searches(tmp_path / "run", ratios(STRONG))
    trained(run, "trial-0008", {1: ratios(-STRONG)})
    with pytest.raises(
        RefusedError, match=r"no seed that is left can open the gate.*mean of the 4 seeds that are left"
    ):
        quietly(run, n_seeds=5)
    assert run.events()[-1]["seeds"] == [1] and "would have to reach" in run.events()[-1]["why"]
    assert [folder.name for folder in (run.path / "promoted" / "trial-0008").iterdir()] == ["seed-1"]


def test_a_small_search_does_not_know_how_far_seeds_are_apart_and_stops_none(tmp_path):
    run = searched(tmp_path / "run", [ratios(STRONG)])
    spread = spread_of_seeds(run.records(), SHARPE)
    assert spread.freedom == 0
    trained(run, "trial-0000", {seed: ratios(-STRONG) for seed in (1, 2, 3)})
    with pytest.raises(RefusedError, match="luck may explain what the fresh seeds show"):
        quietly(run)
    assert run.events()[-1]["seeds"] == [1, 2, 3]


def test_a_trial_that_hardly_trades_is_never_promoted(tmp_path):
    run = searched(tmp_path / "run", [ratios(STRONG, round_trips=9.0), ratios(WEAK)])
    assert chosen(run, None).id == "trial-0001"
    with pytest.raises(
        RefusedError, match=r"trial-0000 made 9.00 round trips .* asks for validation/round_trips >= 10"
    ):
        chosen(run, "trial-0000")
    idle = searched(tmp_path / "idle", [ratios(STRONG, round_trips=0.0)])
    with pytest.raises(NoResultError, match=r"(?s)has none.*1 of 1 finished trials .trial-0000. hardly trade"):
        chosen(idle, None)
    with pytest.raises(QueryError):
        chosen(run, "trial-0009")


def test_a_fresh_seed_that_hardly_trades_shuts_the_gate_whatever_the_others_reach(tmp_path):
    run = searches(tmp_path / "run", ratios(STRONG))
    trained(run, "trial-0008", {1: ratios(STRONG), 2: ratios(STRONG, round_trips=2.0)})
    with pytest.raises(RefusedError, match="seed 2 of 5 hardly trades, so it has no Sharpe ratio, nor has the mean"):
        quietly(run, n_seeds=5)
    assert run.events()[-1]["luck"] is None and run.events()[-1]["active_luck"] is None
    trained(run, "trial-0008", {3: ratios(STRONG)})
    found = quietly(run, force=True, read=read)
    assert "Sharpe ratio undefined; active Sharpe ratio undefined" in found.forced[0]


def test_a_read_by_another_study_is_an_objection_and_its_trials_count(tmp_path):
    run, other = searches(tmp_path / "run", ratios(STRONG)), searches(tmp_path / "other", ratios(STRONG))
    for one in (run, other):
        one.append_event("bars", **dataclasses.asdict(study_bars(candles())))
    trained(run, "trial-0008", {seed: ratios(STRONG) for seed in (1, 2, 3)})
    record_read(other, "trial-0008", (1,), ({"sharpe": 1.0, "total_return": 0.1},), forced=())
    with pytest.raises(RefusedError, match=r"(?s)other studies read bars .* once.*read elsewhere: other, trial-0008"):
        quietly(run)
    found = quietly(run, force=True, read=read)
    assert found.forced == ("other studies read bars of the test window once before",)
    assert found.gate.plain.n_trials == 9 and found.gate.plain.n_elsewhere == 9
    assert reads_of(run.events())[0].forced == found.forced


def plays(spec, report, *, folder, resume, **elsewhere):
    """A training that reports the ratio that its seed stands for, and prints what belongs into Ray's logs."""
    print("[2026-01-01 00:00:00,000 E 1 1] core_worker.cc:1: raw", file=sys.stderr, flush=True)
    for steps in (spec.env_steps // 2, spec.env_steps):
        report({"env_steps": steps, **ratios({1: 3.0, 2: -1.0}[spec.seed])})


@pytest.mark.ray
def test_who_agrees_sees_which_seed_trains_and_how_long_it_takes_until_none_can_save_it(cluster, tmp_path, capfd):
    run, lines = searches(tmp_path / "run"), []
    with pytest.raises(RefusedError, match="no seed that is left can open the gate"):
        quietly(run, n_seeds=5, ask=lambda question: True, say=lines.append, trial_fn=plays)
    shown = [line for line in lines if line.startswith("seed ")]
    assert re.fullmatch(r"seed 1, 1 of 5: 128/256 steps, validation Sharpe 3.00, active 3.00, about .* left", shown[1])
    assert any(line.startswith("seed 2, 2 of 5: 256/256 steps, validation Sharpe -1.00") for line in shown)
    assert run.events()[-1]["seeds"] == [1, 2] and not any(line.startswith("seed 3") for line in lines)
    assert "core_worker" not in "".join(capfd.readouterr())


@pytest.fixture(scope="module")
def study_run(cluster, tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("promotions")
    file = tiny_file(folder, points=[], n_trials=3, max_concurrent=1, min_round_trips=0)
    return run_study(load_study(file, [MLP, "trial.seeds=2"]), folder / "runs", say=lambda line: None)


@pytest.fixture
def run(study_run, tmp_path) -> RunFolder:
    """A copy of the study, as it was before any promotion."""
    return RunFolder.open(shutil.copytree(study_run.path, tmp_path / "tiny"))


@pytest.mark.ray
def test_a_forced_read_is_recorded_shown_and_counted_and_a_second_one_refused(run, capsys):
    best = chosen(run, None)
    found = promote.promote(run.path, n_seeds=3, force=True, say=lambda line: None)
    assert found.trial == best.id and found.seeds == (2, 3, 4)  # the study trained with 0 and 1
    spec = parse(TrialSpec, best.spec)
    _, dataset = prepare_dataset(spec, run.path)
    for seed, test, validation in zip(found.seeds, found.test, found.validation, strict=True):
        policy = Policy.load(run.path / "promoted" / best.id / f"seed-{seed}" / "policy")
        assert policy.facts["seed"] == seed

        def act(bars, account, policy=policy):
            return policy(dataset.table.observation(bars, account))

        opened, window = open_test_window(dataset)
        even = equal_weight(opened, window, spec.trading.rules)
        own = backtest(act, opened, window, spec.trading.rules).performance(even)
        assert test == pytest.approx(own, nan_ok=True)
        own = backtest(act, dataset, dataset.windows.validation, spec.trading.rules).performance()
        assert validation["sharpe"] == pytest.approx(own["sharpe"], rel=1e-4, abs=1e-6)
    assert len(found.forced) == 1 and "on the validation windows the fresh seeds have" in found.forced[0]
    (read,) = reads_of(run.events())
    assert (
        read.trial == best.id and read.forced == found.forced and read.measures[0]["sharpe"] == found.test[0]["sharpe"]
    )
    table = "\n".join(describe_promotion(found))
    assert all(name in table for name in ("mean ± standard error", "equal_weight", "hold_AAVE", "forced, despite"))

    again = (run.path / "promoted" / best.id / "seed-2" / "events.jsonl").read_bytes()
    with pytest.raises(
        RefusedError,
        match=r"(?s)^the test window was read once before; --force reads it again.*read once:.*mean Sharpe",
    ):
        promote.promote(run.path, n_seeds=3, say=lambda line: None)
    assert main(["promote", str(run.path), "--seeds", "3", "--force"]) == 0
    assert "test window read 2 times:" in capsys.readouterr().out
    assert "read once before" in reads_of(run.events())[1].forced[0]
    assert (run.path / "promoted" / best.id / "seed-2" / "events.jsonl").read_bytes() == again  # not trained again
    assert main(["results", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "test window read 2 times:" in shown and "luck line" in shown
    assert [record.id for record in run.records()] == ["trial-0000", "trial-0001", "trial-0002"] and run.is_done


@pytest.mark.ray
def test_no_measure_is_shown_that_could_not_be_recorded(run, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "no room for an event", str(run.path))

    monkeypatch.setattr(promote, "record_read", full)
    assert main(["promote", str(run.path), "--seeds", "3", "--force"]) == 1
    shown = capsys.readouterr().out
    assert "test Sharpe" not in shown and "equal_weight" not in shown


@pytest.mark.ray
def test_trials_that_trade_alike_count_as_one(run):
    trials = run.records()
    before = effective_numbers(run, trials, len(trials))
    assert all(1.0 <= number <= len(trials) for number in before.values())
    assert effective_numbers(run, trials[:1], 1) == {SHARPE: 1.0, ACTIVE_SHARPE: 1.0}
    assert before[SHARPE] != before[ACTIVE_SHARPE]
    for trial in trials[1:]:
        shutil.rmtree(run.trial_folder(trial.id).folder / "policy")
        shutil.copytree(run.trial_folder(trials[0].id).folder / "policy", run.trial_folder(trial.id).folder / "policy")
    assert effective_numbers(run, trials, 7) == pytest.approx({SHARPE: 1.0, ACTIVE_SHARPE: 1.0})


@pytest.mark.ray
@pytest.mark.long
def test_of_several_folds_the_policy_of_the_last_one_reads_the_test_window(cluster, tmp_path):
    tree = {"encoder": {"kind": "mlp", "hidden": 64, "encoding_dim": 64}}
    tree["windows"] = {"kind": "walk_forward", "n_folds": 2, "holding": 6}
    spec = parse_study(
        {"name": "folds", "trial": TINY["trial"] | tree, "search": {"n_trials": 1, "min_round_trips": 0}}
    )
    run = run_study(spec, tmp_path, say=lambda line: None)
    found = promote.promote(run.path, n_seeds=3, force=True, say=lambda line: None)
    folder = run.path / "promoted" / "trial-0000" / "seed-1"
    assert [one["fold"] for one in TrialFolder(folder).last_metrics()["runs"]] == [0, 1]
    assert Policy.load(folder / "policy").facts["fold"] == 1
    assert found.gate.plain is not None
    assert found.gate.plain.years == pytest.approx(2 * found.validation[0]["years"])


@pytest.mark.long
@pytest.mark.ray
def test_a_promotion_that_is_killed_continues_from_its_checkpoint(cluster, tmp_path):
    file = tiny_file(tmp_path, points=[], n_trials=1, min_round_trips=0)
    spec = load_study(file, [MLP, "trial.ppo.env_steps=4096", "trial.ppo.n_env_runners=1"])
    run = run_study(spec, tmp_path / "runs", say=lambda line: None)
    command = [sys.executable, "-m", "ftray", "promote", str(run.path), "--seeds", "3", "--force"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    first, second = (TrialFolder(run.path / "promoted" / "trial-0000" / f"seed-{seed}") for seed in (1, 2))
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while second.checkpoint is None and started.poll() is None:
            time.sleep(0.05)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert started.returncode == -signal.SIGKILL and reads_of(run.events()) == []
    before, reported = first.events(), len(second.reports())

    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and ".cc:" not in again.stderr, again.stderr  # Ray's own lines are in Ray's logs
    assert first.events() == before  # its end was reached before the kill
    iterations = [row["iteration"] for row in second.reports()]
    repeated = [i for i, (a, b) in enumerate(itertools.pairwise(iterations)) if b <= a]
    assert len(repeated) <= 1 and iterations[-1] == max(iterations) and len(iterations) > reported
    assert all(iterations[i + 1] != 1 for i in repeated), "it began anew instead of going on"
    (read_once,) = reads_of(run.events())
    assert len(read_once.measures) == 3
