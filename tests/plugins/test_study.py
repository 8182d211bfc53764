"""A whole study on a local Ray whose every member is a plug-in's, in all its processes."""

import json

import numpy as np
import pytest

import ftray
from ftray.cli import main
from ftray.nets import load_policy
from ftray.runs import RunFolder
from ftray.study import load_study
from ftray.study.run import run_study
from tests.study.tiny import TINY

from .outside import MEMBERS, TRIAL, study_file, write

pytestmark = pytest.mark.ray

PROCESSES = """
from pathlib import Path
import os, sys

with (Path(__file__).parent / "processes").open("a") as file:
    file.write(f"{os.getpid()} ")
"""


@pytest.mark.long
def test_a_study_of_plug_ins_runs_in_all_its_processes(cluster, tmp_path, forget, capsys):
    folder = tmp_path / "study"
    write(folder, "my_whole_study", PROCESSES + MEMBERS)
    ppo = TRIAL["ppo"] | {"n_env_runners": 1, "cpus_per_env_runner": 0.5, "learning_rate": 1e-3}
    trial = TRIAL | {"ppo": ppo, "encoder": {"kind": "gru"}, "onnx": True}
    file = study_file(folder, "my_whole_study", trial=trial, n_trials=1)
    run = run_study(load_study(file), tmp_path / "runs", say=lambda line: None)
    assert [(record.state, record.error) for record in run.records()] == [("COMPLETE", None)]
    # The driver, the trial, its env runner, the one that exports.
    assert len(set((folder / "processes").read_text().split())) == 4
    policy = run.path / "trials" / "trial-0000" / "policy"
    facts = json.loads((policy / "policy.json").read_text())
    assert facts["plugins"] == run.study["plugins"] and "onnx_left_out" not in facts
    forget()
    assert len(ftray.open_study(run.path).trials) == 1
    ftray.load_plugins(["my_whole_study"], folder)
    loaded = load_policy(policy)
    assert loaded(np.eye(1, loaded.layout.size)[0]).shape == (2,)
    assert main(["backtest", str(run.path), "--plugin", "my_whole_study"]) == 0
    assert main(["promote", str(run.path), "--seeds", "3", "--force", "--plugin", "my_whole_study"]) == 0
    assert "trained again on 3 fresh seeds" in capsys.readouterr().out


@pytest.mark.long
def test_a_plug_in_that_changes_before_a_trial_starts_fails_the_trial_with_the_reason(cluster, tmp_path):
    file = write(tmp_path, "my_changing", MEMBERS)
    spec = load_study(study_file(tmp_path, "my_changing", trial=TRIAL | {"encoder": {"kind": "gru"}}, n_trials=1))
    file.write_text(MEMBERS + "# changed\n")
    run_study(spec, tmp_path / "runs", say=lambda line: None)
    (record,) = RunFolder.open(tmp_path / "runs" / "study").records()
    assert record.state == "FAILED" and "must have one version of the plug-in my_changing: here" in str(record.error)


@pytest.mark.long
def test_pretrain_and_train_take_the_plug_ins_of_their_file(cluster, without_probes, tmp_path):
    write(tmp_path, "my_alone", MEMBERS)
    ft = {"kind": "ft", "d_token": 32, "n_blocks": 1, "n_heads": 2, "encoding_dim": 256, "patch_length": 8}
    trial = TRIAL | {
        "encoder": ft | {"pretrained": "auto"},
        "pretraining": TINY["trial"]["pretraining"],
        "trading": TRIAL["trading"] | {"reward": "simple_return"},
        "ppo": TRIAL["ppo"] | {"learning_rate": 1e-3, "evaluation_cpus": 1},
    }
    file = study_file(tmp_path, "my_alone", trial=trial)
    for verb in ("pretrain", "train"):
        assert main([verb, str(file), "--runs", str(tmp_path / verb)]) == 0
    (config,) = (tmp_path / "pretrain").glob("study/encoders/*/config.json")
    run = RunFolder.open(tmp_path / "train" / "study")
    assert json.loads(config.read_text())["plugins"] == run.study["plugins"]
    assert {(record.kind, record.state) for record in run.records()} == {
        ("pretraining", "COMPLETE"),
        ("trial", "COMPLETE"),
    }
