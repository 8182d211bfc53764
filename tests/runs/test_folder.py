"""A run folder loses nothing: not to crashes, not to a killed driver, not to another study of the same name."""

import datetime
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ftray.errors import MetricError, QueryError, RunFolderError
from ftray.runs import STATES, RunFolder, TrialFolder

STUDY = {"name": "first", "trial": {"encoder": {"kind": "ft", "d_token": 64}}, "n_trials": 4}
SPEC = {"encoder": {"kind": "ft", "d_token": 32}, "ppo": {"learning_rate": 3e-4}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "first", STUDY)


def add(run: RunFolder, number: int = 1, **values) -> str:
    trial_id = f"trial-{number:04}"
    run.add_trial(trial_id, number, "trial", values or {"trial/encoder/d_token": 32}, SPEC)
    return trial_id


def states(run: RunFolder) -> dict[str, str]:
    return {trial.id: trial.state for trial in run.records()}


def test_a_study_is_opened_again_by_creating_it_again(run: RunFolder):
    add(run)
    again = RunFolder.create(run.path, dict(STUDY))
    assert again.study == STUDY
    assert again.fingerprint == run.fingerprint
    assert states(again) == {"trial-0001": "PENDING"}
    assert set(again.versions) >= {"python", "numpy"}


def test_another_study_of_the_same_name_is_refused_with_the_difference_and_a_way_out(run: RunFolder):
    changed = {**STUDY, "trial": {"encoder": {"kind": "ft", "d_token": 128}}}
    with pytest.raises(RunFolderError, match=r"trial\.encoder\.d_token: 64 → 128.*another name"):
        RunFolder.create(run.path, changed)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="another name"):
        RunFolder.create(tmp_path, STUDY)


def test_what_is_no_run_folder_or_damaged_or_from_the_future_is_said_to_be(run: RunFolder, tmp_path: Path):
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder.open(tmp_path / "elsewhere")
    file = run.path / "study.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(RunFolderError, match="format 1, got 99"):
        RunFolder.open(run.path)
    file.write_text('{"format": 1')
    with pytest.raises(RunFolderError, match="damaged"):
        RunFolder.open(run.path)


def test_a_trial_is_in_exactly_one_state_at_a_time(run: RunFolder):
    trial = add(run)
    assert states(run) == {trial: "PENDING"}
    run.trial_started(trial, gpu=0.5)
    assert states(run) == {trial: "RUNNING"}
    run.trial_ended(trial, "INTERRUPTED")
    assert states(run) == {trial: "INTERRUPTED"}
    run.trial_started(trial)
    run.trial_ended(trial, "COMPLETE", {"validation/sharpe": 1.5})
    (record,) = run.records()
    assert record.state == "COMPLETE"
    assert record.is_final
    assert record.metrics == {"validation/sharpe": 1.5}


def test_a_record_holds_all_about_a_trial(run: RunFolder):
    trial = add(run, 7, **{"trial/encoder/kind": "ft", "trial/ppo/learning_rate": 1e-4})
    run.trial_started(trial)
    run.trial_folder(trial).report({"env_steps": 1, "validation/sharpe": 0.5})
    run.trial_folder(trial).report({"env_steps": 2, "loss/value": 0.1})
    (record,) = RunFolder.open(run.path).records()
    assert (record.id, record.number, record.kind, record.state) == (trial, 7, "trial", "RUNNING")
    assert record.values == {"trial/encoder/kind": "ft", "trial/ppo/learning_rate": 1e-4}
    assert record.spec == SPEC
    assert record.metrics == {"env_steps": 2, "validation/sharpe": 0.5, "loss/value": 0.1}
    assert record.started_at is not None and record.started_at.tzinfo is not None
    assert record.ended_at is record.wall_seconds is None

    run.trial_ended(trial, "FAILED", error="Traceback ...\nValueError: too bad")
    record = run.record(trial)
    assert record.error is not None and record.error.endswith("too bad")
    assert record.metrics == {"env_steps": 2, "validation/sharpe": 0.5, "loss/value": 0.1}
    assert (run.trial_folder(trial).folder / "error.txt").read_text() == "Traceback ...\nValueError: too bad\n"
    assert record.ended_at is not None and record.started_at is not None
    assert record.wall_seconds == (record.ended_at - record.started_at) / datetime.timedelta(seconds=1) > 0


