import dataclasses

import pytest
import torch

from ftray.errors import WeightsError
from ftray.features import ObservationLayout
from ftray.nets import FTSpec, MLPSpec, build_encoder, load_market_weights, market_state_dict, weights_fingerprint

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi"), lookback=6)
SPEC = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=3)


def encoder(seed=0, layout=LAYOUT, **changes):
    torch.manual_seed(seed)
    return build_encoder(dataclasses.replace(SPEC, **changes), layout)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "best_encoder.pth"
    torch.save({"encoder_state_dict": market_state_dict(encoder(0)), "layout": LAYOUT.to_mapping()}, path)
    return path


def test_loaded_weights_give_the_same_market_vector(checkpoint):
    windows, target = torch.randn(3, 4, 6), encoder(1)
    assert not torch.equal(encoder(0).market(windows), target.market(windows))
    load_market_weights(target, checkpoint)
    assert torch.equal(encoder(0).market(windows), target.market(windows))
    assert weights_fingerprint(market_state_dict(target)) == weights_fingerprint(market_state_dict(encoder(0)))


def test_queries_of_assets_travel_with_the_market_tower_and_fit_no_other_readout():
    ours, target, windows = encoder(0, readout="assets"), encoder(1, readout="assets"), torch.randn(3, 4, 6)
    state = market_state_dict(ours)
    load_market_weights(target, state)
    assert torch.equal(ours.market(windows), target.market(windows))
    assert torch.equal(state["readout.queries"], ours.tower.readout.queries)
    assert {"readout.queries", "readout.attention.query.weight", "readout.norm.weight"} <= set(state)
    with pytest.raises(WeightsError, match="readout assets there, cls here"):
        load_market_weights(encoder(0), state)


def test_a_tower_that_reads_cls_has_no_weights_of_a_readout_and_starts_as_if_there_was_none():
    by_cls, by_assets = (market_state_dict(encoder(0, readout=readout)) for readout in ("cls", "assets"))
    assert {name.partition(".")[0] for name in by_cls} == {
        *("tokenizer", "cls", "blocks", "norm"),
        *("patch_length", "n_heads"),
    }
    assert all(torch.equal(value, by_assets[name]) for name, value in by_cls.items())


def test_the_market_tower_fits_whatever_the_head_and_the_fusion(checkpoint):
    load_market_weights(encoder(1, encoding_dim=512, fusion="early"), checkpoint)


def test_account_rows_and_projection_stay_with_the_trial(checkpoint):
    target = encoder(1)
    before = {n: p.clone() for n, p in target.named_parameters() if not n.startswith("tower.")}
    load_market_weights(target, checkpoint)
    assert before
    assert all(torch.equal(before[name], dict(target.named_parameters())[name]) for name in before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d_token": 64}, "d_token 32 there, 64 here"),
        ({"patch_length": 2}, "patch_length 3 there, 2 here"),
        ({"patch_length": 4}, "patch_length 3 there, 4 here"),  # the same shapes
        ({"n_heads": 4}, "n_heads 2 there, 4 here"),  # the same shapes
        ({"n_blocks": 2}, "n_blocks 1 there, 2 here"),
        ({"readout": "assets"}, "readout cls there, assets here"),
        ({"d_token": 64, "n_blocks": 4}, "d_token 32 there, 64 here; n_blocks 1 there, 4 here"),
    ],
)
def test_weights_of_another_shape_are_refused_by_the_fields_that_differ(checkpoint, changes, words):
    target = encoder(1, **changes)
    before = weights_fingerprint(target)
    with pytest.raises(WeightsError) as caught:
        load_market_weights(target, checkpoint)
    problem = str(caught.value)
    assert problem.startswith(f"{checkpoint}: the weights do not fit the encoder: {words}. ")
    assert "tokenizer" not in problem and "blocks." not in problem
    assert weights_fingerprint(target) == before


def test_weights_of_another_market_are_refused(checkpoint):
    with pytest.raises(WeightsError, match="symbols BTC, ETH there, BTC, LTC here"):
        load_market_weights(encoder(1, ObservationLayout(("BTC", "LTC"), ("close", "rsi"), 6)), checkpoint)
    with pytest.raises(WeightsError, match="indicators close, rsi there, rsi, close here"):
        load_market_weights(encoder(1, ObservationLayout(("BTC", "ETH"), ("rsi", "close"), 6)), checkpoint)


def test_unexpected_weights_are_named_and_not_skipped():
    state = market_state_dict(encoder()) | {"blocks.0.extra": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"unexpected in the weights: blocks\.0\.extra"):
        load_market_weights(encoder(), state)


def test_weights_of_one_family_are_refused_by_another(checkpoint):
    with pytest.raises(WeightsError, match="the encoder: kind ft there, mlp here"):
        load_market_weights(build_encoder(MLPSpec(hidden=64, encoding_dim=64), LAYOUT), checkpoint)


def test_of_weights_that_no_field_explains_the_first_three_are_named():
    state = market_state_dict(encoder()) | {f"memory.{i}": torch.zeros(1) for i in range(40)}
    with pytest.raises(WeightsError, match=r"unexpected in the weights: memory.0, memory.1, memory.10 and 37 more\. "):
        load_market_weights(encoder(), state)


def test_missing_and_damaged_files_are_named(tmp_path, checkpoint):
    with pytest.raises(WeightsError, match=r"nowhere.pth: no such checkpoint"):
        load_market_weights(encoder(), tmp_path / "nowhere.pth")
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"damaged.pth: damaged"):
        load_market_weights(encoder(), damaged)
    damaged.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"damaged.pth: damaged"):
        load_market_weights(encoder(), damaged)
    torch.save({"weights": 1}, damaged)
    with pytest.raises(WeightsError, match="encoder_state_dict"):
        load_market_weights(encoder(), damaged)
    torch.save({"encoder_state_dict": {"cls": 1}}, damaged)
    with pytest.raises(WeightsError, match=r"damaged.pth: encoder_state_dict must be a mapping of names to tensors"):
        load_market_weights(encoder(), damaged)


def test_a_fingerprint_sees_names_shapes_and_bytes():
    state = {"a": torch.arange(4.0)}
    others = [{"b": torch.arange(4.0)}, {"a": torch.arange(4.0).reshape(2, 2)}, {"a": torch.arange(4.0) + 1e-7}]
    prints = {weights_fingerprint(s) for s in (state, *others, {"a": torch.arange(4)})}
    assert len(prints) == 5
    assert weights_fingerprint({"a": torch.arange(4.0)}) == weights_fingerprint(state)
