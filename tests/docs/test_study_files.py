"""Study files that the pages show are ones that this version takes."""

from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest
import yaml

from ftray.study import parse_study
from ftray.study.json_schema import study_schema
from ftray.trial import TrialSpec

from .pages import blocks
from .test_commands import run_alone
from .test_examples import write_files

OWN = [block for block in blocks("yaml") if "plugins" in yaml.safe_load(block.code)]
REST = [block for block in blocks("yaml") if block not in OWN]


@pytest.mark.parametrize("block", REST, ids=str)
def test_a_study_file_parses_with_every_range_at_both_ends(block, folder):
    spec = parse_study(yaml.safe_load(block.code))
    assert spec.corner_trials


@pytest.mark.long
@pytest.mark.parametrize("block", OWN, ids=str)
def test_a_study_file_with_a_plug_in_parses(block, folder):
    write_files(block)
    Path(block.file or "study.yaml").write_text(block.code)
    assert "study " in run_alone(["check", block.file or "study.yaml"])


@pytest.mark.parametrize("block", REST, ids=str)
def test_an_editor_accepts_a_study_file(block):
    errors = jsonschema.Draft202012Validator(study_schema()).iter_errors(yaml.safe_load(block.code))
    assert [error.json_path for error in errors] == []


def test_the_search_with_several_objectives_is_one(folder):
    (block,) = [block for block in blocks("yaml") if block.name == "several objectives"]
    spec = parse_study(yaml.safe_load(block.code))
    assert [goal.metric for goal in spec.search.goals] == ["validation/active_sharpe", "validation/max_drawdown"]
    assert [str(bound) for bound in spec.search.bounds[:1]] == ["validation/max_drawdown <= 0.3"]
    assert spec.search.warm_start == str(Path("runs/earlier").absolute())


def test_the_file_with_every_section_has_every_section(folder):
    (block,) = [block for block in blocks("yaml") if block.name == "every section"]
    assert set(yaml.safe_load(block.code)["trial"]) == {field.name for field in fields(TrialSpec)}
