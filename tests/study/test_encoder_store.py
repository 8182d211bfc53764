"""Encoders between studies: a trial starts from the best weights known, which is printed, recorded and kept."""

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftray.runs import RunFolder
from ftray.study import StudySpec, parse_study
from ftray.study.run import run_study
from ftray.trial import prepare_dataset, pretrain_encoder
from ftray.trial.spec import TrialSpec

from .by_hand import Hand
from .played import play
from .tiny import TINY

pytestmark = pytest.mark.usefixtures("without_probes")


def study_of(name: str, pretraining: dict[str, Any] | None = None, **search: Any) -> StudySpec:
    """One encoder shape, weights by `auto`, learning rates of PPO to be found."""
    trial = copy.deepcopy(TINY["trial"])
    trial["encoder"] = trial["encoder"]["choice"][1] | {"pretrained": "auto"}
    trial["pretraining"] |= pretraining or {}
    trial["ppo"] |= {"env_steps": 128}
    return parse_study({"name": name, "trial": trial, "search": {"n_trials": 2} | search})


def trial_of(spec: StudySpec) -> TrialSpec:
    return spec.corner_trials[0]


def pretrained(spec: StudySpec, root: Path) -> str:
    """The fingerprint of a study's encoder, made as its first job would make it."""
    run, trial = RunFolder.create(root / spec.name, spec.identity), trial_of(spec)
    return pretrain_encoder(trial, prepare_dataset(trial, run.path)[1], run.path).fingerprint


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("runs")
    return root, pretrained(study_of("first"), root)


@pytest.fixture
def root(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled[0], tmp_path / "runs"))


OTHER = {"weight_decay": 0.1}
"""Pre-training that is another job, of losses that mean the same."""


def chosen(run: RunFolder) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] == "encoder_chosen"]


def test_an_encoder_has_a_page_of_plots_with_its_card(filled):
    pytest.importorskip("plotly")
    assert (filled[0] / "first" / "encoders" / filled[1] / "encoder_card.html").exists()


def test_a_trial_takes_the_encoder_of_another_study_and_no_job_is_run_for_it(root, filled):
    hand = Hand(study_of("second", OTHER), root / "second")
    asked, job = hand.start()
    assert job == "trial-0000"
    assert hand.searcher.job(asked).encoders == (filled[1],)
    (event,) = chosen(hand.run)
    assert (event["id"], event["encoder"], event["fold"]) == ("trial-0000", filled[1], 0)
    assert event["why"].startswith(f"uses encoder {filled[1][:12]} of study first: validation loss ")
    assert "best of 1 compatible" in event["why"]
    spec = hand.searcher.job(asked).spec
    assert pretrain_encoder(spec, prepare_dataset(spec, hand.run.path)[1], hand.run.path).fingerprint == filled[1]


def test_a_resumed_study_keeps_the_chosen_encoders(root, filled):
    hand = Hand(study_of("second", OTHER), root / "second")
    hand.start()
    better = pretrained(study_of("third", OTHER | {"epochs": 6}), root)
    for gone in ("first", "third"):  # whatever other folders come or go
        resumed = hand.resumed()
        asked, job = resumed.start()
        assert (job, resumed.searcher.job(asked).encoders) == ("trial-0000", (filled[1],))
        asked, job = resumed.start()
        assert (job, resumed.searcher.job(asked).encoders) == ("trial-0001", (filled[1],))
        shutil.rmtree(root / gone)
    assert {event["encoder"] for event in chosen(hand.run)} == {filled[1]} != {better}


def test_weights_that_were_trained_with_another_loss_are_refused_and_the_own_job_is_run(root, filled):
    hand = Hand(study_of("second", {"mask_ratio": 0.4}), root / "second")
    asked, job = hand.start()
    made = hand.searcher.job(asked)
    assert job == f"encoder-{made.encoders[0][:12]}" and made.encoders[0] != filled[1]
    assert made.reasons == (
        f"pre-trains encoder {made.encoders[0][:12]}: the store has none that fits; 1 refused: {filled[1][:12]} of "
        "study first was trained with another loss: mask_ratio is 0.15 there and 0.4 here",
    )


def test_where_pretraining_itself_is_searched_each_trial_has_its_own_weights(root):
    searched = {"weight_decay": {"choice": [0.1, 0.2]}}
    points = [{"trial/pretraining/weight_decay": decay} for decay in (0.1, 0.2)]
    hand = Hand(study_of("second", searched, points=points), root / "second")
    jobs = [hand.start()[1] for _ in range(2)]
    assert len(set(jobs)) == 2 and all(job.startswith("encoder-") for job in jobs)


def test_the_very_job_of_another_study_is_not_repeated(root, filled):
    hand = Hand(dataclasses.replace(study_of("first"), name="second"), root / "second")
    asked, job = hand.start()
    assert (job, hand.searcher.job(asked).encoders) == ("trial-0000", (filled[1],))
    assert chosen(hand.run)[0]["why"].endswith("of study first: its own pre-training job")


@pytest.mark.ray
@pytest.mark.long
def test_a_study_says_whose_weights_its_trials_start_from(cluster, root, filled):
    lines: list[str] = []
    run = run_study(study_of("second", OTHER, n_trials=1), root, say=lines.append, trial_fn=play)
    assert [(record.kind, record.state) for record in run.records()] == [("trial", "COMPLETE")]
    (reason,) = (line for line in lines if "uses encoder" in line)
    assert " trial-0000 " in reason and f"{filled[1][:12]} of study first" in reason
    assert [folder.name for folder in run.encoders_folder.iterdir()] == [filled[1]]
