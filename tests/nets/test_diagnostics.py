"""An encoder's diagnostics are the figures that their names say, checked on maps worked out by hand."""

import json
import math

import pytest
import torch
from torch import nn

from ftray.errors import WeightsError
from ftray.features import ObservationLayout
from ftray.nets import FTSpec, FTTransformer, MLPSpec, build_encoder, market_state_dict
from ftray.nets.diagnostics import encoder_metrics, weight_drift

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=7)
VARIANTS = {"late": {}, "early": {"fusion": "early"}, "one token per feature": {"patch_length": 1}}
BY_ASSETS = {"assets": {"readout": "assets"}, "assets early": {"readout": "assets", "fusion": "early"}}
ASSETS = [f"attention/asset/{symbol}" for symbol in LAYOUT.symbols]
INDICATORS = [f"attention/indicator/{name}" for name in LAYOUT.indicators]


def encoder(**changes) -> FTTransformer:
    torch.manual_seed(0)
    spec = FTSpec(**{"d_token": 32, "n_blocks": 2, "n_heads": 4, "encoding_dim": 256, "patch_length": 3} | changes)
    model = FTTransformer(spec, LAYOUT)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def windows(n: int = 5) -> torch.Tensor:
    return torch.randn(n, LAYOUT.n_series, LAYOUT.lookback, generator=torch.Generator().manual_seed(1))


def all_cash(windows: torch.Tensor) -> torch.Tensor:
    """Full observations around the windows, in an order of their own: cash, no holdings, features."""
    account = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(windows), -1)
    return torch.cat([account, windows.reshape(len(windows), -1)], dim=1)


@pytest.fixture(params=VARIANTS)
def model(request) -> FTTransformer:
    return encoder(**VARIANTS[request.param])


