import dataclasses

import numpy as np
import pytest

from ftray.errors import DataError, TrainingError
from ftray.market import Window
from ftray.pretraining.samples import MOST, draw_samples, log_volatility, ranks, scaled_returns
from tests.pretraining.conftest import ENCODER, SPEC, WITH_RETURNS

with_and_without_returns = pytest.mark.parametrize("spec", [SPEC, WITH_RETURNS], ids=["volatility", "returns"])


@with_and_without_returns
def test_windows_and_labels_stay_inside_the_train_window_and_one_segment(dataset, spec):
    reach = np.concatenate([part.bars for part in draw_samples(dataset, ENCODER, spec)])
    first, last = reach - dataset.layout.lookback + 1, reach + spec.reach(ENCODER)
    (train,) = dataset.windows.train
    assert first.min() >= train.start
    assert last.max() < train.stop
    segment = np.concatenate([np.full(len(s), i) for i, s in enumerate(dataset.candles.segments)])
    assert (segment[first] == segment[last]).all()
    assert len(set(segment[first])) > 1


@with_and_without_returns
def test_validation_bars_come_last_and_are_lookback_plus_horizon_away(dataset, spec):
    fit, validation = draw_samples(dataset, ENCODER, spec)
    assert validation.bars.min() - fit.bars.max() >= dataset.layout.lookback + spec.reach(ENCODER)


def test_volatility_is_the_root_mean_square_of_the_next_returns(dataset):
    close, bar, horizon = dataset.candles.column("close"), 300, 6
    returns = np.log(close[bar + 1 : bar + 1 + horizon] / close[bar : bar + horizon])
    expected = np.log(np.sqrt((returns**2).mean(axis=0)))
    np.testing.assert_allclose(log_volatility(close, np.array([bar]), horizon)[0], expected, rtol=1e-6)


def test_prices_that_stand_still_have_a_finite_label():
    still = np.full((10, 1), 5.0)
    assert np.isfinite(log_volatility(still, np.arange(4), 6)).all()
    np.testing.assert_array_equal(scaled_returns(still, np.arange(3, 7), 2, lookback=4), 0.0)
    still[8:] = 6.0
    np.testing.assert_array_equal(scaled_returns(still, np.arange(3, 7), 2, lookback=4)[:, 0], [0, 0, 0, MOST])


def test_returns_are_relative_to_the_volatility_of_the_lookback(dataset):
    close, bar, lookback = dataset.candles.column("close"), 300, dataset.layout.lookback
    known = np.diff(np.log(close[bar - lookback + 1 : bar + 1]), axis=0)
    expected = np.log(close[bar + 4] / close[bar]) / (np.sqrt((known**2).mean(axis=0)) * 2.0)
    found = scaled_returns(close, np.array([bar]), 4, lookback)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        scaled_returns(close, np.array([bar]), 4, lookback=1)[0], np.log(close[bar + 4] / close[bar]) / 2
    )


def test_ranks_are_places_among_the_assets_from_minus_1_to_1():
    np.testing.assert_array_equal(ranks(np.array([[0.3, -2.0, 9.0], [5.0, 4.0, 3.0]])), [[0, -1, 1], [1, 0, -1]])


def test_returns_and_ranks_follow_volatility_horizon_by_horizon(dataset):
    volatility, coming = (draw_samples(dataset, ENCODER, spec)[0] for spec in (SPEC, WITH_RETURNS))
    assert volatility.labels.shape[1] == 2
    assert coming.labels.shape[1] == 2 + WITH_RETURNS.n_returns(ENCODER, 2) == 2 + 3 * 2 * 2
    nine = scaled_returns(dataset.candles.column("close"), coming.bars, 9, dataset.layout.lookback)
    np.testing.assert_allclose(coming.labels[:, 10:12], (nine - nine.mean(axis=0)) / nine.std(axis=0), atol=1e-4)
    assert set(np.sign(coming.labels[:, 12])) == {-1, 1}
    assert WITH_RETURNS.n_returns(ENCODER, 1) == 3 and SPEC.n_returns(ENCODER, 2) == 0