def test_wall_time_adds_up_over_interruptions(run: RunFolder):
    trial = add(run)
    times = [("trial_started", 0), ("trial_ended", 10), ("trial_started", 100), ("trial_ended", 105)]
    with (run.path / "events.jsonl").open("a") as file:
        for name, second in times:
            at = f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00"
            facts = {"state": "INTERRUPTED", "metrics": {}, "error": None} if name == "trial_ended" else {}
            file.write(json.dumps({"event": name, "at": at, "id": trial, **facts}) + "\n")
    assert run.record(trial).wall_seconds == 15


def test_final_states_are_final_and_an_end_recorded_twice_is_stored_once(run: RunFolder):
    trial = add(run)
    run.trial_ended(trial, "PRUNED", {"a": 1})
    run.trial_ended(trial, "PRUNED", {"a": 2})
    assert run.record(trial).metrics == {"a": 1}
    with pytest.raises(RunFolderError, match="PRUNED for good"):
        run.trial_ended(trial, "COMPLETE")
    with pytest.raises(RunFolderError, match="PRUNED for good"):
        run.trial_started(trial)
    for state in set(STATES) - {"COMPLETE", "PRUNED", "FAILED", "INTERRUPTED"}:
        with pytest.raises(RunFolderError, match="must end as one of"):
            run.trial_ended(trial, state)


def test_a_failed_trial_that_is_tried_again_has_no_error_any_more(run: RunFolder):
    trial = add(run)
    run.trial_ended(trial, "FAILED", error="out of memory")
    run.trial_started(trial)
    assert run.record(trial).error is None
    assert not (run.trial_folder(trial).folder / "error.txt").exists()


def test_ids_are_unique_known_and_stay_inside_the_folder(run: RunFolder):
    add(run)
    with pytest.raises(RunFolderError, match="already"):
        add(run)
    with pytest.raises(QueryError, match="did you mean 'trial-0001'"):
        run.trial_started("trial-001")
    with pytest.raises(RunFolderError, match="plain file name"):
        run.add_trial("../escape", 2, "trial", {}, {})


def test_every_added_trial_has_its_folder_whatever_happens_to_others(run: RunFolder):
    crashed, waiting = add(run, 1), add(run, 2)
    run.trial_ended(crashed, "FAILED", error="boom")
    described = json.loads((run.trial_folder(waiting).folder / "trial.json").read_text())
    assert described["spec"] == SPEC
    assert states(run) == {crashed: "FAILED", waiting: "PENDING"}


def test_a_torn_last_line_is_as_if_never_written_and_the_next_writer_cuts_it_off(run: RunFolder):
    trial = add(run)
    events = run.path / "events.jsonl"
    whole = events.read_bytes()
    events.write_bytes(whole + b'{"event": "trial_started", "id": "tri')
    assert states(RunFolder.open(run.path)) == {trial: "PENDING"}
    resumed = RunFolder.open(run.path)
    resumed.trial_started(trial)
    assert states(resumed) == {trial: "RUNNING"}
    assert events.read_bytes().startswith(whole + b'{"event": "trial_started", "at"')


def test_a_damaged_line_in_the_middle_is_never_skipped_in_silence(run: RunFolder):
    add(run)
    events = run.path / "events.jsonl"
    events.write_bytes(events.read_bytes() + b"not json\n" + b'{"event": "x", "at": "2026-01-01"}\n')
    with pytest.raises(RunFolderError, match="line 2 is damaged"):
        RunFolder.open(run.path).records()


def test_events_about_an_unknown_trial_are_an_error_that_says_why(run: RunFolder):
    run.append_event("trial_started", id="ghost")
    with pytest.raises(RunFolderError, match="ghost"):
        run.records()


def test_an_open_run_folder_sees_what_others_write(run: RunFolder):
    reader = RunFolder.open(run.path)
    assert reader.records() == []
    trial = add(run)
    assert states(reader) == {trial: "PENDING"}
    run.trial_started(trial)
    run.trial_folder(trial).report({"env_steps": 5})
    assert reader.record(trial).metrics == {"env_steps": 5}


