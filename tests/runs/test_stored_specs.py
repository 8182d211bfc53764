"""What version 0.1 stored opens in the form of this version; its study files are refused with what moved where.

The market's rules were in `trading`, and now are in `trading.rules`.
"""

import json
from pathlib import Path

import pytest

from ftray.analysis.study import Study
from ftray.errors import SpecError
from ftray.runs import RunFolder
from ftray.runs.version_0_1 import RULES, upgrade_study, upgrade_trial
from ftray.search.space import Space
from ftray.spec import parse, to_mapping
from ftray.study import load_study, parse_study
from ftray.trading import MarketRules, TradingSpec
from ftray.trial import TrialSpec

OLD = Path(__file__).parent / "format_1"

STORED = {"fee": 0.001, "slippage": 0.0, "fill": "close", "reward": "log_growth", "episode_bars": 50}


def test_the_rules_of_version_0_1_are_the_fields_of_the_markets_rules():
    assert set(RULES) == set(to_mapping(MarketRules()))


def test_a_stored_trial_has_the_settings_that_it_was_trained_with():
    rules = MarketRules(fee=0.001, slippage=0.0, fill="close")
    assert parse(TrialSpec, upgrade_trial({"trading": STORED})).trading == TradingSpec(rules=rules, episode_bars=50)


def test_a_trial_of_this_version_is_left_as_it_is():
    spec = to_mapping(TrialSpec(trading=TradingSpec(rules=MarketRules(fee=0.001), turnover_penalty=0.1)))
    assert upgrade_trial(spec) == spec


@pytest.mark.parametrize("trial", [{}, {"trading": None}, {"trading": {"choice": [{"fee": 0.0}, {"fee": 0.1}]}}])
def test_a_trial_without_rules_in_their_old_place_is_left_as_it_is(trial):
    assert upgrade_trial(trial) == trial


def test_every_stored_trial_of_a_run_folder_parses():
    records = RunFolder.open(OLD).records()
    specs = [parse(TrialSpec, record.spec) for record in records]
    assert {spec.trading for spec in specs} == {TradingSpec(episode_bars=50)}
    assert len(records) == 6


def test_the_tables_of_a_study_show_trials_in_the_new_form():
    assert Study(RunFolder.open(OLD)).lineage("trial-0000")["spec"]["trading"]["rules"]["fee"] == 0.0025


def test_a_stored_study_continues_with_its_file_in_the_new_form(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"name": "run", "trial": {"trading": dict(STORED)}})
    again = RunFolder.create(tmp_path / "run", {"name": "run", "trial": upgrade_trial({"trading": STORED})})
    assert again.id == run.id
    assert json.loads((run.path / "study.json").read_text())["study"]["trial"]["trading"] == STORED


def test_a_rule_that_was_searched_keeps_the_name_that_its_values_are_stored_under():
    tree = {"trading": {"fee": {"log": [1e-4, 1e-2]}, "slippage": 0.0, "turnover_penalty": {"choice": [0.0, 0.001]}}}
    upgraded = upgrade_trial(tree)
    assert Space(upgraded).params.keys() == {"trial/trading/fee", "trial/trading/turnover_penalty"}
    assert upgraded["trading"]["rules"] == {"slippage": 0.0}


def test_a_file_that_can_be_run_again_comes_out_of_a_stored_study():
    study = RunFolder.open(OLD).study
    assert parse_study({"name": "again", "trial": study["trial"]}).trial({"trading": {}}).trading == TradingSpec()


MOVED = r"^trial\.trading\.fee: moved to trial\.trading\.rules\.fee$"


@pytest.mark.parametrize("fee", [0.001, {"log": [1e-4, 1e-2]}], ids=["a value", "a parameter of the search"])
def test_a_study_file_with_a_rule_in_its_old_place_is_refused_with_the_new_one(fee):
    with pytest.raises(SpecError, match=MOVED):
        parse_study({"trial": {"trading": {"fee": fee}}})


def test_so_is_an_override(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("trial: {trading: {rules: {slippage: 0.0}}}")
    with pytest.raises(SpecError, match=MOVED):
        load_study(file, ["trial.trading.fee=0.001"])
    assert load_study(file, ["trial.trading.rules.fee=0.001"]).only_trial("train").trading.rules.fee == 0.001


def test_so_is_a_starting_point():
    trial = {"trading": {"turnover_penalty": {"float": [0.0, 0.01]}}}
    with pytest.raises(SpecError, match=r"no such search parameter"):
        parse_study({"trial": trial, "search": {"points": [{"trial/trading/fee": 0.001}]}})


def test_a_stored_study_with_the_old_key_of_wilcoxon_is_read_and_a_file_with_it_is_refused_with_the_new_one():
    scheduler = {"kind": "wilcoxon", "least_pairs": 6}
    upgraded = upgrade_study({"search": {"scheduler": scheduler, "objectives": []}})
    assert upgraded == {"search": {"scheduler": {"kind": "wilcoxon", "min_pairs": 6}, "objectives": []}}
    with pytest.raises(SpecError, match=r"least_pairs: moved to search\.scheduler\.min_pairs"):
        parse_study({"trial": {"seeds": 9}, "search": {"scheduler": scheduler}})
