"""Whatever uses a plug-in is named after its source, too, and nothing else is."""

import json

import pytest

from ftray.errors import PluginError, RunFolderError
from ftray.families import sources_of
from ftray.features import FeatureSpec, ObservationLayout, Scaler, dataset_of
from ftray.market import SimulatorSpec, WindowsSpec, load_market
from ftray.nets import FTSpec, MLPSpec, Policy, PolicyNetwork, build_encoder, load_policy, policy_head
from ftray.plugins import load_plugins
from ftray.pretraining import PretrainingSpec
from ftray.pretraining.spec import encoder_fingerprint
from ftray.study import load_study
from ftray.study.spec import open_run

from .outside import INDICATOR, MEMBERS, TRIAL, study_file, write

CHANGED = MEMBERS.replace("np.log(ohlcv[:, 0] / before)", "ohlcv[:, 0] / before - 1")
MARKET = load_market(SimulatorSpec(n_assets=2, n_bars=600))


def dataset_prints(*indicators):
    dataset = dataset_of(MARKET, WindowsSpec(), FeatureSpec(lookback=8, indicators=indicators))
    return dataset.fingerprint, encoder_fingerprint(dataset.fingerprint, dataset.layout, FTSpec(), PretrainingSpec())


def test_data_and_encoders_of_a_changed_indicator_are_others_and_all_others_stay(tmp_path, forget):
    before = dataset_prints("close", "rsi")
    file = write(tmp_path)
    load_plugins(["my_members"])
    own = dataset_prints("close", "gap")
    assert dataset_prints("close", "rsi") == before
    forget()
    file.write_text(CHANGED)
    load_plugins(["my_members"])
    assert not set(dataset_prints("close", "gap")) & set(own)
    assert dataset_prints("close", "rsi") == before


def test_any_file_of_a_package_is_part_of_its_source(tmp_path, forget):
    write(tmp_path, "my_package/", "from my_package import bodies")
    write(tmp_path, "my_package/bodies", INDICATOR)
    prints = []
    for periods in (3, 4, 4):
        write(tmp_path, "my_package/deep/periods", f"PERIODS = {periods}")
        prints.append(load_plugins(["my_package"])["my_package"])
        assert load_plugins(["my_package.bodies"]) == {"my_package.bodies": prints[-1]}
        forget()
    assert prints[0] != prints[1] == prints[2]


def test_of_two_folders_that_share_a_namespace_the_one_with_the_plug_in_is_its_source(tmp_path, forget, monkeypatch):
    write(tmp_path / "installed" / "my_group", "other", "x = 1")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    prints = []
    for source in (INDICATOR, INDICATOR + "# changed"):
        file = write(tmp_path / "my_group", "bodies", source)
        prints.append(load_plugins(["my_group.bodies"])["my_group.bodies"])
        assert sources_of(["my_group.bodies"]) == [file.parent]
        forget()
        monkeypatch.syspath_prepend(tmp_path / "installed")
    assert prints[0] != prints[1]


def test_a_study_continues_with_the_same_plug_in_and_is_refused_with_a_changed_one(tmp_path, forget):
    file, study = write(tmp_path), study_file(tmp_path, "my_members")
    spec = load_study(study)
    run = open_run(spec, tmp_path / "runs")
    assert run.study["plugins"] == dict(spec.plugins)
    forget()
    assert open_run(load_study(study), tmp_path / "runs").id == run.id
    forget()
    file.write_text(CHANGED)
    with pytest.raises(
        RunFolderError, match=r"another study; it differs in plugins\.my_members: '\w{16}' → '\w{16}'\. "
    ):
        open_run(load_study(study), tmp_path / "runs")


def test_a_study_without_plug_ins_says_nothing_of_them(tmp_path):
    trial = {key: TRIAL[key] for key in ("ppo", "windows")} | {"encoder": {"kind": "mlp"}}
    plain = load_study(study_file(tmp_path, trial=trial, sampler="tpe"))
    assert list(plain.identity) == ["name", "trial", "search"]


def a_policy(encoder, *indicators):
    layout = ObservationLayout(("ONE", "TWO"), indicators, 8)
    network = PolicyNetwork(build_encoder(encoder, layout), policy_head(encoder.encoding_dim, 2))
    return Policy(
        network, Scaler.from_mapping({"center": [0] * layout.n_series, "scale": [1] * layout.n_series, "clip": 8}), {}
    )


def test_a_policy_names_the_plug_ins_of_its_encoder_and_its_indicators(tmp_path):
    write(tmp_path)
    study = load_study(study_file(tmp_path, "my_members"))
    gru = next(trial.encoder for trial in study.corner_trials if trial.encoder.kind == "gru")
    for name, policy in {"encoder": a_policy(gru, "close"), "indicator": a_policy(MLPSpec(), "close", "gap")}.items():
        facts = json.loads((policy.save(tmp_path / name) / "policy.json").read_text())
        assert facts["plugins"] == study.plugins
    assert "plugins" not in json.loads((a_policy(MLPSpec(), "close").save(tmp_path / "p") / "policy.json").read_text())


def test_a_policy_of_a_changed_plug_in_is_refused(tmp_path, forget):
    file, study = write(tmp_path), study_file(tmp_path, "my_members")
    a_policy(load_study(study).corner_trials[0].encoder, "close", "gap").save(tmp_path / "policy")
    forget()
    file.write_text(CHANGED)
    with pytest.raises(
        PluginError, match=r"policy was made with the plug-in my_members of source \w+, and it is \w+ now"
    ):
        load_policy(tmp_path / "policy", plugins=["my_members"])
