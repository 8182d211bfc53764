"""How far a study has come, what it has cost, and where, by its events."""

import datetime

import pytest

import ftray
from ftray.boards.live import (
    MAX_POINTS,
    CachedStudy,
    describe_state,
    describe_status,
    leaderboard_page,
    places_of_curves,
    plot_trial_curves,
    shown_trials,
    trial_curves_data,
)
from ftray.boards.status import QUIET, machines_data, status_data
from ftray.errors import NoResultError, QueryError
from ftray.runs import RunFolder

from .made import end, made_study, report

SHARPE = "validation/sharpe"


def test_a_study_at_a_glance(tmp_path):
    run = made_study(tmp_path / "study", 22, 2)
    study = ftray.open_study(run.path)
    start = datetime.datetime.fromisoformat(next(e["at"] for e in run.events() if e["event"] == "study_started"))
    status = status_data(study, start + datetime.timedelta(seconds=210))
    assert status.states == {"RUNNING": 1, "COMPLETE": 20, "FAILED": 1}
    assert (status.n_ended, status.n_trials) == (21, 22)
    assert status.left == pytest.approx(10)  # 21 in 210 s
    assert status.cpu_seconds == 22 * 120 and status.gpu_seconds == 22 * 60
    assert describe_state(status)[0] == "running" and ("trials ended", "21 of 22") in describe_status(status)
    assert status.heard_at is not None


def test_a_study_whose_driver_is_gone_is_called_silent(tmp_path):
    run = made_study(tmp_path / "study", 2, 2)
    study = ftray.open_study(run.path)
    heard = status_data(study).heard_at
    assert heard is not None
    late = status_data(study, heard + QUIET + datetime.timedelta(seconds=1))
    assert describe_state(late)[0] == "silent" and late.left is None
    assert describe_state(status_data(study, heard + QUIET))[0] == "running"
    end(run, "trial-0001", "INTERRUPTED")
    assert describe_state(status_data(study))[0] == "not running"
    run.append_event("study_stopped", why="it has spent 3 GPU hours", n_ended=1)
    assert describe_state(status_data(study)) == ("stopped", "it has spent 3 GPU hours")
    run.mark_done()
    assert describe_state(status_data(study))[0] == "done"


def test_a_study_that_only_pretrains_so_far_runs(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    run.add_trial("encoder-1", None, "pretraining", {}, {})
    run.trial_started("encoder-1")
    run.trial_folder("encoder-1").report({"epoch": 1, "validation_loss": 0.5})
    assert describe_state(status_data(ftray.open_study(run.path)))[0] == "running"


def test_no_two_threads_read_the_events_at_once(tmp_path, monkeypatch):
    cached = CachedStudy(ftray.open_study(made_study(tmp_path / "study", 3, 1).path))
    records, alone = cached.study.run.records, []
    monkeypatch.setattr(cached.study.run, "records", lambda: alone.append(cached._lock.locked()) or records())
    assert cached.n_ended() == (3, 2) and cached.stamp()
    cached.ask("rows", 1, leaderboard_page)
    assert len(alone) >= 3 and all(alone)


def test_machines_have_their_trials_their_cost_and_their_gpus_memory(tmp_path):
    run = made_study(tmp_path / "study", 7, 2)
    rows = machines_data(ftray.open_study(run.path))
    assert [(row["host"], row["running"], row["ended"]) for row in rows] == [
        ("host-0", 1, 2),
        ("host-1", 0, 2),
        ("host-2", 0, 2),
    ]
    assert rows[0]["gpu_hours"] == pytest.approx(3 * 60 / 3600)
    assert (rows[0]["vram_planned_gib"], rows[0]["vram_used_gib"]) == (1.8, 1.5)


def test_a_study_without_trials_has_a_status(tmp_path):
    study = ftray.open_study(RunFolder.create(tmp_path / "new", {"name": "new"}).path)
    status = status_data(study)
    assert (status.states, status.n_ended, status.n_trials, status.left) == ({}, 0, None, None)
    assert machines_data(study) == []


def test_long_curves_are_thinned_and_keep_their_last_point(tmp_path):
    run = made_study(tmp_path / "study", 2, MAX_POINTS * 2 + 2)
    study = ftray.open_study(run.path)
    assert shown_trials(study) == ["trial-0001", "trial-0000"]  # the one that runs, then the best
    curve = trial_curves_data(study, SHARPE, ["trial-0000", "trial-0001"])["trial-0000"]
    whole = study.curve("trial-0000", SHARPE)
    assert len(curve) <= MAX_POINTS and curve.iloc[-1].equals(whole.iloc[-1])
    assert trial_curves_data(study, "reward", ["trial-0000"]) == {}
    with pytest.raises(QueryError, match="no 'rewards'; did you mean 'reward'"):
        trial_curves_data(study, "rewards", ["trial-0000"])


def test_a_slow_question_is_put_off_but_never_forgotten(tmp_path):
    run = made_study(tmp_path / "study", 2, 1)
    seconds = [0.0]
    cached = CachedStudy(ftray.open_study(run.path), clock=lambda: seconds[0])
    asked = []

    def slow(study):
        asked.append(len(study.run.trial_folder("trial-0001").reports()))
        seconds[0] += 3.0
        return asked[-1]

    first = cached.stamp()
    assert cached.ask("slow", first, slow) == cached.ask("slow", first, slow) == 1
    report(run, "trial-0001", 2, 0.0)
    second = cached.stamp()
    assert second != first and cached.ask("slow", second, slow) == 1  # 30 seconds have not passed
    third = cached.stamp()
    assert third != second  # so that the page asks again
    seconds[0] = 33.0
    assert cached.ask("slow", third, slow) == 2 and asked == [1, 2]
    assert cached.stamp() == third


def test_the_pre_training_that_runs_alone_is_named(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    run.append_event("study_started", n_trials=2)
    run.add_trial("pretraining-0000", None, "pretraining", {}, {})
    run.trial_started("pretraining-0000")
    status = status_data(ftray.open_study(run.path))
    assert status.pretrains == ("pretraining-0000",)
    state, more = describe_state(status)
    assert state == "running" and "pretraining-0000: pre-training" in more
    run.add_trial("trial-0000", 0, "trial", {}, {})
    run.trial_started("trial-0000")
    assert status_data(ftray.open_study(run.path)).pretrains == ()


def test_a_curve_keeps_its_place_when_other_trials_are_chosen():
    assert places_of_curves(["a", "b"], ["b"]) == ["a", "b"]
    assert places_of_curves(["a", "b"], ["c"]) == ["a", "b", "c"]
    assert places_of_curves(list("abcdefg"), ["x", "g"]) == [*"abcdex", "g"]


def test_without_a_report_there_is_a_reason_and_no_empty_chart():
    with pytest.raises(NoResultError, match="no trial has reported 'reward'"):
        plot_trial_curves({}, "reward")