def test_entropy_and_shares_are_those_of_the_maps(model):
    metrics, maps = encoder_metrics(model, windows()), model.attention(all_cash(windows()))
    rows = maps[..., 0, :].double()
    entropy = -(rows * rows.log()).sum(-1).mean() / math.log(len(model.token_names))
    assert metrics["attention_entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    last = dict(zip(model.token_names, rows[:, -1].mean(dim=(0, 1)).tolist(), strict=True))
    market = {name: share for name, share in last.items() if name.partition("[")[0] in LAYOUT.indicators}
    for key, inside in zip((*ASSETS, *INDICATORS), ("[BTC,", "[ETH,", "close[", "rsi[", "macd["), strict=True):
        share = sum(share for name, share in market.items() if inside in name) / sum(market.values())
        assert metrics[key] == pytest.approx(share, rel=1e-5), key


@pytest.mark.parametrize("changes", BY_ASSETS.values(), ids=BY_ASSETS)
def test_with_a_query_per_asset_entropy_and_shares_are_those_of_all_queries(changes):
    model = encoder(**changes)
    metrics, rows = encoder_metrics(model, windows()), model.readout_attention(all_cash(windows())).double()
    entropy = -(rows * rows.log()).sum(-1).mean() / math.log(len(model.token_names))
    assert metrics["attention_entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    shares = dict(zip(model.token_names, rows.mean(dim=(0, 1, 2)).tolist(), strict=True))
    market = {name: share for name, share in shares.items() if name.partition("[")[0] in LAYOUT.indicators}
    of_eth = sum(share for name, share in market.items() if "[ETH," in name) / sum(market.values())
    assert metrics["attention/asset/ETH"] == pytest.approx(of_eth, rel=1e-5)
    assert sum(metrics[name] for name in INDICATORS) == pytest.approx(1.0)


def test_each_family_of_shares_sums_to_one_and_all_are_plain_numbers(model):
    metrics = encoder_metrics(model, windows())
    assert sum(metrics[name] for name in ASSETS) == pytest.approx(1.0)
    assert sum(metrics[name] for name in INDICATORS) == pytest.approx(1.0)
    assert set(metrics) == {"attention_entropy", "token_norm", *ASSETS, *INDICATORS}
    assert json.loads(json.dumps(metrics)) == metrics


def test_entropy_is_one_for_equal_attention_and_zero_for_attention_to_one_token():
    model = encoder(n_blocks=1)
    attention = model.tower.blocks[0].attention
    with torch.no_grad():
        attention.query.weight.zero_()
        attention.query.bias.zero_()
    metrics = encoder_metrics(model, windows())
    assert metrics["attention_entropy"] == pytest.approx(1.0, abs=1e-6)
    assert [metrics[name] for name in INDICATORS] == pytest.approx([1 / 3] * 3)
    with torch.no_grad():  # queries of ones; keys are the tokens themselves, of which a single patch is loud
        attention.query.bias.fill_(10.0)
        attention.key.weight.copy_(torch.eye(32))
        for parameter in (model.tower.tokenizer.weight, model.tower.tokenizer.bias, model.tower.cls):
            parameter.zero_()
        model.tower.tokenizer.bias[LAYOUT.series("rsi", "ETH"), 1] = 1.0
    metrics = encoder_metrics(model, windows())
    assert metrics["attention_entropy"] < 1e-6
    assert metrics["attention/asset/ETH"] == pytest.approx(1.0) == metrics["attention/indicator/rsi"]


def test_the_token_norm_is_the_mean_over_tokens_and_windows(model):
    tokens = model.tower.tokenizer(windows())
    expected = tokens.square().sum(dim=-1).sqrt().mean().item()
    assert encoder_metrics(model, windows())["token_norm"] == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        model.tower.tokenizer.weight.mul_(2.0)
        model.tower.tokenizer.bias.mul_(2.0)
    assert encoder_metrics(model, windows())["token_norm"] == pytest.approx(2.0 * expected, rel=1e-5)


def test_many_windows_are_processed_a_few_at_a_time_with_the_same_metrics(model, monkeypatch):
    whole, sizes, attention = encoder_metrics(model, windows()), [], FTTransformer.attention

    def watched(self, observation, *, cls_only=False):
        sizes.append((len(observation), cls_only))
        return attention(self, observation, cls_only=cls_only)

    monkeypatch.setattr(FTTransformer, "attention", watched)
    for module in ("attention", "diagnostics"):
        monkeypatch.setattr(f"ftray.nets.{module}.CHUNK", 2)
    assert encoder_metrics(model, windows()) == pytest.approx(whole, rel=1e-5)
    assert sizes == [(2, True), (2, True), (1, True)]


def test_windows_gathered_from_a_table_are_read_like_any_others():
    model, given = encoder(), windows()
    gathered = given.transpose(1, 2).contiguous().transpose(1, 2)  # bar by bar in memory, as gather_windows leaves them
    assert encoder_metrics(model, gathered) == encoder_metrics(model, given)


def test_diagnostics_leave_no_gradients_behind(model):
    encoder_metrics(model, windows())
    weight_drift(model, market_state_dict(model))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_an_encoder_without_attention_has_no_such_metrics():
    assert encoder_metrics(build_encoder(MLPSpec(hidden=64, encoding_dim=64), LAYOUT), windows()) == {}


@pytest.mark.parametrize("spec", [FTSpec(d_token=32, n_heads=2, encoding_dim=256), MLPSpec(hidden=64, encoding_dim=64)])
def test_drift_is_the_distance_from_the_start_over_the_starts_own_length(spec):
    model = build_encoder(spec, LAYOUT)
    start = market_state_dict(model)
    assert weight_drift(model, start) == 0.0
    with torch.no_grad():
        for parameter in model.tower.parameters():
            parameter.mul_(1.25)
        for parameter in set(model.parameters()) - set(model.tower.parameters()):
            parameter.add_(100.0)  # account rows and projection belong to the trial: no drift
    assert weight_drift(model, start) == pytest.approx(0.25, rel=1e-5)
    model.tower.load_state_dict({name: start[name] for name in model.tower.state_dict()})
    length = torch.cat([parameter.detach().flatten() for parameter in model.tower.parameters()]).norm().item()
    with torch.no_grad():
        next(model.tower.parameters()).view(-1)[0] += 3.0
    assert weight_drift(model, start) == pytest.approx(3.0 / length, rel=1e-4)


def test_drift_from_another_towers_weights_is_refused_with_the_name_and_both_shapes():
    model, start = encoder(), market_state_dict(encoder())
    with pytest.raises(WeightsError, match=r"cls has the shape \(32,\) and is of the shape \(64,\) in the start"):
        weight_drift(model, start | {"cls": torch.zeros(64)})
    with pytest.raises(WeightsError, match=r"norm\.bias has the shape \(32,\) and is missing in the start"):
        weight_drift(model, {name: value for name, value in start.items() if name != "norm.bias"})
