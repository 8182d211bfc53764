"""Folds in a study: a trial begins when the encoders of all its folds are there, each pre-trained once."""

import pytest

from ftray.study import parse_study
from ftray.study.run import run_study

from .played import play
from .tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

FT = TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}


def folded(n_trials: int = 1, **trial: object):
    """A study of two walk-forward folds, for trials that are played."""
    windows = {"kind": "walk_forward", "n_folds": 2, "holding": 6}
    tree = TINY["trial"] | {"encoder": FT, "windows": windows} | trial
    return parse_study(
        {"name": "folds", "trial": tree, "search": {"n_trials": n_trials, "max_concurrent": 1, "scheduler": "none"}}
    )


def of_kind(run, kind: str):
    return [record for record in run.records() if record.kind == kind]


@pytest.mark.long
def test_a_trial_waits_for_the_encoders_of_all_its_folds_and_another_shares_them(tmp_path):
    run = run_study(folded(n_trials=2), tmp_path, say=lambda line: None, trial_fn=play)
    jobs, trials = of_kind(run, "pretraining"), of_kind(run, "trial")
    assert [job.state for job in jobs] == ["COMPLETE"] * 2
    assert [trial.state for trial in trials] == ["COMPLETE"] * 2
    assert len(list(run.encoders_folder.iterdir())) == 2
    weights_at = max((encoder / "DONE").stat().st_mtime for encoder in run.encoders_folder.iterdir())
    for trial in trials:
        assert weights_at <= trial.started_at.timestamp()
    assert {"equal_weight", "hold_AAVE"} <= set(run.benchmarks())
    assert (run.path / "tables" / "manifest.json").is_file() and run.is_done


@pytest.mark.long
def test_one_encoder_that_fails_fails_the_trial_with_its_error_and_not_the_other_encoder(tmp_path):
    # Pre-training validates on a tenth of each fold's train window, and only the second fold's is long enough for this.
    pretraining = TINY["trial"]["pretraining"] | {"horizon": 50}
    run = run_study(folded(pretraining=pretraining), tmp_path, say=lambda line: None, trial_fn=play)
    (trial,), jobs = of_kind(run, "trial"), of_kind(run, "pretraining")
    assert [job.state for job in jobs] == ["FAILED", "COMPLETE"]
    assert trial.state == "FAILED"
    assert jobs[0].error in trial.error and jobs[0].id in trial.error
