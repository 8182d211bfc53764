"""A study: every trial ends once, the failure of one harms no other, weights come from the study's own job."""

import json
import shutil
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
from ftray.runs import RunFolder
from ftray.study import load_study, parse_study
from ftray.study.run import run_study
from ftray.study.spec import open_run

from .by_hand import assert_stores_agree
from .played import play, study_of
from .tiny import TINY, tiny_file

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture
def study_file(tmp_path) -> Path:
    return tiny_file(tmp_path)


@pytest.fixture
def run(finished) -> RunFolder:
    return finished.run


@pytest.fixture
def copied(finished, tmp_path) -> RunFolder:
    """A copy of the finished study, to be changed."""
    return RunFolder.open(shutil.copytree(finished.run.path, tmp_path / "runs" / "tiny"))


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


def test_a_line_reports_every_change_of_state(run, finished):
    for id, record in records(run).items():
        own = [line for line in finished.lines if f" {id} " in line]
        assert any("started" in line for line in own)
        assert any(record.state in line for line in own)


def test_the_same_command_does_nothing_to_a_finished_study_and_a_larger_budget_continues_it(copied, finished):
    before, root = (copied.path / "events.jsonl").read_bytes(), copied.path.parent
    again = run_study(load_study(finished.file), root, say=lambda line: None)
    assert again.path == copied.path and (again.path / "events.jsonl").read_bytes() == before

    larger = load_study(finished.file, ["search.n_trials=5"])
    more = records(run_study(larger, root, say=lambda line: None, trial_fn=play))
    assert len([r for r in more.values() if r.kind == "trial"]) == 5
    assert more["trial-0004"].state in ("COMPLETE", "PRUNED", "FAILED")
    for name in ("trial-0000", "trial-0002"):
        assert more[name].ended_at == records(finished.run)[name].ended_at
    assert len({json.dumps(dict(r.values), sort_keys=True) for r in more.values() if r.kind == "trial"}) == 5


def test_a_second_driver_is_refused_with_the_reason(copied, finished):
    spec = load_study(finished.file, ["search.n_trials=9"])
    with copied.driven(), pytest.raises(RunFolderError, match="is being run by another process"):
        run_study(spec, copied.path.parent, say=lambda line: None)


def test_another_study_under_the_same_name_is_refused_with_what_differs(copied, finished):
    other = load_study(finished.file, ["trial.trading.rules.fee=0.001"])
    with pytest.raises(RunFolderError, match=r"belongs to another study; it differs in trial\.trading\.rules"):
        run_study(other, copied.path.parent, say=lambda line: None)


def test_candles_that_changed_under_a_study_are_refused_and_not_mixed(study_file, tmp_path):
    candles = simulate(SimulatorSpec(n_assets=2, n_bars=1200))
    for i, symbol in enumerate(candles.symbols):
        frame = pd.DataFrame(candles.values[:, i], columns=list(COLUMNS))
        frame.insert(0, "date", candles.times)
        frame.to_parquet(tmp_path / f"{symbol}_USDT-1h.parquet")
    spec = load_study(study_file, [f"trial.market={{kind: files, path: {tmp_path}}}"])
    before = open_run(spec, tmp_path / "runs")
    frame.iloc[:-10].to_parquet(tmp_path / f"{symbol}_USDT-1h.parquet")
    with pytest.raises(RunFolderError, match="differs in candles"):
        run_study(spec, tmp_path / "runs", say=lambda line: None)
    assert before.events() == []


def test_a_request_that_can_never_be_placed_is_refused_before_anything_waits_for_it(study_file, tmp_path):
    spec = load_study(study_file, ["trial.ppo.n_env_runners=3", "search.n_trials=1"])
    with pytest.raises(SpecError, match=r"a trial of this study asks for 3 CPUs .* and the cluster has 2"):
        run_study(spec, tmp_path, say=lambda line: None)


def test_missing_candles_are_reported_before_anything_starts(study_file, tmp_path):
    spec = load_study(study_file, ["trial.market={kind: files, path: nowhere}"])
    with pytest.raises(DataError, match="nowhere"):
        run_study(spec, tmp_path, say=lambda line: None)


@pytest.mark.long
def test_a_search_for_pretraining_runs_only_that_and_its_scheduler_stops_the_worse_half(tmp_path):
    encoder = TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}
    pretraining = TINY["trial"]["pretraining"] | {"epochs": 4, "learning_rate": {"choice": [1e-6, 1e-3]}}
    rates = [{"trial/pretraining/learning_rate": rate} for rate in (1e-3, 1e-3, 1e-6, 1e-6)]
    spec = parse_study(
        {
            "name": "encoders",
            "trial": TINY["trial"] | {"encoder": encoder, "pretraining": pretraining, "ppo": {}},
            "search": {
                "job": "pretraining",
                "n_trials": 4,
                "max_concurrent": 1,
                "scheduler": {"kind": "asha", "grace": 2, "reduction": 2},
                "points": rates,
            },
        }
    )
    lines: list[str] = []
    run = run_study(spec, tmp_path, say=lines.append)
    assert any("started: pre-training ft" in line and ", learning_rate 1e-06" in line for line in lines)
    good, again, *bad = run.records()
    assert {record.kind for record in run.records()} == {"pretraining"}
    assert good.state == again.state == "COMPLETE"
    assert good.metrics["validation_loss"] == again.metrics["validation_loss"]  # the same job, done once
    assert [record.state for record in bad] == ["PRUNED", "PRUNED"]
    assert all(0 < record.metrics["epoch"] < 4 for record in bad)
    assert run.is_done


@pytest.mark.long
def test_a_scheduler_stops_a_trial_and_never_the_pretraining_behind_it(tmp_path):
    encoder = TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}
    scheduler = {"kind": "asha", "grace": 64, "reduction": 2}
    plays = ["ends well", "is bad", "is bad"]
    spec = study_of("stopped", plays, {"encoder": encoder}, scheduler=scheduler, max_concurrent=1)
    run = run_study(spec, tmp_path, say=lambda line: None, trial_fn=play)
    jobs, trials = ([r for r in run.records() if r.kind == kind] for kind in ("pretraining", "trial"))
    assert [job.state for job in jobs] == ["COMPLETE"]
    assert [trial.state for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert_stores_agree(spec, run)
