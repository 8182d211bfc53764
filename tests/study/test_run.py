"""A study: every trial ends once, the failure of one harms no other, weights come from the study's own job."""

import itertools
import json
import os
import signal
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ftray.analysis.studies import open_study
from ftray.errors import DataError, RunFolderError, SpecError
from ftray.market import COLUMNS, SimulatorSpec, simulate
from ftray.nets import read_checkpoint
from ftray.runs import RunFolder, TrialFolder
from ftray.study import load_study, parse_study
from ftray.study.run import run_study

from .tiny import TINY, tiny_file

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def study_file(tmp_path_factory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(cluster, study_file, lines) -> RunFolder:
    return run_study(load_study(study_file), study_file.parent / "runs", say=lines.append)


def records(run):
    return {record.id: record for record in run.records()}


def test_every_trial_ends_in_the_state_it_deserves_and_the_failure_of_one_harms_no_other(run):
    states = {id: record.state for id, record in records(run).items() if record.kind == "trial"}
    assert states == {
        "trial-0000": "COMPLETE",
        "trial-0001": "FAILED",
        "trial-0002": "COMPLETE",
        "trial-0003": "COMPLETE",
    }
    assert "no such checkpoint" in records(run)["trial-0001"].error
    for record in run.records():
        folder = run.trial_folder(record.id).folder
        assert (folder / "trial.json").is_file() and (folder / "events.jsonl").is_file()
        assert (run.trial_folder(record.id).checkpoint is not None) == (
            record.kind == "trial" and record.state == "COMPLETE"
        )
    assert "no such checkpoint" in (run.trial_folder("trial-0001").folder / "error.txt").read_text()


def test_one_pretraining_job_serves_all_trials_of_its_shape_and_ends_before_they_start(run):
    jobs = [record for record in run.records() if record.kind == "pretraining"]
    assert len(jobs) == 1 and jobs[0].state == "COMPLETE"
    (folder,) = run.encoders_folder.iterdir()
    assert {"best_encoder.pth", "final_encoder.pth", "config.json", "training_history.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert read_checkpoint(folder / "best_encoder.pth")["encoder_state_dict"]
    for name in ("trial-0000", "trial-0003"):
        assert (folder / "DONE").stat().st_mtime <= records(run)[name].started_at.timestamp()


def test_optunas_storage_agrees_with_the_run_folder(run):
    storage = JournalStorage(JournalFileBackend(str(run.path / "optuna.journal")))
    stored = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.state for trial in stored] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    for trial in stored:
        record = records(run)[f"trial-{trial.number:04d}"]
        assert trial.params == record.values
        if trial.state == TrialState.COMPLETE:
            assert trial.value == record.metrics["validation/sharpe"]
            assert len(trial.intermediate_values) == 2


def test_the_folder_holds_the_resolved_study_a_table_and_the_end_mark(run):
    assert run.is_done and (run.path / "tables" / "manifest.json").is_file()
    assert len(open_study(run.path).trials) == 5
    assert json.loads((run.path / "study.json").read_text())["study"]["trial"]["encoder"]["choice"]
    assert records(run)["trial-0000"].spec["trading"]["rules"]["fee"] == 0.0025  # resolved, with defaults
    assert {"equal_weight", "hold_AAVE", "hold_AVAX"} <= set(run.benchmarks())


def test_every_change_of_state_prints_a_line(run, lines):
    for id, record in records(run).items():
        told = [line for line in lines if f" {id} " in line]
        assert any("started" in line for line in told)
        assert any(record.state in line for line in told)


def test_the_same_command_does_nothing_to_a_finished_study_and_a_larger_budget_continues_it(run, study_file):
    before = (run.path / "events.jsonl").read_bytes()
    again = run_study(load_study(study_file), run.path.parent, say=lambda line: None)
    assert (again.path / "events.jsonl").read_bytes() == before

    larger = load_study(study_file, ["search.n_trials=5"])
    more = run_study(larger, run.path.parent, say=lambda line: None)
    finished = records(more)
    assert len([r for r in finished.values() if r.kind == "trial"]) == 5
    assert finished["trial-0004"].state in ("COMPLETE", "FAILED")
    for name in ("trial-0000", "trial-0002"):
        assert finished[name].ended_at == records(run)[name].ended_at
    assert len({json.dumps(dict(r.values), sort_keys=True) for r in finished.values() if r.kind == "trial"}) == 5


def test_a_trial_whose_process_is_killed_is_retried_from_its_checkpoint(study_file, tmp_path):
    study = load_study(
        study_file,
        ["search.points=[{trial/encoder/kind: mlp}]", "search.n_trials=1", "trial.ppo.env_steps=1024"],
    )
    killed = []

    def kill_once(line: str) -> None:
        if "steps" in line and not killed:
            (started,) = (e for e in folder().events() if e["event"] == "started")
            killed.append(started["pid"])
            os.kill(started["pid"], signal.SIGKILL)

    def folder() -> TrialFolder:
        return RunFolder.open(tmp_path / "tiny").trial_folder("trial-0000")

    run = run_study(study, tmp_path, say=kill_once)
    (trial,) = run.records()
    assert killed and trial.state == "COMPLETE" and trial.metrics["env_steps"] >= 1024
    first, second = (e for e in folder().events() if e["event"] == "started")
    assert second["pid"] != first["pid"] == killed[0]
    iterations = [row["iteration"] for row in folder().reports()]
    repeated = [i for i, (a, b) in enumerate(itertools.pairwise(iterations)) if b <= a]
    assert len(repeated) <= 1 and iterations[-1] == max(iterations)
    after = iterations[repeated[0] + 1] if repeated else None
    assert after != 1, "it began anew instead of going on"


def test_a_second_driver_is_refused_in_words(run, study_file):
    study = load_study(study_file, ["search.n_trials=9"])
    with run.driven(), pytest.raises(RunFolderError, match="is being run by another process"):
        run_study(study, run.path.parent, say=lambda line: None)


def test_another_study_under_the_same_name_is_refused_with_what_differs(run, study_file):
    other = load_study(study_file, ["trial.trading.rules.fee=0.001"])
    with pytest.raises(RunFolderError, match=r"belongs to another study; it differs in trial\.trading\.rules"):
        run_study(other, run.path.parent, say=lambda line: None)


def test_candles_that_changed_under_a_study_are_refused_and_not_mixed(study_file, tmp_path):
    candles = simulate(SimulatorSpec(n_assets=2, n_bars=1200))
    for i, symbol in enumerate(candles.symbols):
        frame = pd.DataFrame(candles.values[:, i], columns=list(COLUMNS))
        frame.insert(0, "date", candles.times)
        frame.to_parquet(tmp_path / f"{symbol}_USDT-1h.parquet")
    market = f"trial.market={{kind: files, path: {tmp_path}}}"
    study = load_study(study_file, [market, "search.points=[{trial/encoder/kind: mlp}]", "search.n_trials=1"])
    before = run_study(study, tmp_path / "runs", say=lambda line: None)
    frame.iloc[:-10].to_parquet(tmp_path / f"{symbol}_USDT-1h.parquet")
    events = (before.path / "events.jsonl").read_bytes()
    larger = load_study(study_file, [market, "search.points=[{trial/encoder/kind: mlp}]", "search.n_trials=2"])
    with pytest.raises(RunFolderError, match="differs in candles"):
        run_study(larger, tmp_path / "runs", say=lambda line: None)
    assert (before.path / "events.jsonl").read_bytes() == events


def test_a_request_that_can_never_be_placed_is_refused_before_anything_waits_for_it(study_file, tmp_path):
    study = load_study(study_file, ["trial.ppo.n_env_runners=3", "search.n_trials=1"])
    with pytest.raises(SpecError, match=r"a trial of this study asks for 3 CPUs .* and the cluster has 2"):
        run_study(study, tmp_path, say=lambda line: None)


def test_missing_candles_are_an_error_before_anything_starts(study_file, tmp_path):
    study = load_study(study_file, ["trial.market={kind: files, path: nowhere}"])
    with pytest.raises(DataError, match="nowhere"):
        run_study(study, tmp_path, say=lambda line: None)


def test_a_search_for_pretraining_runs_only_that_and_its_scheduler_stops_the_worse_half(tmp_path):
    encoder = TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}
    pretraining = TINY["trial"]["pretraining"] | {"epochs": 9, "learning_rate": {"choice": [1e-6, 1e-3]}}
    rates = [{"trial/pretraining/learning_rate": rate} for rate in (1e-3, 1e-3, 1e-6, 1e-6)]
    study = parse_study(
        {
            "name": "encoders",
            "trial": TINY["trial"] | {"encoder": encoder, "pretraining": pretraining, "ppo": {}},
            "search": {
                "job": "pretraining",
                "n_trials": 4,
                "max_concurrent": 1,
                "scheduler": {"kind": "asha", "grace": 3, "reduction": 2},
                "points": rates,
            },
        }
    )
    run = run_study(study, tmp_path, say=lambda line: None)
    good, again, *bad = run.records()
    assert {record.kind for record in run.records()} == {"pretraining"}
    assert good.state == again.state == "COMPLETE"
    assert good.metrics["validation_loss"] == again.metrics["validation_loss"]  # the same job, done once
    assert [record.state for record in bad] == ["PRUNED", "PRUNED"]
    assert all(0 < record.metrics["epoch"] < 9 for record in bad)
    assert run.is_done


