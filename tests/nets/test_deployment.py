"""A policy folder holds all it takes to decide, without Ray, and decides as the trained policy did."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from ftray.errors import DataError, WeightsError
from ftray.features import FeatureSpec, ObservationLayout, Scaler, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec, load_market
from ftray.nets import FTSpec, MLPSpec, Policy, PolicyNetwork, build_encoder, load_policy, policy_head
from ftray.spec import fingerprint

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "volume", "rsi"), 8)
SCALER = Scaler(np.arange(6.0), np.full(6, 2.0), 8.0)
SPECS = {
    "ft": FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8),
    "ft forecasts": FTSpec(
        d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8, readout="forecasts", horizons=(2, 5)
    ),
    "ft assets": FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8, readout="assets"),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}


def policy_of(name: str) -> Policy:
    torch.manual_seed(0)
    spec = SPECS[name]
    head = policy_head(spec.encoding_dim, 2)
    torch.nn.init.normal_(head[-1].weight)
    return Policy(PolicyNetwork(build_encoder(spec, LAYOUT), head), SCALER, {"dataset": "abc", "fold": 1})


@pytest.fixture(params=SPECS)
def policy(request) -> Policy:
    return policy_of(request.param)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with an ONNX file, to look at."""
    return policy_of("mlp").save(tmp_path_factory.mktemp("exported") / "policy", onnx=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder to damage."""
    return policy_of("ft").save(tmp_path / "policy")


def observations(n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    found = rng.standard_normal((n, LAYOUT.size)).astype(np.float32)
    found[:, LAYOUT.account] = rng.dirichlet(np.ones(LAYOUT.n_account), n)
    return found


def facts_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "policy.json").read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_policy_keeps_its_no_trade_zone_and_one_of_format_2_has_none(tmp_path):
    policy = policy_of("mlp")
    policy.network.no_trade = 0.2
    folder = policy.save(tmp_path / "policy")
    loaded = load_policy(folder)
    assert loaded.network.no_trade == 0.2
    np.testing.assert_array_equal(loaded(observations(5)), policy(observations(5)))
    facts = facts_of(folder)
    facts["format"] = 2
    del facts["actions"], facts["sha256"]["actions"]
    (folder / "policy.json").write_text(json.dumps(facts))
    assert load_policy(folder).network.no_trade == 0.0


def test_a_loaded_policy_decides_as_the_one_that_was_saved(policy, tmp_path):
    loaded = load_policy(policy.save(tmp_path / "policy"))
    np.testing.assert_array_equal(loaded(observations(5)), policy(observations(5)))
    assert loaded(observations(5)).std() > 0.01
    assert loaded.layout == LAYOUT and loaded.network.encoder.spec == policy.network.encoder.spec
    np.testing.assert_array_equal(loaded.scaler.center, SCALER.center)


def test_a_folder_says_where_its_policy_comes_from_and_keeps_saying_it(policy, tmp_path):
    first = facts_of(policy.save(tmp_path / "policy"))
    assert first["versions"]["torch"] == torch.__version__ and {"ftray", "numpy", "python"} < set(first["versions"])
    assert (first["dataset"], first["fold"]) == ("abc", 1)
    loaded = Policy.load(tmp_path / "policy")
    assert loaded.facts == {"dataset": "abc", "fold": 1, "versions": first["versions"]}
    assert facts_of(loaded.save(tmp_path / "again")) == first


def test_loading_draws_no_random_numbers(folder):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_policy(folder)
    assert torch.equal(torch.rand(1), expected)


def test_one_observation_gives_one_action_and_a_batch_a_batch(policy):
    batch = observations(3)
    assert policy(batch).shape == (3, 2) and policy(batch[0]).shape == (2,)
    np.testing.assert_allclose(policy(batch[0]), policy(batch)[0], atol=1e-6)
    batch[:, LAYOUT.features] = np.clip(100.0 * batch[:, LAYOUT.features], -SCALER.clip, SCALER.clip)
    assert np.abs(policy(batch)).max() <= 1.0


def test_it_observes_candles_as_it_did_in_training():
    market = SimulatorSpec(n_assets=2, n_bars=600)
    dataset = build_dataset(market, WindowsSpec(holding=6), FeatureSpec(lookback=8, indicators=("close", "rsi")))
    encoder = build_encoder(SPECS["mlp"], dataset.layout)
    policy = Policy(PolicyNetwork(encoder, policy_head(64, 2)), dataset.table.scaler, {})
    candles, account = load_market(market), np.array([0.5, 0.25, 0.25])
    last = np.array([len(candles) - 1])
    assert np.array_equal(policy.observe(candles, account), dataset.table.observation(last, account[None])[0])
    assert policy.observe(candles)[:3].tolist() == [1.0, 0.0, 0.0]
    few = dataclasses.replace(candles, times=candles.times[:9], values=candles.values[:9], regimes=None)
    with pytest.raises(DataError, match=r"needs \d+ bars without a gap: 8 of its lookback, .*; got 9$"):
        policy.observe(few)
    with pytest.raises(WeightsError, match="this policy trades"):
        policy.observe(dataclasses.replace(candles, symbols=("X", "Y")))
    with pytest.raises(DataError, match="cash and 2 holdings"):
        policy.observe(candles, [1.0, 0.0])


def test_saving_again_replaces_the_folder_whole(policy, tmp_path):
    policy.save(tmp_path / "policy")
    (tmp_path / "policy" / "policy.onnx").write_text("of an older one")
    policy.save(tmp_path / "policy")
    assert names(tmp_path) == {"policy"} and names(tmp_path / "policy") == {"policy.json", "weights.npz"}


@pytest.mark.long
def test_its_onnx_file_decides_the_same(exported):
    assert names(exported) == {"policy.json", "weights.npz", "policy.onnx"}
    assert facts_of(exported)["sha256"]["policy.onnx"] == sha256(exported / "policy.onnx")
    session = onnxruntime.InferenceSession(exported / "policy.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"observation": observations(5)})
    np.testing.assert_allclose(answer, load_policy(exported)(observations(5)), atol=1e-5)


def test_without_the_extra_nothing_but_the_onnx_file_is_lost_and_the_folder_says_why(policy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    folder = policy.save(tmp_path / "policy", onnx=True)
    assert names(folder) == {"policy.json", "weights.npz"}
    assert "pip install 'ftray[onnx]'" in facts_of(folder)["onnx_left_out"]
    np.testing.assert_array_equal(load_policy(folder)(observations(2)), policy(observations(2)))


def test_a_policy_loads_and_decides_where_ray_cannot_be_imported(folder, tmp_path):
    np.save(tmp_path / "observations.npy", observations(3))
    code = (
        "import sys; sys.modules['ray'] = None\nimport numpy as np, ftray\n"
        f"policy = ftray.load_policy({str(folder)!r})\n"
        f"np.save({str(tmp_path / 'actions.npy')!r}, policy(np.load({str(tmp_path / 'observations.npy')!r})))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), policy_of("ft")(observations(3)), atol=1e-6)


def test_an_observation_of_another_size_is_refused_with_both_sizes(policy):
    for wrong in (np.zeros(7), np.float32(0)):
        with pytest.raises(WeightsError, match=rf"observes {LAYOUT.size} floats, got the shape"):
            policy(wrong)
    with pytest.raises(DataError, match="must be finite"):
        policy(np.full(LAYOUT.size, np.nan))


def test_hashes_are_those_of_the_entries_as_they_stand(folder):
    facts = facts_of(folder)
    assert facts["sha256"] == {
        "weights.npz": sha256(folder / "weights.npz"),
        **{name: fingerprint(facts[name]) for name in ("layout", "encoder", "scaler", "actions")},
    }
    assert facts["encoder"] == json.loads(json.dumps(dataclasses.asdict(SPECS["ft"])))
