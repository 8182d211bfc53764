"""Whatever a GPU computes before and after learning mixes no tensors of two devices and gives the CPU's results."""

from typing import Any

import numpy as np
import pytest
import torch

from ftray.agent import vectors
from ftray.agent.vectors import acting, market_vectors, write_market_vectors
from ftray.nets import (
    Policy,
    PolicyNetwork,
    attention_data,
    build_encoder,
    export_onnx,
    load_market_weights,
    market_state_dict,
    weights_fingerprint,
)
from ftray.pretraining import EncoderCard, PretrainingSpec, pretrain, probes, trainer
from ftray.trading import MarketRules, TradingSpec
from ftray.trial.evaluation import Yardstick, evaluate
from tests.devices.policies import CPU, ENCODERS, FT, SHARING, full, observed, policy
from tests.devices.second_device import second_device


@pytest.mark.parametrize("spec", SHARING.values(), ids=list(SHARING))
def test_market_vectors_of_a_window(data, dataset, weights, spec, assert_alike):
    bars = dataset.table.decision_bars(dataset.windows.validation)

    def path(device: torch.device) -> Any:
        module = policy(data, weights, spec, device)
        return market_vectors(module.encoder, module.table, bars)

    assert_alike(path)


def test_the_file_of_a_frozen_encoders_vectors(dataset, weights, tmp_path, monkeypatch, assert_alike):
    def path(device: torch.device) -> Any:
        monkeypatch.setattr(vectors, "_capped_device", lambda gpus: device)
        (tmp_path / device.type).mkdir()
        return np.load(write_market_vectors(ENCODERS["late fusion, frozen"], weights, dataset, tmp_path / device.type))

    assert_alike(path)


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_an_evaluation(data, dataset, weights, spec, assert_alike):
    def path(device: torch.device) -> Any:
        module = policy(data, weights, spec, device)
        start = {name: value * 1.1 for name, value in market_state_dict(module.encoder).items()}
        result = evaluate(module, dataset, TradingSpec(), Yardstick(MarketRules()), start)
        assert result.backtest is not None
        return result.metrics, result.backtest.equity

    assert_alike(path, on_gpu=1e-2)


@pytest.mark.parametrize("spec", SHARING.values(), ids=list(SHARING))
def test_a_backtest_steps_without_the_gpu(data, dataset, weights, spec):
    seen = observed(dataset)
    bars, account = seen[:, 0].astype(np.int64), seen[:, 1:]
    expected = policy(data, weights, spec, CPU).act(bars, account)
    with second_device() as device:
        module = policy(data, weights, spec, device)
        tower = {name: (parameter, parameter.device) for name, parameter in module.encoder.named_parameters()}
        act = acting(module, dataset, np.unique(bars))
        assert {name: (p, p.device) for name, p in module.encoder.named_parameters()} == tower
    # Outside, a tensor of the second device could not even be made.
    np.testing.assert_allclose(act(bars, account), expected, rtol=1e-4, atol=1e-5)


def test_pretraining_to_its_card(dataset, tmp_path, monkeypatch, other):
    monkeypatch.setattr(probes, "PENALTIES", (1e-2,))  # their many small steps are the CPU's
    spec = PretrainingSpec(epochs=2, windows_per_epoch=64, batch_size=32, horizon=6, resample=0.1, dropout=0.0)

    def trained(device: torch.device) -> EncoderCard:
        monkeypatch.setattr(trainer, "pick_device", lambda *given, **more: device)
        card = pretrain(FT, spec, dataset, tmp_path / device.type)
        assert torch.load(card.path, weights_only=True)["encoder_state_dict"]["cls"].device == CPU
        return card

    expected = trained(CPU)
    with other() as device:
        found = trained(device)
    if device.type == "cuda":  # it draws other masks: what no training touches must agree
        assert found.validation_loss == pytest.approx(expected.validation_loss, rel=0.3)
        alike = [
            {kind: scores["pca"] for kind, scores in card.figures["reconstruction"].items()}
            for card in (found, expected)
        ]
        torch.testing.assert_close(*alike, rtol=1e-2, atol=1e-2)
        return
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
    # Adam turns rounding of a gradient near zero into a step.
    torch.testing.assert_close(found.figures, expected.figures, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("spec", [FT, ENCODERS["mlp"]], ids=str)
def test_weights_on_their_way_between_modules_and_files(dataset, spec, tmp_path, assert_alike):
    def path(device: torch.device) -> Any:
        torch.manual_seed(1)
        encoder, other = (build_encoder(spec, dataset.layout).to(device) for _ in range(2))
        torch.save({"encoder_state_dict": market_state_dict(encoder)}, tmp_path / "weights.pth")
        load_market_weights(other, tmp_path / "weights.pth")
        assert weights_fingerprint(market_state_dict(other)) == weights_fingerprint(market_state_dict(encoder))
        assert weights_fingerprint(other.tower) == weights_fingerprint(encoder.tower)
        return market_state_dict(other)

    assert_alike(path)


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_a_policy_is_exported(data, dataset, weights, spec, tmp_path, other):
    def path(device: torch.device) -> Any:
        module = policy(data, weights, spec, device)
        network = PolicyNetwork(module.encoder, module.policy_head)
        folder = Policy(network, dataset.table.scaler, {}).save(tmp_path / device.type)
        assert next(module.parameters()).device.type == device.type  # the trial continues where it was
        return folder

    with other() as device:
        there = path(device)
    seen, on_cpu = full(dataset), path(CPU)
    np.testing.assert_allclose(Policy.load(there)(seen), Policy.load(on_cpu)(seen), rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_an_encoder_is_exported_as_onnx_and_stays_where_it_is(dataset, tmp_path, other):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    with other() as device:
        encoder = build_encoder(FT, dataset.layout).to(device)
        export_onnx(encoder, tmp_path / "encoder.onnx")
        assert encoder.projection.weight.device.type == device.type


def test_what_an_encoder_looks_at(dataset, assert_alike):
    def path(device: torch.device) -> Any:
        torch.manual_seed(0)
        encoder = build_encoder(FT, dataset.layout).to(device)
        return attention_data(encoder, torch.from_numpy(full(dataset)).to(device))

    assert_alike(path)
