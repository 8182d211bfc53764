"""How far a study is, what it has cost, and where: told from its events alone."""

import datetime

import pytest

import ftray
from ftray.boards.live import (
    MOST_POINTS,
    Looking,
    leaderboard_page,
    shown_trials,
    standing_told,
    state_told,
    trial_curves_data,
)
from ftray.boards.standing import QUIET, machines_data, standing_data
from ftray.errors import QueryError
from ftray.runs import RunFolder

from .made import end, made_study, report

SHARPE = "validation/sharpe"


def test_a_study_at_a_glance(tmp_path):
    run = made_study(tmp_path / "study", 22, 2)
    study = ftray.open_study(run.path)
    start = datetime.datetime.fromisoformat(next(e["at"] for e in run.events() if e["event"] == "study_started"))
    standing = standing_data(study, start + datetime.timedelta(seconds=210))
    assert standing.states == {"RUNNING": 1, "COMPLETE": 20, "FAILED": 1}
    assert (standing.n_ended, standing.n_trials) == (21, 22)
    assert standing.left == pytest.approx(10)  # 21 in 210 s
    assert standing.cpu_seconds == 22 * 120 and standing.gpu_seconds == 22 * 60
    assert state_told(standing)[0] == "running" and ("trials ended", "21 of 22") in standing_told(standing)
    assert standing.heard_at is not None


def test_a_study_whose_driver_is_gone_is_called_silent(tmp_path):
    run = made_study(tmp_path / "study", 2, 2)
    study = ftray.open_study(run.path)
    heard = standing_data(study).heard_at
    assert heard is not None
    late = standing_data(study, heard + QUIET + datetime.timedelta(seconds=1))
    assert state_told(late)[0] == "silent" and late.left is None
    assert state_told(standing_data(study, heard + QUIET))[0] == "running"
    end(run, "trial-0001", "INTERRUPTED")
    assert state_told(standing_data(study))[0] == "not running"
    run.append_event("study_stopped", why="it has spent 3 GPU hours", n_ended=1)
    assert state_told(standing_data(study)) == ("stopped", "it has spent 3 GPU hours")
    run.mark_done()
    assert state_told(standing_data(study))[0] == "done"


def test_a_study_that_only_pretrains_so_far_runs(tmp_path):
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    run.add_trial("encoder-1", None, "pretraining", {}, {})
    run.trial_started("encoder-1")
    run.trial_folder("encoder-1").report({"epoch": 1, "validation_loss": 0.5})
    assert state_told(standing_data(ftray.open_study(run.path)))[0] == "running"


def test_no_two_threads_read_the_events_at_once(tmp_path, monkeypatch):
    looking = Looking(ftray.open_study(made_study(tmp_path / "study", 3, 1).path))
    records, alone = looking.study.run.records, []
    monkeypatch.setattr(looking.study.run, "records", lambda: alone.append(looking._lock.locked()) or records())
    assert looking.n_ended() == (3, 2) and looking.stamp()
    looking.ask("rows", 1, leaderboard_page)
    assert len(alone) >= 3 and all(alone)


def test_machines_with_what_they_did_and_their_gpus_memory(tmp_path):
    run = made_study(tmp_path / "study", 7, 2)
    rows = machines_data(ftray.open_study(run.path))
    assert [(row["host"], row["running"], row["ended"]) for row in rows] == [
        ("host-0", 1, 2),
        ("host-1", 0, 2),
        ("host-2", 0, 2),
    ]
    assert rows[0]["gpu_hours"] == pytest.approx(3 * 60 / 3600)
    assert (rows[0]["vram_planned_gib"], rows[0]["vram_used_gib"]) == (1.8, 1.5)


def test_a_study_without_trials_has_a_standing(tmp_path):
    study = ftray.open_study(RunFolder.create(tmp_path / "new", {"name": "new"}).path)
    standing = standing_data(study)
    assert (standing.states, standing.n_ended, standing.n_trials, standing.left) == ({}, 0, None, None)
    assert machines_data(study) == []


def test_long_curves_are_thinned_and_keep_their_last_point(tmp_path):
    run = made_study(tmp_path / "study", 2, MOST_POINTS * 2 + 2)
    study = ftray.open_study(run.path)
    assert shown_trials(study) == ["trial-0001", "trial-0000"]  # the one that runs, then the best
    curve = trial_curves_data(study, SHARPE, ["trial-0000", "trial-0001"])["trial-0000"]
    whole = study.curve("trial-0000", SHARPE)
    assert len(curve) <= MOST_POINTS and curve.iloc[-1].equals(whole.iloc[-1])
    with pytest.raises(QueryError, match="no 'sharp'"):
        trial_curves_data(study, "sharp", ["trial-0000"])


def test_what_took_long_is_put_off_but_never_forgotten(tmp_path):
    run = made_study(tmp_path / "study", 2, 1)
    seconds = [0.0]
    looking = Looking(ftray.open_study(run.path), clock=lambda: seconds[0])
    asked = []

    def slow(study):
        asked.append(len(study.run.trial_folder("trial-0001").reports()))
        seconds[0] += 3.0
        return asked[-1]

    first = looking.stamp()
    assert looking.ask("slow", first, slow) == looking.ask("slow", first, slow) == 1
    report(run, "trial-0001", 2, 0.0)
    second = looking.stamp()
    assert second != first and looking.ask("slow", second, slow) == 1  # 30 seconds have not passed
    third = looking.stamp()
    assert third != second  # so that the page asks again
    seconds[0] = 33.0
    assert looking.ask("slow", third, slow) == 2 and asked == [1, 2]
    assert looking.stamp() == third
