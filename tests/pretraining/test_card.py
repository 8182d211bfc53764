import dataclasses
import html
import json

import numpy as np
import pytest
import torch

from ftray.errors import RunFolderError
from ftray.market import Window
from ftray.nets.masking import KINDS
from ftray.plots import describe_known_returns, describe_pooled, known_returns
from ftray.plots.encoders import write_encoder_page
from ftray.pretraining import pretrain, read_card
from ftray.pretraining.card import (
    FEWEST,
    FEWEST_BARS,
    MOST,
    MOST_BARS,
    RETURN_HORIZONS,
    Windows,
    exam_size,
    hashed,
    return_bars,
    returns_known,
)
from ftray.pretraining.probes import Bars
from ftray.pretraining.samples import draw_samples, thin
from ftray.pretraining.trainer import fresh_encoder
from tests.pretraining.conftest import ENCODER, SPEC


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    pretrain(ENCODER, SPEC, dataset, folder)
    return folder


@pytest.fixture(scope="module")
def card(folder):
    return json.loads((folder / "encoder_card.json").read_text())


def test_the_card_measures_every_mask_kind_against_every_baseline(card, dataset):
    found = card["figures"]["reconstruction"]
    assert tuple(found) == KINDS
    for scores in found.values():
        assert set(scores) == {"encoder", "mean", "last_value", "interpolation", "pca"}
        assert all(set(score["r2_by_indicator"]) == set(dataset.layout.indicators) for score in scores.values())


def test_the_card_probes_the_encoder_against_a_random_one_and_raw_features(card):
    assert set(card["figures"]["probes"]) == {"volatility", "return_sign", "regime"}
    for found in card["figures"]["probes"].values():
        assert set(found["skill"]) == {"encoder", "random_encoder", "raw_features"}
        assert all(gain["low"] <= gain["mean"] <= gain["high"] for gain in found["gain"].values())
    assert 1 <= card["figures"]["effective_rank"]["encoder"] <= ENCODER.d_token


def test_the_card_names_weights_data_and_windows(card, folder, dataset):
    assert card["dataset"] == dataset.fingerprint
    fit, validation = draw_samples(dataset, ENCODER, SPEC)
    first = dataset.candles.times[fit.bars[0] - dataset.layout.lookback + 1].astype("datetime64[s]")
    last = dataset.candles.times[validation.bars[-1] + SPEC.horizon].astype("datetime64[s]")
    assert (card["train_times"][0], card["validation_times"][1]) == (str(first), str(last))
    assert card["train_times"][1] < card["validation_times"][0]
    assert card["weights"] == read_card(folder).weights


def test_the_page_shows_what_the_card_says(card, folder):
    pytest.importorskip("plotly")
    write_encoder_page(folder)
    page = (folder / "encoder_card.html").read_text()
    assert card["weights"] in page
    assert all(f"Hidden {kind}" in page for kind in KINDS)
    assert all(html.escape(words) in page for words in (describe_pooled(card), describe_known_returns(card)))
    assert all(f"<td>{html.escape(cell)}</td>" in page for row in known_returns(card) for cell in row)


def test_a_damaged_card_says_what_to_do(tmp_path):
    (tmp_path / "DONE").touch()
    (tmp_path / "encoder_card.json").write_text('{"half')
    with pytest.raises(RunFolderError, match="delete the folder"):
        read_card(tmp_path)


def test_the_exam_stays_a_small_share_of_the_training():
    assert exam_size(100) == FEWEST
    assert exam_size(100_000) == 195
    assert exam_size(10_000_000) == MOST