@with_and_without_returns
def test_labels_are_standardised_with_statistics_of_the_fitted_part(dataset, spec):
    fit, validation = draw_samples(dataset, ENCODER, spec)
    np.testing.assert_allclose(fit.labels.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(fit.labels.std(axis=0), 1, atol=1e-4)
    assert abs(validation.labels.mean()) > 1e-3


@with_and_without_returns
def test_bars_after_the_train_window_have_no_influence(dataset, spec):
    values, stop = dataset.candles.values.copy(), dataset.windows.train[0].stop
    values[stop:] *= 7.0
    changed = dataclasses.replace(dataset, candles=dataclasses.replace(dataset.candles, values=values))
    for a, b in zip(draw_samples(dataset, ENCODER, spec), draw_samples(changed, ENCODER, spec), strict=True):
        assert np.array_equal(a.bars, b.bars)
        assert np.array_equal(a.labels, b.labels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_with_indicator_asset_and_bar(dataset, with_values, value):
    bar = int(draw_samples(dataset, ENCODER, SPEC)[0].bars[0]) + 5
    series = dataset.layout.series("volume", dataset.layout.symbols[1])
    with pytest.raises(DataError, match=rf"volume\[{dataset.layout.symbols[1]}\] at bar {bar} .* is {value}"):
        draw_samples(with_values(bar, series, value), ENCODER, SPEC)


def test_values_that_no_window_reads_may_be_missing(dataset, with_values):
    draw_samples(with_values(dataset.windows.test.start, 0, np.nan), ENCODER, SPEC)


def test_a_train_window_too_short_for_the_horizon_says_so(dataset):
    with pytest.raises(TrainingError, match="lookback \\+ horizon = 8 \\+ 5000"):
        draw_samples(dataset, ENCODER, dataclasses.replace(SPEC, horizon=5000))


PIECES = (Window(110, 430), Window(540, 600), Window(700, 780))


@pytest.fixture
def in_pieces(dataset):
    return dataclasses.replace(dataset, windows=dataclasses.replace(dataset.windows, train=PIECES))


@with_and_without_returns
def test_samples_come_from_every_piece_and_reach_out_of_none(in_pieces, spec):
    bars = np.concatenate([part.bars for part in draw_samples(in_pieces, ENCODER, spec)])
    first, last = bars - in_pieces.layout.lookback + 1, bars + spec.reach(ENCODER)
    inside = np.array([(first >= piece.start) & (last < piece.stop) for piece in PIECES])
    assert (inside.sum(axis=0) == 1).all()
    assert inside.any(axis=1).all()


@with_and_without_returns
def test_the_last_part_of_the_pieces_is_validated_on(in_pieces, spec):
    fit, validation = draw_samples(in_pieces, ENCODER, dataclasses.replace(spec, validation=0.25))
    cut = 600 - 35  # a quarter of 460 bars: all 80 of the last piece, 35 of the one before
    assert fit.bars.max() + spec.reach(ENCODER) < cut <= validation.bars.min() - in_pieces.layout.lookback + 1
    assert validation.bars.max() + spec.reach(ENCODER) == 779


@with_and_without_returns
def test_bars_outside_the_pieces_have_no_influence(in_pieces, spec):
    values = in_pieces.candles.values.copy()
    outside = np.ones(len(values), bool)
    for piece in PIECES:
        outside[piece.start : piece.stop] = False
    values[outside] *= 7.0
    changed = dataclasses.replace(in_pieces, candles=dataclasses.replace(in_pieces.candles, values=values))
    for a, b in zip(draw_samples(in_pieces, ENCODER, spec), draw_samples(changed, ENCODER, spec), strict=True):
        np.testing.assert_allclose(a.labels, b.labels, atol=1e-4)
