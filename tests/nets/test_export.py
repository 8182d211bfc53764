"""An exported file answers as the network it came from, for any batch, and says what it reads."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from ftray.errors import MissingDependencyError
from ftray.features import ObservationLayout
from ftray.nets import FTSpec, MLPSpec, PolicyNetwork, build_encoder, export_onnx, policy_head

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=14)
ENCODERS = {
    "late, patch 60": FTSpec(d_token=32, n_heads=2, encoding_dim=256),
    "forecasts": FTSpec(d_token=32, n_heads=2, encoding_dim=256, readout="forecasts"),
    "late, patch 12": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=12, activation_checkpointing=True),
    "early, patch 1": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=1, fusion="early"),
    "late, assets": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=5, readout="assets"),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}


def network(name: str) -> PolicyNetwork:
    torch.manual_seed(0)
    encoder = build_encoder(ENCODERS[name], LAYOUT)
    head = policy_head(encoder.encoding_dim, LAYOUT.n_assets)
    for parameter in (*encoder.parameters(), *head.parameters()):
        nn.init.normal_(parameter, std=0.2)
    return PolicyNetwork(encoder, head)


def session_of(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def assert_answers_equal(session, function):
    for batch in (1, 2, 5):
        observation = torch.randn(batch, LAYOUT.size, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = function(observation).numpy()
        assert expected.std() > 0.01
        (answer,) = session.run(None, {"observation": observation.numpy()})
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)


def test_the_no_trade_zone_of_a_policy_is_in_the_file(tmp_path):
    policy = network("mlp")
    policy.no_trade = 0.2
    session = session_of(export_onnx(policy, tmp_path / "policy.onnx"))
    observation = torch.randn(64, LAYOUT.size, generator=torch.Generator().manual_seed(0))
    holdings = torch.rand(64, LAYOUT.n_account, generator=torch.Generator().manual_seed(1))
    observation[:, LAYOUT.account] = holdings / holdings.sum(dim=1, keepdim=True)
    with torch.no_grad():
        expected = policy(observation).numpy()
    (answer,) = session.run(None, {"observation": observation.numpy()})
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)
    kept = np.isclose(answer, observation[:, LAYOUT.holdings], atol=1e-6)
    assert 0.05 < kept.mean() < 0.95


@pytest.mark.parametrize(
    "name", ["late, patch 12", "late, assets", "mlp", pytest.param("early, patch 1", marks=pytest.mark.long)]
)
def test_an_exported_policy_is_one_file_that_holds_the_layout_and_acts_as_the_policy(name, tmp_path):
    policy = network(name).train()
    session = session_of(export_onnx(policy, tmp_path / "policy.onnx"))
    assert policy.training
    assert_answers_equal(session, policy)
    assert [(put.name, put.shape[1:]) for put in (*session.get_inputs(), *session.get_outputs())] == [
        ("observation", [LAYOUT.size]),
        ("action", [LAYOUT.n_assets]),
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["policy.onnx"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert ObservationLayout.from_mapping(json.loads(metadata["layout"])) == LAYOUT


@pytest.mark.long
def test_an_exported_encoder_encodes_as_the_encoder(tmp_path):
    encoder = network("late, patch 60").encoder
    session = session_of(export_onnx(encoder, tmp_path / "encoder.onnx"))
    assert_answers_equal(session, encoder.encode)
    assert session.get_outputs()[0].name == "encoding"


class FixedBatch(nn.Module):
    """Reads its batch as a plain number, as `len` does."""

    def forward(self, encoding):
        return torch.zeros(len(encoding), 4) + encoding[:, :4]


def test_a_network_that_fixes_its_batch_is_refused_rather_than_exported_for_one_size(tmp_path):
    policy = PolicyNetwork(network("mlp").encoder, FixedBatch())
    with pytest.raises(RuntimeError, match="fixes its batch size"):
        export_onnx(policy, tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"package {package}, .* pip install 'ftray\[onnx\]'"):
        export_onnx(network("mlp"), tmp_path / "policy.onnx")