def test_thinned_bars_span_the_same_time():
    assert thin(np.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert thin(np.arange(3), 4).tolist() == [0, 1, 2]


def known(dataset, spec=SPEC, n_bars=MOST_BARS):
    """What weights that nothing has trained know of returns."""
    torch.manual_seed(0)
    encoder, fresh = (fresh_encoder(ENCODER, spec, dataset.layout).eval() for _ in range(2))
    bars = Bars(*(part.bars for part in draw_samples(dataset, ENCODER, spec)))
    windows = Windows(dataset, torch.device("cpu"), spec.batch_size)
    return returns_known(encoder, fresh, windows, bars, spec.horizon, n_bars)


def test_the_card_probes_returns_with_the_pooled_vector_its_tokens_and_raw_features(card, dataset):
    found, layout = card["figures"]["returns"], dataset.layout
    assert tuple(found["horizons"]) == ("1", "4")  # of its last bars, hardly one is followed by 24 of their kind
    n_tokens, width = 1 + layout.n_series * 2, ENCODER.d_token
    assert found["n_inputs"] == {
        "encoder": width,
        "tokens": n_tokens * width,
        "random_encoder": width,
        "last_bar": layout.n_series,
        "window": layout.n_features,
    }
    for horizon in found["horizons"].values():
        assert set(horizon["skill"]) == set(found["n_inputs"])
        assert set(horizon["gain"]) == set(found["n_inputs"]) - {"encoder"}
        for interval in (*horizon["skill"].values(), *horizon["gain"].values()):
            assert interval["low"] <= interval["mean"] <= interval["high"]
        lost = horizon["skill"]["encoder"]["mean"] - horizon["skill"]["tokens"]["mean"]
        assert horizon["gain"]["tokens"]["mean"] == pytest.approx(lost)


PIECES = (Window(110, 500), Window(540, 600), Window(700, 790))


@pytest.mark.parametrize("train", [None, PIECES], ids=["one window", "pieces"])
def test_bars_outside_the_train_windows_have_no_influence_on_the_card(dataset, train):
    """Returns are probed over more bars than the encoder's own labels reach."""
    assert max(RETURN_HORIZONS) > SPEC.reach(ENCODER)
    windows = dataclasses.replace(dataset.windows, train=train or dataset.windows.train)
    dataset, spec = dataclasses.replace(dataset, windows=windows), dataclasses.replace(SPEC, validation=0.25)
    prices, features = dataset.candles.values.copy(), dataset.table.values.copy()
    outside = np.ones(len(prices), bool)
    for piece in windows.train:
        outside[piece.start : piece.stop] = False
    prices[outside] *= 7.0
    features[outside] += 3.0
    changed = dataclasses.replace(
        dataset,
        candles=dataclasses.replace(dataset.candles, values=prices),
        table=dataclasses.replace(dataset.table, values=features),
    )
    found, unchanged = known(changed, spec), known(dataset, spec)
    assert tuple(found["horizons"]) == tuple(map(str, RETURN_HORIZONS))
    for horizon, expected in unchanged["horizons"].items():
        for name, interval in expected["skill"].items():
            assert found["horizons"][horizon]["skill"][name] == pytest.approx(interval, abs=1e-6)


def test_a_return_of_a_train_window_has_an_influence_on_the_card(dataset):
    """So that the test above could fail."""
    prices = dataset.candles.values.copy()
    last = draw_samples(dataset, ENCODER, SPEC)[1].bars[-1] + 4  # the end of the longest return that is probed
    prices[last] *= 1.2
    changed = dataclasses.replace(dataset, candles=dataclasses.replace(dataset.candles, values=prices))
    assert known(changed)["horizons"] != known(dataset)["horizons"]


def test_bars_whose_returns_reach_out_of_the_train_windows_are_left_out(dataset):
    spec = dataclasses.replace(SPEC, validation=0.3)
    reach, expected = max(RETURN_HORIZONS), []
    segment = np.concatenate([np.full(len(part), i) for i, part in enumerate(dataset.candles.segments)])
    for part in draw_samples(dataset, ENCODER, spec):
        last = part.bars[-1] + spec.reach(ENCODER)
        expected.append(sum(bar + reach <= last and segment[bar] == segment[bar + reach] for bar in part.bars))
        assert expected[-1] < len(part)
    assert known(dataset, spec)["n_bars"] == dict(zip(("fit", "scored"), expected, strict=True))


def test_a_horizon_that_no_bar_is_followed_by_is_left_out(dataset):
    narrow = dataclasses.replace(dataset.windows, train=(Window(110, 430), Window(540, 570)))
    found = known(dataclasses.replace(dataset, windows=narrow), dataclasses.replace(SPEC, validation=30 / 350))
    assert tuple(found["horizons"]) == ("1", "4")


def test_no_more_bars_than_asked_for_probe_returns(dataset):
    assert known(dataset, n_bars=20)["n_bars"] == {"fit": 20, "scored": 20}
    assert (return_bars(100), return_bars(8192), return_bars(10**6)) == (FEWEST_BARS, 1024, MOST_BARS)


def test_hashing_keeps_narrow_vectors_and_the_inner_products_of_wide_ones():
    vectors = torch.randn(20, 5_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hashed(vectors, 5_000), vectors)
    narrow = hashed(vectors, 1_000)
    assert narrow.shape == (20, 1_000)
    error = (narrow @ narrow.mT - vectors @ vectors.mT) / 5_000
    assert error.abs().max() < 6 / 1_000**0.5
    assert torch.equal(narrow, torch.cat([hashed(part, 1_000) for part in vectors.split(7)]))


def test_cards_without_probes_of_returns_still_have_a_page(card, folder, tmp_path):
    """Those of earlier versions."""
    pytest.importorskip("plotly")
    earlier = {**card, "figures": {name: found for name, found in card["figures"].items() if name != "returns"}}
    assert known_returns(earlier) == []
    assert describe_pooled(earlier) == "What the pooled vector knows of coming returns was not measured."
    (tmp_path / "encoder_card.json").write_text(json.dumps(earlier))
    (tmp_path / "training_history.json").write_text((folder / "training_history.json").read_text())
    write_encoder_page(tmp_path)
    assert "pooled vector" not in (tmp_path / "encoder_card.html").read_text()
