"""A promotion trains on seeds that the study never saw, and is the only look at the test window."""

import ast
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ftray
from ftray.analysis.test_window import reads_of
from ftray.cli import main
from ftray.errors import NoResultError, RefusedError, RunFolderError, SpecError
from ftray.nets import Policy
from ftray.runs import RunFolder, TrialFolder
from ftray.spec import parse, to_mapping
from ftray.study import load_study, parse_study, promote
from ftray.study.promote import chosen, describe_promotion, effective_number, fresh_seeds
from ftray.study.run import run_study
from ftray.trading import backtest
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.judge import judge

from .tiny import TINY, tiny_file

MLP = "trial.encoder={kind: mlp, hidden: 64, encoding_dim: 64}"
MAY_KNOW_THE_TEST_WINDOW = {
    "features/dataset.py",  # builds and keeps it
    "market/folds.py",  # splits it off
    "market/windows.py",
    "pretraining/store.py",  # asks whether weights were trained on its bars
    "study/draft_text.py",  # names its dates
    "study/fitting.py",  # counts its bars
    "study/promote.py",  # reads it
    "trial/judge.py",  # refuses it by name
    "trial/run.py",
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


def test_fresh_seeds_follow_every_seed_of_the_study(tmp_path):
    run = by_hand(tmp_path / "run", [("COMPLETE", 1.0, 0.1)], seed=4, seeds=3)
    assert fresh_seeds(run.records(), 3) == (7, 8, 9)


def test_a_promotion_needs_a_seed_and_the_candles_of_the_study(tmp_path):
    with pytest.raises(SpecError, match="at least 1 fresh seed, got 0"):
        promote.promote(tmp_path, n_seeds=0)
    run = RunFolder.create(tmp_path / "run", {"name": "run", "candles": "0123456789abcdef"})
    run.add_trial("trial-0000", 0, "trial", {}, to_mapping(TrialSpec()))
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {"validation/sharpe": 1.0})
    with pytest.raises(RunFolderError, match="was searched on candles 0123456789abcdef, and its market has"):
        promote.promote(run.path)


