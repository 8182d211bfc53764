"""One way to run a job: a study, `ftray train` and `ftray pretrain` leave the same in the job's folder."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from ftray.runs import RunFolder, TrialFolder
from ftray.spec import parse
from ftray.study import StudySpec
from ftray.study.run import run_study
from ftray.trial import TrialSpec
from ftray.trial.standalone import TRIAL_ID, pretrain_alone, train

from .played import play, study_of
from .tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

WITH_PRETRAINING = {"encoder": TINY["trial"]["encoder"]["choice"][1] | {"pretrained": "auto"}}


def events_of(folder: TrialFolder) -> list[tuple[str, list[str]]]:
    """Every event of a job with the names of all that it says."""
    return [(event["event"], sorted({*event, *event.get("metrics", {})})) for event in folder.events()]


def in_a_study(spec: StudySpec, root: Path) -> RunFolder:
    return run_study(spec, root / "studies", say=lambda line: None, trial_fn=play)


def alone(spec: TrialSpec, root: Path) -> RunFolder:
    run = RunFolder.create(root / "alone" / "one", {"name": "one"})
    with contextlib.suppress(Exception):  # a trial that fails raises its error here
        train(spec, run, trial_fn=play)
    return run


def ending(run: RunFolder, job_id: str) -> dict[str, Any]:
    record = run.record(job_id)
    return {"state": record.state, "error": (record.error or "").splitlines()[:1], "metrics": sorted(record.metrics)}


LONG = [pytest.param(part, marks=pytest.mark.long) for part in ("ends well", "raises", "fits in no plan")]


@pytest.mark.parametrize("part", ["needs a smaller plan", *LONG])
def test_a_trial_of_a_study_and_one_alone_leave_the_same_events_costs_and_end(part, tmp_path):
    study = in_a_study(study_of("one", [part]), tmp_path)
    single = alone(parse(TrialSpec, study.record(TRIAL_ID).spec, path=("trial",)), tmp_path)
    events = events_of(study.trial_folder(TRIAL_ID))
    assert events_of(single.trial_folder(TRIAL_ID)) == events
    names = [name for name, _ in events]
    assert names[0] == "started" and names[-1] == "spent" and names.count("started") == names.count("spent")
    assert names[-2] == ("finished" if part in ("ends well", "needs a smaller plan") else "failed")
    assert ending(single, TRIAL_ID) == ending(study, TRIAL_ID)
    for run in (study, single):
        assert run.record(TRIAL_ID).metrics["cost/cpu_seconds"] > 0
        first, *_ = run.trial_folder(TRIAL_ID).reports()
        assert first["cost/cpu_seconds"] > 0


@pytest.mark.long
def test_a_pretraining_job_of_a_study_and_those_of_train_and_pretrain_leave_the_same_events_and_costs(tmp_path):
    study = in_a_study(study_of("one", ["ends well"], WITH_PRETRAINING), tmp_path)
    spec = parse(TrialSpec, study.record(TRIAL_ID).spec, path=("trial",))
    trained = alone(spec, tmp_path)
    pretrained = RunFolder.create(tmp_path / "pretrained" / "one", {"name": "one"})
    (card,) = pretrain_alone(spec, pretrained)
    job_id = f"encoder-{card.fingerprint[:12]}"
    events = events_of(study.trial_folder(job_id))
    assert [name for name, _ in events] == ["started", *["report"] * 3, "finished", "spent"]
    for run in (trained, pretrained):
        assert events_of(run.trial_folder(job_id)) == events
        assert ending(run, job_id) == ending(study, job_id)
        assert run.record(job_id).metrics["cost/cpu_seconds"] > 0
