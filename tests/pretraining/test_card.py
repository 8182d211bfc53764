import json

import numpy as np
import pytest

from ftray.errors import RunFolderError
from ftray.nets.masking import KINDS
from ftray.plots.encoders import write_encoder_page
from ftray.pretraining import pretrain, read_card
from ftray.pretraining.card import FEWEST, MOST, exam_size
from ftray.pretraining.samples import draw_samples, thin
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
