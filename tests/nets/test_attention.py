"""Attention maps are those that the encoder attends with, and their shares add up."""

import json

import pytest
import torch
from torch import nn

from ftray.features import ObservationLayout
from ftray.nets import FTSpec, FTTransformer, MLPSpec, attention_data, build_encoder

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=7)


def encoder(**changes) -> FTTransformer:
    torch.manual_seed(0)
    spec = FTSpec(**{"d_token": 32, "n_blocks": 2, "n_heads": 4, "encoding_dim": 256, "patch_length": 3} | changes)
    model = FTTransformer(spec, LAYOUT)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def observations(n=5):
    return torch.randn(n, LAYOUT.size, generator=torch.Generator().manual_seed(1))


VARIANTS = {
    "late": {},
    "early": {"fusion": "early"},
    "one token per feature": {"patch_length": 1},
    "assets": {"readout": "assets"},
    "assets early": {"readout": "assets", "fusion": "early"},
}


@pytest.fixture(params=VARIANTS)
def model(request):
    return encoder(**VARIANTS[request.param])


def test_a_map_for_every_block_and_head_has_a_row_per_query_and_sums_to_one(model):
    maps, n_tokens = model.attention(observations()[0]), len(model.token_names)
    assert maps.shape == (2, 4, n_tokens, n_tokens)
    assert not maps.requires_grad
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 4, n_tokens))


def test_several_observations_have_the_maps_of_each(model):
    together = model.attention(observations())
    torch.testing.assert_close(together[3], model.attention(observations()[3]))


def test_the_row_of_cls_alone_is_the_first_of_all_rows(model):
    cls = model.attention(observations(), cls_only=True)
    torch.testing.assert_close(cls, model.attention(observations())[..., :1, :])


def test_the_maps_are_those_that_the_blocks_attend_with(model):
    """Tokens mixed with the maps by hand are what the encoder's last block, which never holds a map, reads."""
    windows, account = model.split(observations())
    maps, x = model.attention(observations()), model.tower._with_cls(model._embed(windows, account))
    for i, block in enumerate(model.tower.blocks):
        layer, normed = block.attention, block.attention_norm(x)
        values = layer.value(normed).unflatten(-1, (4, -1))
        mixed = torch.einsum("bhqk,bkhd->bqhd", maps[:, i], values)
        x = x + layer.output(mixed.flatten(-2))
        x = x + block.feed_forward(block.feed_forward_norm(x))
    expected = model.tower(model._embed(windows, account))
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_the_rows_of_the_readout_are_those_that_its_queries_read_with(fusion):
    model = encoder(readout="assets", fusion=fusion)
    rows, readout = model.readout_attention(observations()), model.tower.readout
    assert rows.shape == (5, 4, 2, len(model.token_names)) and not rows.requires_grad
    torch.testing.assert_close(rows.sum(dim=-1), torch.ones(5, 4, 2))
    torch.testing.assert_close(model.readout_attention(observations()[3]), rows[3])
    tokens = model.tower.norm(model.tower(model._embed(*model.split(observations()))))
    values = readout.attention.value(tokens).unflatten(-1, (4, -1))
    mixed = torch.einsum("bhqk,bkhd->bqhd", rows, values).flatten(-2)
    expected = readout.norm(readout.attention.output(mixed)).flatten(1)
    torch.testing.assert_close(readout(tokens), expected, rtol=1e-4, atol=1e-5)


def test_a_readout_without_queries_has_no_rows_of_its_own():
    with pytest.raises(TypeError, match="readout cls has no query per asset"):
        encoder().readout_attention(observations())


def test_tokens_are_named_by_series_and_bars():
    assert encoder(patch_length=3).token_names[:4] == (
        "[CLS]",
        "close[BTC, t-6..t-4]",
        "close[BTC, t-3..t-1]",
        "close[BTC, t-0]",
    )
    assert encoder(patch_length=60).token_names[1] == "close[BTC, t-6..t-0]"
    assert encoder(patch_length=1).token_names[-1] == "macd[ETH, t-0]"
    early = encoder(fusion="early", patch_length=60).token_names
    assert early[:5] == ("[CLS]", "cash", "holding[BTC]", "holding[ETH]", "close[BTC, t-6..t-0]")


