"""The scale of a feature is that of the market, whatever a false price or a stretch without trades does to its mean."""

import dataclasses

import numpy as np
import pytest

from ftray.features import FeatureSpec, build_table
from ftray.market import Candles, SimulatorSpec, Window, load_market

SPEC = FeatureSpec(lookback=12)
MOMENTS = dataclasses.replace(SPEC, scaling="moments")
TRAIN = (Window(0, 2_000),)


@pytest.fixture(scope="module")
def clean() -> Candles:
    return load_market(SimulatorSpec(n_assets=2, n_bars=3_000, seed=5, drift=0.0))


def changed(candles: Candles, change) -> Candles:
    values = candles.values.copy()
    change(values)
    return dataclasses.replace(candles, values=values)


def wick(values: np.ndarray) -> None:
    """A close of ten times the price, and back."""
    values[1_000, 0, [1, 3]] *= 10.0
    values[1_001, 0, 0] *= 10.0
    values[1_001, 0, 1] = values[1_001, 0, 0]


def unlisted(n_bars: int):
    """A constant price, far from the first real one, and no volume."""

    def change(values: np.ndarray) -> None:
        values[:n_bars, 0, :4], values[:n_bars, 0, 4] = values[n_bars, 0, 0] / 100.0, 0.0

    return change


def spreads(candles: Candles, spec: FeatureSpec, bars: slice) -> np.ndarray:
    """Standard deviations of the first asset's features over some bars. Shape: (F,)."""
    values = build_table(candles, spec, TRAIN).values[bars]
    return values[:, :: candles.n_assets].std(axis=0)


def test_one_false_price_does_not_move_a_scale(clean):
    after = slice(1_100, 3_000)
    before, spoilt = spreads(clean, SPEC, after), changed(clean, wick)
    ratio = spreads(spoilt, SPEC, after) / before
    assert (np.abs(ratio[: SPEC.indicators.index("volume")] - 1.0) < 0.05).all()
    assert (np.abs(ratio - 1.0) < 0.35).all()  # the others leave out 20 to 220 bars of 2,000, which are like no others
    assert (spreads(spoilt, MOMENTS, after) / before).min() < 0.3


@pytest.mark.parametrize("n_bars", [800, 1_600])
def test_a_stretch_before_a_listing_does_not_make_features_blind(clean, n_bars):
    after = slice(n_bars + 100, 3_000)
    found = spreads(changed(clean, unlisted(n_bars)), SPEC, after)
    assert (np.abs(found - 1.0) < 0.35).all()
    assert spreads(changed(clean, unlisted(n_bars)), MOMENTS, after).min() < 0.2


def test_of_a_clean_market_only_highs_and_lows_have_other_scales(clean):
    winsorised, moments = build_table(clean, SPEC, TRAIN).scaler, build_table(clean, MOMENTS, TRAIN).scaler
    ratio = (winsorised.scale / moments.scale).reshape(len(SPEC.indicators), -1)
    for name, row in zip(SPEC.indicators, ratio, strict=True):
        np.testing.assert_allclose(row, 1.0, rtol=0.1 if name in ("high", "low") else 1e-2, err_msg=name)


def test_no_bar_outside_the_train_window_moves_a_scale(clean):
    def later(values: np.ndarray) -> None:
        values[2_000:, 0, :4] = values[1_999, 0, 3]  # a stretch without a move that begins with the train window's end
        values[2_500, 1, [1, 3]] *= 10.0

    ours, theirs = (build_table(candles, SPEC, TRAIN).scaler for candles in (clean, changed(clean, later)))
    np.testing.assert_array_equal(ours.scale, theirs.scale)
    np.testing.assert_array_equal(ours.center, theirs.center)


def test_an_asset_that_never_moves_is_centred_and_left_at_its_scale(clean):
    found = build_table(changed(clean, lambda values: values[:, 0, :4].__setitem__(slice(None), 3.0)), SPEC, TRAIN)
    close = SPEC.indicators.index("close") * clean.n_assets
    assert found.scaler.scale[close] == 1.0 and not found.values[100:, close].any()
