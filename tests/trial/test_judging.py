"""One judge for all trials of a study: every field is the policy's or the judge's, and no search reaches the judge."""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

from ftray.errors import SpecError
from ftray.market import SimulatorSpec
from ftray.search.json_schema import Hint
from ftray.spec import to_mapping
from ftray.study import SearchSpec, StudySpec, parse_study
from ftray.study.spec import Space
from ftray.trial import TrialSpec
from ftray.trial.judging import FIELDS, JUDGE, class_of, judge_of


def fields_of(cls: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields in the tree of a spec, those of every member of a family."""
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint, here = Hint.of(hints[field.name]), (*path, field.name)
        specs = [*hint.members.values()] if hint.members else [hint.base] * hasattr(hint.base, "__is_spec__")
        for one in specs:
            yield from fields_of(one, here)
        if not specs:
            yield here


TREE = list(dict.fromkeys(fields_of(TrialSpec)))


@pytest.mark.parametrize("path", TREE, ids=".".join)
def test_every_field_of_a_trial_is_the_policys_or_the_judges(path):
    assert class_of(path), f"trial.{'.'.join(path)} must be in ftray.trial.judging.FIELDS: may a policy choose it?"


def test_every_class_is_of_a_field_that_there_is():
    assert len(TREE) > 80
    for name in FIELDS:
        assert any(path[: name.count(".") + 1] == tuple(name.split(".")) for path in TREE), name


def test_a_new_field_of_the_trial_or_of_its_trading_has_no_class_yet():
    assert class_of(("holidays",)) is None and class_of(("trading", "holidays")) is None
    assert class_of(("trading",)) is None  # it holds fields of both classes
    assert class_of(("market", "of_a_plug_in")) == "judge" and class_of(("encoder", "of_a_plug_in")) == "policy"


def test_the_judge_is_market_windows_rules_seeds_and_which_evaluation_is_the_result():
    judge = judge_of(TrialSpec(market=SimulatorSpec(seed=3), seeds=2))
    assert {name.split(".")[0] for name in judge} == {"market", "windows", "trading", "seed", "seeds", "select"}
    assert {name for name in judge if name.startswith("trading.")} == {
        f"trading.rules.{name}" for name in to_mapping(TrialSpec().trading.rules)
    }
    assert judge["market.seed"] == 3 and judge["seeds"] == 2 and len(JUDGE) == 6


FEES = [{"rules": {"fee": 0.0}, "episode_bars": 100}, {"rules": {"fee": 0.01}, "episode_bars": 200}]
SMUGGLED: dict[str, tuple[dict[str, Any], str]] = {
    "a range": ({"trading": {"rules": {"fee": {"log": [1e-4, 1e-2]}}}}, "trial.trading.rules.fee"),
    "a choice with one option": ({"seeds": {"choice": [3]}}, "trial.seeds"),
    "which evaluation is the result": ({"select": {"choice": ["last", "best_validation"]}}, "trial.select"),
    "a seed": ({"seed": {"int": [0, 3]}}, "trial.seed"),
    "a simulator's seed": ({"market": {"seed": {"int": [0, 3]}}}, "trial.market.seed"),
    "a choice of markets": ({"market": {"choice": [{"kind": "simulator"}, {"n_assets": 3}]}}, "trial.market"),
    "a searched kind": ({"market": {"kind": {"choice": ["simulator"]}}}, "trial.market.kind"),
    "a choice of windows": ({"windows": {"choice": [{"test": 0.1}, {"kind": "walk_forward"}]}}, "trial.windows"),
    "a purge": ({"windows": {"purge": {"choice": [None, 90]}}}, "trial.windows.purge"),
    "a reach": ({"windows": {"lookback": {"int": [60, 480]}}}, "trial.windows.lookback"),
    "a choice of rules": ({"trading": {"rules": {"choice": [{"fee": 0.0}, {"fee": 0.01}]}}}, "trial.trading.rules"),
    "options further out": ({"trading": {"choice": FEES}}, "trial.trading.rules.fee"),
    "an option and a default": ({"trading": {"choice": [{}, FEES[1]]}}, "trial.trading.rules.fee"),
    "a range within an option": (
        {"trading": {"choice": [{"rules": {"fee": {"choice": [0.0, 0.01]}}}, {"episode_bars": 9}]}},
        "trial.trading.rules.fee",
    ),
    "a choice of whole trials": ({"choice": [{"seed": 1}, {"seed": 2}]}, "trial.seed"),
    "a choice within a choice": (
        {"choice": [{"onnx": True}, {"onnx": False, "trading": {"choice": FEES}}]},
        "trial.trading.rules.fee",
    ),
}


@pytest.mark.parametrize(("trial", "path"), SMUGGLED.values(), ids=SMUGGLED)
def test_a_search_cannot_choose_what_judges_its_trials(trial, path):
    with pytest.raises(SpecError, match=r"judges the trials.*--set name=NAME_\$VALUE --set trial\.") as refused:
        parse_study({"trial": trial})
    assert ".".join(refused.value.path) == path


def test_nor_can_a_study_that_is_made_in_python():
    study = StudySpec("made", Space({"trading": {"choice": FEES}}), SearchSpec())
    with pytest.raises(SpecError, match="judges the trials"):
        _ = study.corner_trials
    study = StudySpec("made", Space({"seed": {"int": [0, 3]}}), SearchSpec())
    with pytest.raises(SpecError, match="judges the trials"):
        study.trial({"seed": 1})


def test_options_that_judge_alike_are_a_choice_of_policies():
    same = [{"rules": {"fee": 0.001}, "reward": name} for name in ("log_growth", "excess_growth")]
    assert {trial.trading.reward for trial in parse_study({"trial": {"trading": {"choice": same}}}).corner_trials} == {
        "log_growth",
        "excess_growth",
    }