@pytest.mark.parametrize("patch_length", range(1, 8))
def test_every_token_has_a_name_of_its_own(patch_length):
    names = encoder(patch_length=patch_length).token_names
    assert len(set(names)) == len(names) == 1 + 6 * -(-7 // patch_length)


def test_shares_of_attention_add_up(model):
    data = attention_data(model, observations())
    rest = data["account"] + data["cls"]
    assert sum(data["tokens"].values()) == pytest.approx(1.0)
    assert sum(data["assets"].values()) + rest == pytest.approx(1.0)
    assert sum(data["indicators"].values()) + rest == pytest.approx(1.0)
    assert sum(row["ETH"] for row in data["series"].values()) == pytest.approx(data["assets"]["ETH"])
    assert sum(data["series"]["rsi"].values()) == pytest.approx(data["indicators"]["rsi"])
    of_rsi_btc = [share for name, share in data["tokens"].items() if name.startswith("rsi[BTC")]
    assert sum(of_rsi_btc) == pytest.approx(data["series"]["rsi"]["BTC"])
    assert (data["account"] > 0.0) == (model.spec.fusion == "early")
    assert json.loads(json.dumps(data)) == data


def test_shares_are_means_over_blocks_or_queries_heads_and_observations(model, monkeypatch):
    monkeypatch.setattr("ftray.nets.attention.CHUNK", 2)
    by_assets = model.spec.readout == "assets"
    rows = model.readout_attention(observations()) if by_assets else model.attention(observations())[..., 0, :]
    shares = rows.mean(dim=(0, 1, 2))
    data = attention_data(model, observations())
    assert list(data["tokens"].values()) == pytest.approx(shares.tolist(), rel=1e-5)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_attention_to_one_series_is_measured(fusion):
    model = encoder(n_blocks=1, fusion=fusion)
    tower = model.tower
    with torch.no_grad():
        for parameter in (tower.tokenizer.weight, tower.tokenizer.bias, model.account_bias, model.account_weight):
            parameter.zero_()
        tower.tokenizer.bias[LAYOUT.series("rsi", "ETH")] = 1.0
        attention = tower.blocks[0].attention
        attention.query.weight.zero_()
        attention.query.bias.fill_(3.0)
        attention.key.weight.copy_(torch.eye(32))
        tower.cls.zero_()
    data = attention_data(model, observations())
    assert data["series"]["rsi"]["ETH"] > 0.99
    assert max(data["assets"], key=data["assets"].get) == "ETH"
    assert max(data["indicators"], key=data["indicators"].get) == "rsi"


def test_attention_of_an_assets_query_to_one_series_is_measured():
    model = encoder(n_blocks=1, readout="assets")
    tower, row = model.tower, LAYOUT.series("rsi", "ETH")
    with torch.no_grad():
        for parameter in (
            *tower.tokenizer.parameters(),
            *tower.blocks.parameters(),
            *tower.norm.parameters(),
            tower.cls,
        ):
            parameter.zero_()
        tower.norm.weight.fill_(1.0)
        tower.tokenizer.bias[row, :, 0] = 1.0
        attention = tower.readout.attention
        for layer in (attention.query, attention.key):
            layer.weight.copy_(torch.eye(32))
        attention.query.bias.zero_()
        tower.readout.queries.zero_()
        tower.readout.queries[1, 0] = 30.0  # of head 0 alone
    rows = model.readout_attention(observations())[:, 0].mean(dim=0)  # (asset, token)
    shares = dict(zip(model.token_names, rows[1].tolist(), strict=True))
    assert sum(share for name, share in shares.items() if name.startswith("rsi[ETH")) > 0.99
    torch.testing.assert_close(rows[0], torch.full_like(rows[0], 1 / len(shares)))


def test_an_mlp_pays_no_attention():
    with pytest.raises(TypeError, match="only an FT-Transformer pays attention, got a MLPEncoder"):
        attention_data(build_encoder(MLPSpec(hidden=64, encoding_dim=64), LAYOUT), observations())
