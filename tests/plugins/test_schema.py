"""The JSON Schema knows the members of the plug-ins that it is asked to know."""

import json

import yaml
from jsonschema import Draft202012Validator

from ftray.cli import main

from .outside import TRIAL, study_file, write


def test_a_schema_printed_with_a_plug_in_knows_its_members(tmp_path, capsys):
    write(tmp_path)
    search = {"sampler": {"kind": "halton"}}
    tree = yaml.safe_load(study_file(tmp_path, "my_members", trial=TRIAL, **search).read_text())
    assert main(["schema"]) == 0
    without = Draft202012Validator(json.loads(capsys.readouterr().out))
    unknown = {".".join(map(str, error.absolute_path)) for error in without.iter_errors(tree)}
    assert main(["schema", "--plugin", "my_members"]) == 0
    with_it = Draft202012Validator(json.loads(capsys.readouterr().out))
    assert unknown and list(with_it.iter_errors(tree)) == []
    assert not with_it.is_valid({"trial": {"encoder": {"kind": "gru", "d_token": 64}}})
