"""Who looks at results imports nothing that a folder names; who asks for a plug-in by name gets it."""

import json

import numpy as np
import pytest

import ftray
from ftray.boards.app import build_app
from ftray.boards.report import write_report
from ftray.cli import main
from ftray.errors import PluginError
from ftray.features import INDICATORS
from ftray.market import load_market
from ftray.nets import load_policy
from ftray.study import load_study
from ftray.study.promote import promote
from ftray.trial.judge import judge_folder
from tests.boards.made import made_study

from .outside import MEMBERS, NOTES_ITS_IMPORT, study_file, write
from .test_fingerprints import a_policy


@pytest.fixture
def imported(tmp_path):
    """How often the plug-in was imported so far; it lies where it would be found."""
    write(tmp_path, source=NOTES_ITS_IMPORT + MEMBERS)
    file = tmp_path / "imported"
    return lambda: len(file.read_text().split()) // 2 if file.exists() else 0


@pytest.fixture
def plugins(imported, tmp_path, forget):
    """What the study file of a run had as plug-ins; forgotten since."""
    found = dict(load_study(study_file(tmp_path, "my_members")).plugins)
    a_policy(load_study(study_file(tmp_path, "my_members")).corner_trials[0].encoder, "close", "gap").save(
        tmp_path / "policy"
    )
    forget()
    (tmp_path / "imported").unlink()
    return found


@pytest.fixture
def run(plugins, tmp_path):
    """The run folder of a study with a plug-in, whose best trial has a policy."""
    run = made_study(tmp_path / "runs" / "made", 25, n_bars=200)
    content = json.loads((run.path / "study.json").read_text())
    content["study"]["plugins"] = plugins
    content["study"]["trial"]["encoder"]["choice"].append({"kind": "gru"})
    (run.path / "study.json").write_text(json.dumps(content))
    (tmp_path / "policy").rename(run.path / "trials" / ftray.open_study(run.path).best().trial / "policy")
    return run.path


def test_results_report_and_page_of_a_study_import_no_plug_in(run, imported, capsys):
    study = ftray.open_study(run)
    assert len(study.trials) == 25 and study.best()
    assert study.lineage("trial-0000") and study.to_optuna()
    assert main(["results", str(run)]) == 0 and "trial-0000" in capsys.readouterr().out
    page = write_report(run).read_text()
    assert "It imports my_members, whose source must have the hash" in page and "plugins:\n- my_members" in page
    assert "/policy&#39;, plugins=[&#39;my_members&#39;])" in page
    build_app(study)
    assert imported() == 0 and "gap" not in INDICATORS


def test_a_policy_asks_for_its_plug_in_by_name(run, imported):
    folder = ftray.open_study(run).policy_path(ftray.open_study(run).best().trial)
    with pytest.raises(
        PluginError, match=r"the plug-in my_members, which is imported only where you name it: --plugin"
    ):
        load_policy(folder)
    assert imported() == 0
    policy = load_policy(folder, plugins=["my_members"])
    assert imported() == 1
    assert policy(np.eye(1, policy.layout.size)[0]).shape == (2,)


def test_a_policy_whose_indicators_are_a_plug_ins_decides_without_it_and_observes_with_it(tmp_path, forget):
    write(tmp_path)
    study = load_study(study_file(tmp_path, "my_members"))
    candles = load_market(study.corner_trials[0].market)
    mlp = next(trial.encoder for trial in study.corner_trials if trial.encoder.kind == "mlp")
    a_policy(mlp, "close", "gap").save(tmp_path / "policy")
    forget()
    policy = load_policy(tmp_path / "policy")
    assert policy(np.eye(1, policy.layout.size)[0]).shape == (2,)
    with pytest.raises(PluginError, match=r"this policy was made with the plug-in my_members, .*--plugin my_members"):
        policy.observe(candles)
    with pytest.raises(PluginError, match=r"policy was made with the plug-in my_members, .*--plugin my_members"):
        judge_folder(tmp_path / "policy", None, "validation")
    ftray.load_plugins(["my_members"])
    assert np.isfinite(policy.observe(candles)).all()


def test_promote_and_backtest_take_plug_ins_from_the_command_line_alone(run, imported, capsys):
    with pytest.raises(PluginError, match=r"made was made with the plug-in my_members, which is imported only where"):
        promote(run)
    for words in (["promote", str(run)], ["backtest", str(run)]):
        assert main(words) == 1
        assert "--plugin my_members" in capsys.readouterr().err
    assert imported() == 0
    assert main(["promote", str(run), "--trial", "trial-0019", "--plugin", "my_members"]) == 1
    assert "a promotion needs a complete trial" in capsys.readouterr().err
    assert imported() == 1