def test_a_killed_trial_loses_no_report(run: RunFolder):
    """kill -9 right after a report: what was reported is there, and the trial can continue writing."""
    trial = add(run)
    script = """
        import os, signal, sys
        from ftray.runs import TrialFolder
        folder = TrialFolder(sys.argv[1])
        for step in range(100):
            folder.report({"env_steps": step})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    code = [sys.executable, "-c", textwrap.dedent(script), str(run.trial_folder(trial).folder)]
    assert subprocess.run(code, check=False, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    assert [report["env_steps"] for report in run.trial_folder(trial).reports()] == list(range(100))
    run.trial_folder(trial).report({"env_steps": 100})
    assert run.trial_folder(trial).last_metrics() == {"env_steps": 100}


def test_reports_do_not_wait_for_the_disk_but_changes_of_state_do(run: RunFolder, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    folder = run.add_trial("trial-0001", 1, "trial", {}, {})
    assert synced
    synced.clear()
    for step in range(50):
        folder.report({"env_steps": step})
    assert not synced
    run.trial_started("trial-0001")
    assert synced


def test_the_last_metrics_are_those_of_all_reports_each_as_it_was_reported_last(tmp_path: Path):
    folder = TrialFolder(tmp_path / "trial-0001")
    assert folder.last_metrics() == {}
    folder.report({"env_steps": 1, "validation/sharpe": 0.5})
    folder.started(note="again")
    folder.report({"env_steps": 2, "loss/value": 0.25})  # an iteration without a validation
    assert folder.last_metrics() == {"env_steps": 2, "validation/sharpe": 0.5, "loss/value": 0.25}


def test_a_trial_folder_travels_to_another_process(run: RunFolder):
    folder = run.trial_folder(add(run))
    folder.report({"env_steps": 1})
    pickle.loads(pickle.dumps(folder)).report({"env_steps": 2})
    assert [report["env_steps"] for report in folder.reports()] == [1, 2]


def test_metrics_of_numpy_and_numbers_that_are_not_finite_are_legal_json(run: RunFolder):
    folder = run.trial_folder(add(run))
    numpys = {"reward": np.float32(0.5), "env_steps": np.int64(3), "runs": np.arange(2)}
    folder.report(numpys | {"kl": float("nan"), "run_done": True})
    folder.started(where=Path("x"))
    assert folder.last_metrics() == {"reward": 0.5, "env_steps": 3, "runs": [0, 1], "kl": None, "run_done": True}
    assert folder.events()[-1]["where"] == "x"


def test_a_metric_that_is_not_in_the_table_cannot_be_reported(run: RunFolder):
    folder = run.trial_folder(add(run))
    with pytest.raises(MetricError, match=r"'validation/sharp' cannot be reported.*did you mean 'validation/sharpe'"):
        folder.report({"env_steps": 1, "validation/sharp": 0.5})
    assert folder.reports() == []


def test_a_checkpoint_is_the_last_complete_one(run: RunFolder):
    folder = run.trial_folder(add(run))
    assert folder.checkpoint is None
    for content in ("first", "second"):
        with folder.new_checkpoint(step=1) as path:
            (path / "weights").write_text(content)
    with pytest.raises(RuntimeError), folder.new_checkpoint() as path:
        (path / "weights").write_text("half")
        raise RuntimeError("killed")
    assert folder.checkpoint is not None
    assert (folder.checkpoint / "weights").read_text() == "second"
    assert [event["event"] for event in folder.events()] == ["checkpoint", "checkpoint"]
    assert sorted(path.name for path in folder.folder.iterdir()) == ["checkpoint", "events.jsonl", "trial.json"]


def test_a_crash_between_the_two_moves_of_a_checkpoint_leaves_the_old_one(run: RunFolder, monkeypatch):
    folder = run.trial_folder(add(run))
    with folder.new_checkpoint() as path:
        (path / "weights").write_text("old")
    (folder.folder / "checkpoint").rename(folder.folder / ".checkpoint-old")
    assert folder.checkpoint is not None
    assert (folder.checkpoint / "weights").read_text() == "old"
    with folder.new_checkpoint() as path:
        (path / "weights").write_text("new")
    assert (folder.checkpoint / "weights").read_text() == "new"


def test_done_means_done(run: RunFolder):
    trial = add(run)
    with pytest.raises(RunFolderError, match="pending or running"):
        run.mark_done()
    run.trial_ended(trial, "COMPLETE")
    run.mark_done()
    assert RunFolder.open(run.path).is_done
    add(run, 2)
    assert not run.is_done


def test_benchmarks_are_the_last_recorded(run: RunFolder):
    assert run.benchmarks() == {}
    run.record_benchmarks({"equal_weight": {"sharpe": 0.1}})
    run.record_benchmarks({"equal_weight": {"sharpe": 0.2}})
    assert RunFolder.open(run.path).benchmarks() == {"equal_weight": {"sharpe": 0.2}}
    assert [event["event"] for event in run.events()] == ["benchmarks", "benchmarks"]
