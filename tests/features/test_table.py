"""The feature table: scaled with the train window alone, unbroken lookbacks, observations where the layout says."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import DataError, DataWarning, SpecError
from ftray.features import INDICATORS, FeatureSpec, Scaler, build_table
from ftray.features.raw import raw_features
from ftray.market import Window
from ftray.spec import parse, to_mapping
from ftray.testing import ohlcv
from tests.features.markets import candles, with_values

TRAIN = Window(0, 900)
HOLES = (500, 1_000)
SPEC = FeatureSpec(lookback=20)
MARKET = candles(1_400, holes=HOLES)


@pytest.fixture(scope="module")
def table():
    return build_table(MARKET, SPEC, TRAIN)


def with_wild_bars_from(start: int):
    """The same market, with prices and volumes gone wild from a bar on."""
    values = MARKET.values.copy()
    for asset in range(MARKET.n_assets):
        values[start:, asset] = ohlcv(len(values) - start, seed=77 + asset, volatility=0.3, price=1e4, volume=1e9)
    return with_values(MARKET, values)


def assert_the_scaler_saw_the_train_window_alone(build) -> None:
    plain, wild = build(MARKET, SPEC, TRAIN), build(with_wild_bars_from(TRAIN.stop), SPEC, TRAIN)
    np.testing.assert_array_equal(wild.scaler.center, plain.scaler.center)
    np.testing.assert_array_equal(wild.scaler.scale, plain.scaler.scale)
    np.testing.assert_array_equal(wild.values[: TRAIN.stop], plain.values[: TRAIN.stop])


def test_the_scaler_never_sees_validation_or_test_bars():
    assert_the_scaler_saw_the_train_window_alone(build_table)


@pytest.mark.parametrize("seen", [Window(0, 901), Window(0, 1_400)], ids=["one bar too many", "all bars"])
def test_the_check_above_catches_a_scaler_that_saw_more(seen):
    with pytest.raises(AssertionError):
        assert_the_scaler_saw_the_train_window_alone(lambda market, spec, train: build_table(market, spec, seen))


def test_the_scaler_of_several_train_windows_sees_each_of_them_and_nothing_between():
    pieces = (Window(260, 450), Window(780, 900))
    plain = build_table(MARKET, SPEC, pieces)
    rows = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
    np.testing.assert_allclose(plain.scaler.center, raw_features(MARKET, SPEC)[rows].mean(axis=0))
    values = MARKET.values.copy()
    values[900:] *= 1_000.0  # what no scaler may see, after the last piece
    wild = build_table(with_values(MARKET, values), SPEC, pieces)
    np.testing.assert_array_equal(wild.scaler.center, plain.scaler.center)
    joined = build_table(MARKET, SPEC, Window(260, 900))
    assert (joined.scaler.center != plain.scaler.center).all()


def test_decision_bars_of_several_windows_read_across_none_of_their_seams(table):
    pieces = (Window(700, 800), Window(800, 850))
    alone = [table.decision_bars(piece) for piece in pieces]
    assert all(len(bars) for bars in alone)
    np.testing.assert_array_equal(table.decision_bars(pieces[::-1]), np.concatenate(alone))
    assert not np.isin(np.arange(800, 800 + SPEC.lookback - 1), table.decision_bars(pieces)).any()


def test_the_scaler_sees_every_known_bar_of_the_train_window():
    last = MARKET.values.copy()
    last[TRAIN.stop - 1, :, :4] *= 1.1
    changed = build_table(with_values(MARKET, last), SPEC, TRAIN).scaler
    assert (changed.center != build_table(MARKET, SPEC, TRAIN).scaler.center).any()


def test_no_row_of_the_table_depends_on_a_later_bar(table):
    for start in (600, 899):  # inside the train window the scaler may change, the features before scaling may not
        wild = build_table(with_wild_bars_from(start), SPEC, Window(0, 500))
        plain = build_table(MARKET, SPEC, Window(0, 500))
        np.testing.assert_array_equal(wild.values[:start], plain.values[:start])


def test_train_features_have_mean_0_and_standard_deviation_1():
    unclipped = build_table(MARKET, FeatureSpec(lookback=20, clip=1e6), TRAIN)
    train = unclipped.values[: TRAIN.stop]
    train = train[np.isfinite(train).all(axis=1)]
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-4)


def test_values_are_float32_read_only_and_clipped(table):
    wild = build_table(with_wild_bars_from(TRAIN.stop), SPEC, TRAIN)
    assert wild.values.dtype == np.float32
    assert not wild.values.flags.writeable
    assert np.nanmax(np.abs(wild.values)) == SPEC.clip


def test_columns_are_in_the_order_of_the_layout(table):
    column = table.layout.series("rsi", "ETH")
    raw = INDICATORS["rsi"].compute(MARKET.values[:500, 1])
    expected = (raw - table.scaler.center[column]) / table.scaler.scale[column]
    np.testing.assert_allclose(table.values[300:500, column], expected[300:], atol=1e-5)


def test_every_segment_warms_up_again_and_is_known_from_then_on(table):
    first = SPEC.warm_up
    assert [(s.start, s.stop) for s in table.segments] == [(first, 500), (500 + first, 1_000), (1_000 + first, 1_400)]
    known = np.isfinite(table.values).all(axis=1)
    for segment in table.segments:
        assert known[segment.start : segment.stop].all()
        assert not known[segment.start - first : segment.start].any()


def test_features_do_not_reach_across_a_hole(table):
    values = MARKET.values.copy()
    values[:500] *= 3.0
    other = build_table(with_values(MARKET, values), SPEC, TRAIN)
    reborn = slice(500 + SPEC.warm_up, 1_400)
    raw = [t.values[reborn] * t.scaler.scale + t.scaler.center for t in (other, table)]
    np.testing.assert_allclose(raw[0], raw[1], atol=1e-5)


@pytest.mark.parametrize("window", [Window(0, 900), Window(450, 1_350), Window(760, 1_010), Window(0, 1_400)])
def test_a_decision_bar_has_its_whole_lookback_known_unbroken_and_inside_the_window(table, window):
    bars = set(table.decision_bars(window).tolist())
    for t in range(len(MARKET)):
        lookback = range(t - SPEC.lookback + 1, t + 1)
        inside = lookback.start >= window.start and t < window.stop
        unbroken = not any(lookback.start < hole <= t for hole in HOLES)
        known = inside and np.isfinite(table.values[lookback.start : t + 1]).all()
        assert (t in bars) == bool(known and unbroken), t


def test_a_window_with_no_room_has_no_decision_bars(table):
    assert table.decision_segments(Window(0, 100)) == ()
    assert table.decision_bars(Window(0, 100)).shape == (0,)


def test_windows_are_the_rows_up_to_the_bar_oldest_first(table):
    bars = np.array([260, 499, 760, 1_399])
    windows = table.window(bars)
    assert windows.shape == (4, table.layout.n_series, SPEC.lookback)
    assert windows.dtype == np.float32
    assert windows.flags.c_contiguous
    for window, bar in zip(windows, bars, strict=True):
        np.testing.assert_array_equal(window, table.values[bar - SPEC.lookback + 1 : bar + 1].T)
    windows[:] = 0
    assert table.window(bars).any()


def test_an_observation_is_the_account_and_then_the_window(table):
    bars, account = np.array([300, 400]), np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    observation = table.observation(bars, account)
    layout = table.layout
    assert observation.shape == (2, layout.size)
    assert observation.dtype == np.float32
    np.testing.assert_array_equal(observation[:, layout.account], account.astype(np.float32))
    np.testing.assert_array_equal(observation[:, layout.features].reshape(2, layout.n_series, -1), table.window(bars))


@pytest.mark.parametrize("bar", [-1, 0, 230, 510, 1_400, 10**9])
def test_a_bar_without_a_whole_lookback_is_refused(table, bar):
    with pytest.raises(DataError, match=rf"20 known bars.*bar {bar} \(1 of 2"):
        table.window(np.array([300, bar]))


def test_the_reference_observation_has_5888_floats():
    symbols = ("AAVE", "AVAX", "BTC", "LINK", "ETH", "LTC", "UNI")
    table = build_table(candles(400, symbols=symbols), FeatureSpec(), Window(0, 400))
    assert table.observation(np.array([399]), np.eye(8)[:1]).shape == (1, 5_888)


def test_a_subset_of_indicators_in_another_order():
    spec = FeatureSpec(lookback=5, indicators=("rsi", "close"))
    small, whole = build_table(MARKET, spec, TRAIN), build_table(MARKET, SPEC, TRAIN)
    assert small.layout.indicators == ("rsi", "close")
    raw = [t.values[700] * t.scaler.scale + t.scaler.center for t in (small, whole)]
    columns = [whole.layout.series(name, asset) for name in ("rsi", "close") for asset in MARKET.symbols]
    np.testing.assert_allclose(raw[0], raw[1][columns], atol=1e-5)
    assert small.segments[0].start == INDICATORS["rsi"].warm_up


def test_a_new_indicator_is_one_line():
    with INDICATORS.having(dataclasses.replace(INDICATORS["open"], name="body")):
        table = build_table(MARKET, FeatureSpec(lookback=5, indicators=("open", "body")), TRAIN)
    np.testing.assert_array_equal(table.values[:, :2], table.values[:, 2:])


def test_a_market_that_does_not_move_is_all_zeros():
    still = np.tile([50.0, 50.0, 50.0, 50.0, 0.0], (len(MARKET), 2, 1))
    with pytest.warns(DataWarning, match="BTC all features; ETH all features"):
        table = build_table(with_values(MARKET, still), SPEC, TRAIN)
    np.testing.assert_array_equal(table.values[np.isfinite(table.values)], 0.0)


def test_a_train_window_without_a_decision_bar_is_refused_with_the_numbers():
    with pytest.raises(DataError, match=r"\[0, 230\).* 20 bars after 220 bars of warm-up"):
        build_table(MARKET, SPEC, Window(0, 230))


def test_a_scaler_survives_its_mapping(table):
    again = Scaler.from_mapping(table.scaler.to_mapping())
    np.testing.assert_array_equal(again.center, table.scaler.center)
    np.testing.assert_array_equal(again.scale, table.scaler.scale)
    assert again.clip == table.scaler.clip


def test_an_unknown_indicator_is_refused_with_the_nearest_name():
    with pytest.raises(SpecError, match=r"features\.indicators\.1: .*'macd_sgnal'; did you mean 'macd_signal'"):
        parse(FeatureSpec, {"indicators": ["rsi", "macd_sgnal"]}, path=("features",))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"indicators": []}, "at least one"),
        ({"indicators": ["rsi", "rsi"]}, "twice"),
        ({"lookback": 0}, "lookback: must be at least 1"),
        ({"clip": 0.5}, "clip: must be at least 1"),
    ],
)
def test_impossible_specs_are_refused(mapping, message):
    with pytest.raises(SpecError, match=message):
        parse(FeatureSpec, mapping)


def test_a_feature_spec_survives_its_mapping():
    assert parse(FeatureSpec, to_mapping(SPEC)) == SPEC