@pytest.fixture(scope="module")
def study_run(cluster, tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("promotions")
    file = tiny_file(folder, points=[], n_trials=3, max_concurrent=1)
    return run_study(load_study(file, [MLP, "trial.seeds=2"]), folder / "runs", say=lambda line: None)


@pytest.fixture
def run(study_run, tmp_path) -> RunFolder:
    """A copy of the study, as it was before any promotion."""
    return RunFolder.open(shutil.copytree(study_run.path, tmp_path / "tiny"))


@pytest.mark.ray
def test_what_luck_explains_is_refused_with_the_measures_and_unread(run):
    def read(*_):
        raise AssertionError("it was read")

    with pytest.raises(RefusedError) as raised:
        promote.promote(run.path, n_seeds=2, say=lambda line: None, read=read)
    text = str(raised.value)
    assert "the test window was not read" in text and "to expect of 3 trials" in text and "luck line" in text
    assert "deflated Sharpe ratio" in text and "validation Sharpe ratios of the 2 fresh seeds" in text
    assert reads_of(run.events()) == [] and run.events()[-1]["event"] == "promotion_refused"


@pytest.mark.ray
def test_a_forced_read_is_recorded_shown_and_counted_and_a_second_one_refused(run, capsys):
    best = chosen(run, None)
    found = promote.promote(run.path, n_seeds=2, force=True, say=lambda line: None)
    assert found.trial == best.id and found.seeds == (2, 3)  # the study trained with 0 and 1
    spec = parse(TrialSpec, best.spec)
    _, dataset = prepare_dataset(spec, run.path)
    for seed, test, validation in zip(found.seeds, found.test, found.validation, strict=True):
        policy = Policy.load(run.path / "promoted" / best.id / f"seed-{seed}" / "policy")
        assert policy.facts["seed"] == seed

        def act(bars, account, policy=policy):
            return policy(dataset.table.observation(bars, account))

        assert test == backtest(act, dataset, dataset.windows.test, spec.trading.rules).performance()
        own = backtest(act, dataset, dataset.windows.validation, spec.trading.rules).performance()
        assert validation["sharpe"] == pytest.approx(own["sharpe"], rel=1e-4, abs=1e-6)
    assert len(found.forced) == 1 and f"luck line {found.luck.luck_line:.2f}" in found.forced[0]
    (read,) = reads_of(run.events())
    assert read.trial == best.id and read.forced == found.forced and read.measures[0] == found.test[0]
    table = "\n".join(describe_promotion(found))
    assert all(name in table for name in ("mean ± standard error", "equal_weight", "hold_AAVE", "forced, despite"))

    again = (run.path / "promoted" / best.id / "seed-2" / "events.jsonl").read_bytes()
    with pytest.raises(RefusedError, match=r"(?s)read once:.*mean Sharpe.*--force reads it again"):
        promote.promote(run.path, n_seeds=2, say=lambda line: None)
    assert main(["promote", str(run.path), "--seeds", "2", "--force"]) == 0
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
    assert main(["promote", str(run.path), "--seeds", "1", "--force"]) == 1
    shown = capsys.readouterr().out
    assert "test Sharpe" not in shown and "equal_weight" not in shown


@pytest.mark.ray
def test_trials_that_trade_alike_count_as_one(run):
    trials = run.records()
    assert 1.0 <= effective_number(run, trials) <= len(trials)
    assert effective_number(run, trials[:1]) == 1.0
    for trial in trials[1:]:
        shutil.rmtree(run.trial_folder(trial.id).folder / "policy")
        shutil.copytree(run.trial_folder(trials[0].id).folder / "policy", run.trial_folder(trial.id).folder / "policy")
    assert effective_number(run, trials) == pytest.approx(1.0)


@pytest.mark.ray
@pytest.mark.long
def test_of_several_folds_the_policy_of_the_last_one_reads_the_test_window(cluster, tmp_path):
    tree = {"encoder": {"kind": "mlp", "hidden": 64, "encoding_dim": 64}}
    tree["windows"] = {"kind": "walk_forward", "n_folds": 2, "holding": 6}
    spec = parse_study({"name": "folds", "trial": TINY["trial"] | tree, "search": {"n_trials": 1}})
    run = run_study(spec, tmp_path, say=lambda line: None)
    found = promote.promote(run.path, n_seeds=1, force=True, say=lambda line: None)
    folder = run.path / "promoted" / "trial-0000" / "seed-1"
    assert [one["fold"] for one in TrialFolder(folder).last_metrics()["runs"]] == [0, 1]
    assert Policy.load(folder / "policy").facts["fold"] == 1
    assert found.luck.years == pytest.approx(2 * found.validation[0]["years"])


@pytest.mark.long
@pytest.mark.ray
def test_a_promotion_that_is_killed_continues_from_its_checkpoint(cluster, tmp_path):
    file = tiny_file(tmp_path, points=[], n_trials=1)
    spec = load_study(file, [MLP, "trial.ppo.env_steps=4096"])
    run = run_study(spec, tmp_path / "runs", say=lambda line: None)
    command = [sys.executable, "-m", "ftray", "promote", str(run.path), "--seeds", "2", "--force"]
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

    found = promote.promote(run.path, n_seeds=2, force=True, say=lambda line: None)
    assert first.events() == before  # its end was reached before the kill
    iterations = [row["iteration"] for row in second.reports()]
    repeated = [i for i, (a, b) in enumerate(itertools.pairwise(iterations)) if b <= a]
    assert len(repeated) <= 1 and iterations[-1] == max(iterations) and len(iterations) > reported
    assert all(iterations[i + 1] != 1 for i in repeated), "it began anew instead of going on"
    assert len(reads_of(run.events())) == 1 and len(found.test) == 2
