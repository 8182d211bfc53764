"""A study that was begun when YAML's `1e-4` was text continues with the options that its trials have."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ftray.analysis.studies import open_study
from ftray.errors import RunFolderError
from ftray.market import load_market
from ftray.runs import RunFolder
from ftray.search.space import Space
from ftray.study import StudySpec, parse_study
from ftray.study.run import run_study

from .by_hand import Hand
from .played import play, study_of
from .tiny import TINY

RATE = "trial/ppo/learning_rate"
RATES = ["1e-4", "1e-3"]


def study(rates: list[Any], **search: Any) -> dict[str, Any]:
    mlp = {"kind": "mlp", "hidden": 64, "encoding_dim": 64}
    encoder = {"choice": [mlp, {**mlp, "encoding_dim": {"choice": [128, 256]}}]}
    trial = TINY["trial"] | {"encoder": encoder, "ppo": TINY["trial"]["ppo"] | {"learning_rate": {"choice": rates}}}
    return {"name": "tiny", "trial": trial, "search": {"n_trials": 9, "points": [{RATE: rates[0]}]} | search}


def as_stored(spec: StudySpec, trial: dict[str, Any], points: list[dict[str, Any]]) -> StudySpec:
    """The study as a version stored it that read numbers without a dot as text."""
    search = dataclasses.replace(spec.search, points=tuple(points))
    return dataclasses.replace(spec, space=Space(trial), search=search)


def test_it_continues_and_all_that_reads_it_agrees(tmp_path):
    new = parse_study(study([1e-4, 1e-3]))
    before = Hand(as_stored(new, study(RATES)["trial"], [{RATE: "1e-4"}]), tmp_path / "tiny")
    assert before.runs(3, lambda values: {"validation/sharpe": 1.0})[0][RATE] == "1e-4"
    run = RunFolder.create(tmp_path / "tiny", new.identity)
    after = Hand(new.continuing(run.study), run.path)
    sampled = after.runs(3, lambda values: {"validation/sharpe": 2.0})
    assert {values[RATE] for values in sampled} <= set(RATES)
    assert {record.spec["ppo"]["learning_rate"] for record in run.records()} <= {1e-4, 1e-3}
    after.assert_stores_agree()
    assert len(open_study(run.path).to_optuna().trials) == 6


def test_another_number_is_another_study_and_one_without_texts_stays_as_it_is(tmp_path):
    new = parse_study(study([1e-4, 1e-3]))
    assert new.continuing(RunFolder.create(tmp_path / "new", new.identity).study) is new
    run = RunFolder.create(tmp_path / "old", as_stored(new, study(RATES)["trial"], []).identity)
    with pytest.raises(RunFolderError, match=r"ppo\.learning_rate\.choice: \['1e-4', '1e-3'\] → \[0\.0001, 0\.002\]"):
        RunFolder.create(run.path, parse_study(study([1e-4, 2e-3])).identity)


@pytest.mark.ray
@pytest.mark.long
def test_tune_continues_it(cluster, tmp_path: Path):
    trial = {"encoder": TINY["trial"]["encoder"]["choice"][0]}
    trial |= {"ppo": TINY["trial"]["ppo"] | {"learning_rate": {"choice": [1e-4, 1e-3]}}}
    new = study_of("old", ["ends well"] * 2, trial)
    tree = {**new.space.tree, "ppo": {**new.space.tree["ppo"], "learning_rate": {"choice": RATES}}}
    old = as_stored(new, tree, list(new.search.points))
    candles = load_market(new.corner_trials[0].market).fingerprint[:16]
    run = RunFolder.create(tmp_path / "old", {**old.identity, "candles": candles})
    values = {RATE: "1e-4", **new.search.points[0]}
    run.add_trial("trial-0000", 0, "trial", values, old.trial(old.space.fill(values)))
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {"validation/sharpe": 1.0, "validation/round_trips": 100.0})
    run_study(new, tmp_path, lambda line: None, trial_fn=play)
    first, second = run.records()
    assert second.state == "COMPLETE" and second.values[RATE] in RATES and first.values == values
