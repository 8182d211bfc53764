"""Out of memory in a study: the trial is retried from its checkpoint with a smaller memory plan, and all is recorded.

A process whose memory holds only so many samples is played: a real learner raises PyTorch's own error beyond them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ray import tune
from ray.tune.search import Searcher

from ftray.agent.module import FTPolicy
from ftray.errors import OutOfMemoryError
from ftray.runs import RunFolder, TrialFolder
from ftray.spec import parse, to_mapping
from ftray.study import StudySpec, parse_study
from ftray.study.jobs import placement, run_job
from ftray.study.run import run_study
from ftray.study.searcher import StudySearcher
from ftray.study.spec import open_run
from ftray.trial import TrialSpec
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.out_of_memory import memory_plan_of, step_down
from ftray.trial.run import run_trial
from ftray.trial.standalone import TRIAL_ID, train

from .by_hand import assert_tensorboard_agrees
from .tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

PPO = TINY["trial"]["ppo"] | {"env_steps": 512, "train_batch_size": 256, "minibatch_size": 128}
MLP, FT = TINY["trial"]["encoder"]["choice"][0], TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "none"}
ROOM = {"trial-0000": 40, "trial-0001": 0}
"""Samples at once that the memory of each trial's process holds."""


@contextlib.contextmanager
def room_for(samples: int, folder: TrialFolder) -> Iterator[None]:
    """A process that runs out of memory beyond so many samples at once, as soon as there is a checkpoint to lose."""
    forward = FTPolicy._forward_train

    def limited(module: FTPolicy, batch: dict[str, Any], **given: Any) -> dict[str, Any]:
        if len(batch["obs"]) > samples and folder.checkpoint is not None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(module, batch, **given)

    FTPolicy._forward_train = limited
    try:
        yield
    finally:
        FTPolicy._forward_train = forward


def job_with_little_memory(config: dict[str, Any]) -> None:
    """What Tune runs in each job's process, in place of `run_job`."""
    with room_for(ROOM[config["id"]], RunFolder.open(config["run"]).trial_folder(config["id"])):
        run_job(config)


@pytest.fixture
def little_memory(monkeypatch):
    job = tune.with_resources(job_with_little_memory, placement)
    monkeypatch.setattr("ftray.study.run.trainable", lambda trial_fn: job)


def study_of(n_trials: int) -> StudySpec:
    encoders = {"choice": [MLP, FT]}
    points = [{"trial/encoder/kind": "mlp"}, {"trial/encoder/kind": "ft"}][:n_trials]
    search = {"n_trials": n_trials, "max_concurrent": 1, "points": points}
    return parse_study({"name": "small", "trial": TINY["trial"] | {"encoder": encoders, "ppo": PPO}, "search": search})


def of(folder: TrialFolder, event: str) -> list[dict[str, Any]]:
    return [found for found in folder.events() if found["event"] == event]


def assert_went_on(folder: TrialFolder) -> None:
    """Every iteration once, in order: nothing was lost and nothing restarted."""
    rows = folder.reports()
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["env_steps"] for row in rows] == sorted({row["env_steps"] for row in rows})
    assert rows[-1]["env_steps"] >= 512 and rows[-1]["run_done"]


@pytest.mark.long
def test_a_trial_that_does_not_fit_is_retried_smaller_and_one_that_never_fits_fails_with_what_was_tried(
    little_memory, tmp_path
):
    lines: list[str] = []
    run = run_study(study_of(2), tmp_path, say=lines.append)
    fitted, never = run.records()
    assert (fitted.state, never.state) == ("COMPLETE", "FAILED")

    folder = run.trial_folder("trial-0000")
    first, second = of(folder, "out_of_memory")
    assert first["shape"] == to_mapping(FULL) and first["next"] == second["shape"] == to_mapping(MemoryPlan(2))
    assert second["next"] == to_mapping(MemoryPlan(4)) and memory_plan_of(folder) == MemoryPlan(4)
    assert first["process"] == "learner" and "Tried to allocate 2.00 GiB" in first["error"]
    assert {"predicted_gib", "observed_gib"} <= first.keys()
    assert len(of(folder, "started")) == 3
    assert_went_on(folder)
    assert any("trial-0000" in line and "out of memory, retried with 64 samples at once" in line for line in lines)

    started = [event["id"] for event in run.events() if event["event"] == "trial_started"]
    assert started == ["trial-0000"] * 3 + ["trial-0001"] * 4
    assert never.error.startswith("out of memory with every memory plan; tried: 128 samples at once (")
    assert "32 samples at once, blocks recomputed (" in never.error
    assert [event["next"] is None for event in of(run.trial_folder("trial-0001"), "out_of_memory")] == [False] * 3 + [
        True
    ]
    assert run.is_done


