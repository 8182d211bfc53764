import dataclasses
import math

import numpy as np
import pytest
import torch

from ftray.pretraining.probes import (
    BEAR,
    BULL,
    SIDEWAYS,
    Bars,
    block_bootstrap,
    effective_rank,
    probe,
    regime,
    return_sign,
)
from ftray.pretraining.samples import draw_samples, log_volatility
from tests.pretraining.conftest import ENCODER, SPEC

HORIZON = SPEC.horizon


@pytest.fixture(scope="module")
def bars(dataset):
    fit, validation = draw_samples(dataset, ENCODER, SPEC)
    return Bars(fit.bars, validation.bars)


def vectors(bars, function):
    return tuple(torch.from_numpy(np.asarray(function(part), np.float32)) for part in (bars.fit, bars.scored))


def noise(bars):
    generator = np.random.default_rng(0)
    return vectors(bars, lambda part: generator.normal(size=(len(part), 4)))


def test_a_vector_that_knows_the_answer_beats_noise_and_its_interval_says_so(dataset, bars):
    close = dataset.candles.column("close")
    knowing = vectors(bars, lambda part: log_volatility(close, part, HORIZON))
    found = probe({"encoder": knowing, "noise": noise(bars)}, dataset, bars, HORIZON, "encoder")["volatility"]
    assert found["skill"]["encoder"] > 0.98
    assert found["skill"]["noise"] < 0.2
    assert 0 < found["gain"]["noise"]["low"] < found["gain"]["noise"]["mean"] < found["gain"]["noise"]["high"]


def test_classes_are_read_off_vectors_that_show_them(dataset, bars):
    showing = vectors(bars, lambda part: np.eye(3)[regime(dataset, part, HORIZON)])
    signs = vectors(bars, lambda part: return_sign(dataset, part, HORIZON))
    both = tuple(torch.cat(pair, dim=1) for pair in zip(showing, signs, strict=True))
    found = probe({"encoder": both, "noise": noise(bars)}, dataset, bars, HORIZON, "encoder")
    for name in ("regime", "return_sign"):
        assert found[name]["skill"]["encoder"] > 0.8
        assert found[name]["gain"]["noise"]["low"] > 0


def test_noise_against_noise_is_no_gain(dataset, bars):
    found = probe({"encoder": noise(bars), "noise": noise(bars)}, dataset, bars, HORIZON, "encoder")
    assert all(result["gain"]["noise"]["mean"] == pytest.approx(0, abs=1e-6) for result in found.values())


def test_bars_of_one_label_have_no_skill_to_speak_of(dataset, bars):
    still = dataclasses.replace(dataset.candles, values=np.ones_like(dataset.candles.values))
    found = probe(
        {"encoder": noise(bars), "noise": noise(bars)}, dataclasses.replace(dataset, candles=still), bars, 6, "encoder"
    )
    assert found["volatility"] == {"skill": {"encoder": None, "noise": None}, "gain": {"noise": None}}


def test_the_regime_is_the_simulators_where_it_has_one(dataset, bars):
    assert np.array_equal(regime(dataset, bars.fit, HORIZON), dataset.candles.regimes[bars.fit])


@pytest.mark.parametrize(("drift", "expected"), [(-0.01, BEAR), (0.0, SIDEWAYS), (0.01, BULL)])
def test_without_labels_the_regime_is_the_windows_own_trend(dataset, drift, expected):
    values = dataset.candles.values.copy()
    steps = drift + 0.005 * (-1.0) ** np.arange(len(values))
    values[:, :, 3] = np.exp(np.cumsum(steps))[:, None]
    values[501:, :, 3] *= 100.0  # the future must not matter
    unlabelled = dataclasses.replace(dataset.candles, values=values, regimes=None)
    assert regime(dataclasses.replace(dataset, candles=unlabelled), np.array([500]), HORIZON) == [expected]


def test_the_sign_is_that_of_the_return_ahead(dataset):
    close = dataset.candles.column("close")
    assert np.array_equal(return_sign(dataset, np.array([300]), 6)[0], close[306] > close[300])


def test_dependent_neighbours_widen_the_interval():
    walk = np.repeat(np.random.default_rng(0).normal(size=40), 50)
    alone, whole = block_bootstrap(walk, 1), block_bootstrap(walk, 100)
    assert alone["mean"] == whole["mean"] == pytest.approx(walk.mean())
    assert whole["high"] - whole["low"] > 4 * (alone["high"] - alone["low"])


def test_an_interval_of_few_bars_has_a_width():
    found = block_bootstrap(np.arange(10.0), 1_000)
    assert found["low"] < found["mean"] < found["high"]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    found = [block_bootstrap(generator.normal(size=200), 5) for _ in range(100)]
    assert 85 <= sum(each["low"] < 0 < each["high"] for each in found) <= 99


def test_effective_rank_counts_directions():
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(2_000, 6, generator=generator)
    assert effective_rank(spread) == pytest.approx(6, rel=0.01)
    assert effective_rank(spread[:, :1] * torch.ones(6) + 5.0) == pytest.approx(1, rel=0.01)
    assert math.isfinite(effective_rank(torch.zeros(10, 3)))