def test_a_scheduler_stops_a_trial_and_never_the_pretraining_behind_it(study_file, tmp_path):
    study = load_study(
        study_file,
        [
            "search.points=[]",
            "search.scheduler={kind: asha, grace: 1, reduction: 2}",
            "search.objective=loss/value",  # the Sharpe ratios of such short trials are often equal
            "search.direction=minimize",
            "trial.encoder={kind: ft, d_token: 32, n_blocks: 1, n_heads: 2, encoding_dim: 256, pretrained: auto}",
            "trial.ppo.env_steps=512",
            "search.n_trials=6",
        ],
    )
    run = run_study(study, tmp_path, say=lambda line: None)
    jobs, trials = ([r for r in run.records() if r.kind == kind] for kind in ("pretraining", "trial"))
    assert [job.state for job in jobs] == ["COMPLETE"]
    states = [trial.state for trial in trials]
    assert set(states) == {"COMPLETE", "PRUNED"} and len(states) == 6
    for trial in trials:
        assert (trial.metrics["env_steps"] >= 512) == (trial.state == "COMPLETE")
    storage = JournalStorage(JournalFileBackend(str(run.path / "optuna.journal")))
    stored = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.state.name for trial in stored] == states


def test_a_pretraining_job_that_fails_fails_its_waiters_with_its_error(study_file, tmp_path):
    study = load_study(
        study_file, ["trial.pretraining.learning_rate=0.1", "trial.pretraining.horizon=500", "search.n_trials=1"]
    )
    run = run_study(study, tmp_path, say=lambda line: None)
    trial, job = (next(r for r in run.records() if r.kind == kind) for kind in ("trial", "pretraining"))
    assert (trial.state, job.state) == ("FAILED", "FAILED")
    assert job.error in trial.error and job.id in trial.error