def test_a_degraded_retry_comes_before_all_others_and_is_waited_for(tmp_path):
    spec = study_of(2)
    run = open_run(spec, tmp_path)
    earlier = StudySearcher(spec, run)
    assert [earlier.suggest(name)["id"] for name in ("a", "b")] == ["trial-0000", "trial-0001"]

    searcher = StudySearcher(spec, run)  # of a second command: both are ready
    assert searcher.suggest("a")["id"] == "trial-0000"
    run.trial_started("trial-0000")
    trial, folder = spec.trial(spec.space.fill(run.record("trial-0000").values)), run.trial_folder("trial-0000")
    step_down(folder, trial, FULL, OutOfMemoryError("too much"))
    searcher.on_trial_complete("a")
    assert run.record("trial-0000").state == "INTERRUPTED"
    assert [searcher.suggest(name)["id"] for name in ("b", "c")] == ["trial-0000", "trial-0001"]
    assert searcher.suggest("d") is None  # either may come back
    for name, trial_id in (("b", "trial-0000"), ("c", "trial-0001")):
        run.trial_started(trial_id)
        run.trial_folder(trial_id).failed("something else")
        searcher.on_trial_complete(name)
    assert searcher.suggest("d") == Searcher.FINISHED
    assert [record.state for record in run.records()] == ["FAILED", "FAILED"]


@pytest.mark.long
def test_a_study_killed_right_after_it_continues_with_the_smaller_plan(little_memory, tmp_path):
    spec = study_of(1)
    run = open_run(spec, tmp_path)
    job = StudySearcher(spec, run).suggest("of an earlier process")
    run.trial_started(job["id"])
    folder, trial = run.trial_folder(job["id"]), parse(TrialSpec, job["spec"])
    folder.started(pid=0)
    with room_for(40, folder), pytest.raises(OutOfMemoryError) as raised:
        run_trial(trial, lambda row, checkpoint=None: folder.report(row), folder=folder.folder, shared=run.path)
    step_down(folder, trial, FULL, raised.value)  # and here all processes die, the driver's before it received it

    again = run_study(spec, tmp_path, say=lambda line: None)
    assert again.record("trial-0000").state == "COMPLETE"
    assert [MemoryPlan(**event["shape"]) for event in of(folder, "out_of_memory")] == [FULL, MemoryPlan(2)]
    assert_went_on(folder)


def test_a_trial_alone_is_retried_with_less_step_by_step(tmp_path, capsys):
    spec = parse_study(
        {"name": "alone", "trial": TINY["trial"] | {"encoder": MLP, "ppo": PPO | {"learning_rate": 1e-3}}}
    )
    run = open_run(spec, tmp_path)
    with room_for(40, TrialFolder(run.path / "trials" / TRIAL_ID)):
        train(spec.only_trial("train"), run)
    folder = run.trial_folder(TRIAL_ID)
    assert run.record(TRIAL_ID).state == "COMPLETE" and run.is_done
    assert memory_plan_of(folder) == MemoryPlan(4)
    assert_went_on(folder)
    assert_tensorboard_agrees(run)
    assert "out of memory with 64 samples at once; retried with 32 samples at once" in capsys.readouterr().out


def test_a_trial_alone_that_never_fits_fails_with_what_was_tried(tmp_path):
    spec = parse_study(
        {"name": "never", "trial": TINY["trial"] | {"encoder": MLP, "ppo": PPO | {"learning_rate": 1e-3}}}
    )
    run = open_run(spec, tmp_path)
    folder = TrialFolder(run.path / "trials" / TRIAL_ID)
    with (
        room_for(0, folder),
        pytest.raises(OutOfMemoryError, match=r"every memory plan; tried: 128 samples .*; 64 .*; 32 "),
    ):
        train(spec.only_trial("train"), run)
    assert run.record(TRIAL_ID).state == "FAILED" and folder.checkpoint is not None
