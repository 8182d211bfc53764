"""A policy folder holds all it takes to decide, and says what is wrong with it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ftray.errors import DataError, WeightsError
from ftray.features import ObservationLayout, Scaler
from ftray.nets import FTSpec, MLPSpec, Policy, PolicyNetwork, build_encoder, policy_head

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "volume", "rsi"), 8)
SCALER = Scaler(np.arange(6.0), np.full(6, 2.0), 8.0)
SPECS = {
    "ft": FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}


@pytest.fixture(params=SPECS)
def policy(request) -> Policy:
    torch.manual_seed(0)
    spec = SPECS[request.param]
    head = policy_head(spec.encoding_dim, 2)
    torch.nn.init.normal_(head[-1].weight)
    return Policy(PolicyNetwork(build_encoder(spec, LAYOUT), head), SCALER, {"dataset": "abc", "torch": "2"})


def observations(n: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, LAYOUT.size)).astype(np.float32)


def test_a_loaded_policy_decides_as_the_one_that_was_saved(policy, tmp_path):
    loaded = Policy.load(policy.save(tmp_path / "policy"))
    np.testing.assert_array_equal(loaded(observations(5)), policy(observations(5)))
    assert loaded(observations(5)).std() > 0.01
    assert loaded.layout == LAYOUT and loaded.facts == {"dataset": "abc", "torch": "2"}
    np.testing.assert_array_equal(loaded.scaler.center, SCALER.center)


def test_one_observation_gives_one_action_and_a_batch_a_batch(policy):
    batch = observations(3)
    assert policy(batch).shape == (3, 2) and policy(batch[0]).shape == (2,)
    np.testing.assert_allclose(policy(batch[0]), policy(batch)[0], atol=1e-6)
    assert np.abs(policy(100 * batch)).max() <= 1.0


def test_saving_again_replaces_the_folder_whole(policy, tmp_path):
    policy.save(tmp_path / "policy")
    policy.save(tmp_path / "policy")
    assert {path.name for path in tmp_path.iterdir()} == {"policy"}
    assert {path.name for path in (tmp_path / "policy").iterdir()} == {"policy.json", "weights.npz"}


def test_a_policy_loads_where_ray_cannot_be_imported(policy, tmp_path):
    policy.save(tmp_path / "policy")
    code = (
        "import sys; sys.modules['ray'] = None\nimport numpy as np, ftray\n"
        f"policy = ftray.load_policy({str(tmp_path / 'policy')!r})\n"
        f"assert policy(np.zeros({LAYOUT.size}, np.float32)).shape == (2,)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_observation_of_another_size_is_refused_with_both_sizes(policy):
    for wrong in (np.zeros(7), np.float32(0)):
        with pytest.raises(WeightsError, match=rf"observes {LAYOUT.size} floats, got the shape"):
            policy(wrong)
    with pytest.raises(DataError, match="must be finite"):
        policy(np.full(LAYOUT.size, np.nan))


def test_what_is_wrong_with_a_folder_is_said(policy, tmp_path):
    with pytest.raises(WeightsError, match=r"policy\.json is missing"):
        Policy.load(tmp_path / "nowhere")
    folder = policy.save(tmp_path / "policy")
    facts = json.loads((folder / "policy.json").read_text())

    (folder / "policy.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(WeightsError, match="another version of ftray"):
        Policy.load(folder)
    (folder / "policy.json").write_text("{")
    with pytest.raises(WeightsError, match="no policy that can be read"):
        Policy.load(folder)
    (folder / "policy.json").write_text(json.dumps({k: v for k, v in facts.items() if k != "scaler"}))
    with pytest.raises(WeightsError, match="scaler"):
        Policy.load(folder)
    (folder / "policy.json").write_text(json.dumps(facts))
    weights = folder / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(WeightsError, match=r"weights\.npz is damaged"):
        Policy.load(folder)
