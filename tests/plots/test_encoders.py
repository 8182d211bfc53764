"""An encoder card's plots, and their page."""

import json
import sys

import pytest

from ftray.errors import MissingDependencyError
from ftray.plots.encoders import (
    describe_encoder,
    encoder_page,
    plot_history,
    plot_probes,
    plot_reconstruction,
    write_encoder_page,
)

SCORES = {"mse": 0.4, "r2": 0.5, "r2_by_indicator": {"close": 0.9, "still": None}}
CARD = {
    "weights": "w" * 64,
    "dataset": "<data>",
    "train_times": ["2020", "2022"],
    "validation_times": ["2022", "2023"],
    "best_epoch": 2,
    "epochs": 3,
    "validation_loss": 0.25,
    "figures": {
        "reconstruction": {"cells": {"encoder": SCORES, "mean": SCORES, "pca": SCORES}},
        "probes": {
            "volatility": {"skill": {}, "gain": {"raw_features": {"mean": 0.3, "low": 0.1, "high": 0.4}}},
            "regime": {"skill": {}, "gain": {"raw_features": None}},
        },
        "effective_rank": {"encoder": 12.5},
    },
}
HISTORY = [{"epoch": i, "train_loss": 1 / i, "validation_loss": 2 / i, "seconds": 1.0} for i in (1, 2, 3)]


def test_a_bar_per_indicator_and_predictor_and_none_for_the_mean():
    pytest.importorskip("plotly")
    traces = plot_reconstruction(CARD, "cells").data
    assert [trace.name for trace in traces] == ["encoder", "pca"]
    assert list(traces[0].x) == ["close", "still"]


def test_gains_have_their_intervals_and_probes_without_answer_are_left_out():
    pytest.importorskip("plotly")
    (trace,) = plot_probes(CARD).data
    assert list(trace.x) == ["volatility"]
    assert trace.error_y.array[0] == pytest.approx(0.1)
    assert trace.error_y.arrayminus[0] == pytest.approx(0.2)


def test_the_history_shows_losses_alone():
    pytest.importorskip("plotly")
    assert {trace.name for trace in plot_history(HISTORY).data} == {"train loss", "validation loss"}


def test_the_page_needs_no_network_and_escapes_what_it_is_given():
    pytest.importorskip("plotly")
    page = encoder_page(CARD, HISTORY)
    assert "&lt;data&gt;" in page
    assert "<script src" not in page


def test_without_plotly_a_job_has_no_page_and_a_line_in_its_log_says_why(tmp_path, monkeypatch):
    (tmp_path / "encoder_card.json").write_text(json.dumps(CARD))
    (tmp_path / "training_history.json").write_text(json.dumps(HISTORY))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "plotly.graph_objects", None)
        write_encoder_page(tmp_path)
    assert "pip install 'ftray[plots]'" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "encoder_card.html").exists()
    pytest.importorskip("plotly")
    write_encoder_page(tmp_path)
    assert "&lt;data&gt;" in (tmp_path / "encoder_card.html").read_text()


def test_without_plotly_the_error_holds_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ftray\[plots\]'"):
        encoder_page(CARD, HISTORY)


def test_a_sentence_says_where_the_encoder_beats_the_baselines():
    worse = SCORES | {"r2": 0.25}
    probes = CARD["figures"]["probes"]
    won = CARD | {"figures": {"reconstruction": {"cells": {"encoder": SCORES, "mean": worse}}, "probes": probes}}
    assert describe_encoder(won) == "The encoder beats every baseline: on hidden cells, the volatility probe."
    assert describe_encoder(CARD) == (
        "The encoder beats the baselines on the volatility probe, but not on hidden cells."
    )
    gain = {"raw_features": {"mean": 0.1, "low": -0.1, "high": 0.3}}
    lost = CARD | {"figures": {"probes": {"volatility": {"gain": gain}}}}
    assert describe_encoder(lost) == "The encoder does not beat the baselines: not on the volatility probe."
    assert "was not measured" in describe_encoder(CARD | {"figures": None})


def test_few_epochs_have_whole_ticks():
    pytest.importorskip("plotly")
    assert plot_history(HISTORY).layout.xaxis.dtick == 1
