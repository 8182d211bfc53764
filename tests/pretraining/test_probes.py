import dataclasses
import math

import numpy as np
import pytest
import torch

from ftray.features import FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec, expected_returns
from ftray.nets import gather_windows
from ftray.plots import describe_pooled
from ftray.pretraining.probes import (
    BEAR,
    BULL,
    SIDEWAYS,
    Bars,
    block_bootstrap,
    effective_rank,
    probe,
    probe_returns,
    regime,
    return_sign,
)
from ftray.pretraining.samples import draw_samples, log_volatility
from tests.pretraining.conftest import ENCODER, SPEC, WITH_RETURNS

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


HORIZONS = (1, 4, 24)


class Market:
    """A simulated market, bars to fit on and to score on, and vectors of them."""

    def __init__(self, pattern="none", strength=0.0, seed=0):
        spec = SimulatorSpec(n_assets=2, n_bars=16_000, drift=0.0, pattern=pattern, strength=strength, seed=seed)
        self.dataset = build_dataset(
            spec, WindowsSpec(holding=24), FeatureSpec(lookback=32, indicators=("close", "cci"))
        )
        parts = draw_samples(
            self.dataset,
            dataclasses.replace(ENCODER, horizons=HORIZONS),
            dataclasses.replace(WITH_RETURNS, validation=0.4),
        )
        self.bars = Bars(parts[0].bars[::4], parts[1].bars[::2])
        self.expected = expected_returns(spec)

    def vectors(self, function):
        return vectors(self.bars, function)

    @property
    def windows(self):
        values, lookback = torch.from_numpy(np.array(self.dataset.table.values)), self.dataset.layout.lookback
        return self.vectors(lambda part: gather_windows(values, torch.from_numpy(part), lookback).flatten(1).numpy())

    @property
    def attainable(self):
        """The next bar's expected return, in the unit of its label: what a trader knows who knows how it is made."""
        close, n = self.dataset.candles.column("close"), self.dataset.layout.lookback - 1
        return self.vectors(lambda part: self.expected[part + 1] / np.exp(log_volatility(close, part - n, n)))

    def probed(self, **vectors):
        return probe_returns(vectors.items(), self.dataset, self.bars, HORIZONS, subject="encoder")

    def last_bars(self, windows):
        return tuple(part.unflatten(1, (-1, self.dataset.layout.lookback))[:, :, -1] for part in windows)


@pytest.fixture(scope="module")
def trending():
    return Market("momentum", 0.4)


def test_of_a_trend_the_window_and_its_last_bar_know_about_what_can_be_known(trending):
    windows = trending.windows
    found = trending.probed(encoder=windows, last_bar=trending.last_bars(windows), best=trending.attainable)["1"]
    best = found["skill"]["best"]
    assert 0.1 < best["mean"] < 0.2  # the square of the strength, of returns whose volatility has to be guessed
    for name in ("encoder", "last_bar"):
        assert found["skill"][name]["low"] > 0
        assert 0.6 * best["mean"] < found["skill"][name]["mean"] < best["high"]


def test_of_a_motif_the_window_knows_and_its_last_bar_does_not():
    market = Market("motif", 0.5)
    windows = market.windows
    found = market.probed(encoder=windows, last_bar=market.last_bars(windows), best=market.attainable)["1"]
    assert 0.4 * found["skill"]["best"]["mean"] < found["skill"]["encoder"]["mean"] < found["skill"]["best"]["high"]
    assert found["gain"]["last_bar"]["low"] > 0
    assert abs(found["skill"]["last_bar"]["mean"]) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_of_noise_nothing_knows_anything(seed):
    """Out of sample, what was fitted to noise has an R² of 0, where the constant was chosen, or less."""
    market = Market(seed=seed)
    windows = market.windows
    found = market.probed(encoder=market.last_bars(windows), tokens=windows)
    for horizon in found.values():
        for skill in horizon["skill"].values():
            assert skill["low"] <= 0 and skill["mean"] == pytest.approx(0, abs=0.03)
    assert "nothing to lose" in verdict(found)


def verdict(found):
    return describe_pooled({"figures": {"returns": {"horizons": found}}})


def test_the_card_says_that_a_projection_lost_what_the_tokens_know_and_that_a_copy_did_not(trending):
    windows = trending.windows
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(windows[0].shape[1], windows[0].shape[1], generator=generator)).Q
    lossy, copy = (tuple(part @ matrix for part in windows) for matrix in (turn[:, :3], turn))
    lost, kept = (trending.probed(encoder=pooled, tokens=windows) for pooled in (lossy, copy))
    assert verdict(lost).startswith("The pooled vector lost more than a tenth of what all tokens know of the return of")
    assert "no such loss" not in verdict(lost)
    assert verdict(kept).startswith("The pooled vector shows no loss of what all tokens know of the return of the next")
    assert "lost" not in verdict(kept)


def test_returns_that_never_differ_have_no_skill(dataset, bars):
    still = dataclasses.replace(dataset.candles, values=np.ones_like(dataset.candles.values))
    unmoved = dataclasses.replace(dataset, candles=still)
    found = probe_returns({"encoder": noise(bars), "tokens": noise(bars)}.items(), unmoved, bars, (1, 6), "encoder")
    nothing = {"skill": {"encoder": None, "tokens": None}, "gain": {"tokens": None}}
    assert found == {"1": nothing, "6": nothing}
    assert verdict(found) == "What the pooled vector knows of coming returns was not measured."
