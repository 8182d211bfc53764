"""The scale of a feature is that of the market, whatever false prices and stretches without trades there are."""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftray.errors import DataWarning
from ftray.features import FeatureSpec, Scaler, build_table
from ftray.features.scaling import FAR
from ftray.market import COLUMNS, Candles, SimulatorSpec, Window, load_market
from tests.features.markets import candles as random_walks

SPEC = FeatureSpec(lookback=12)
MOMENTS = dataclasses.replace(SPEC, scaling="moments")
TRAIN = (Window(0, 2_000),)

Change = Callable[[np.ndarray], object]


@pytest.fixture(scope="module")
def clean() -> Candles:
    return load_market(SimulatorSpec(n_assets=2, n_bars=3_000, seed=5, drift=0.0))


def changed(candles: Candles, change: Change) -> Candles:
    values = candles.values.copy()
    change(values)
    return dataclasses.replace(candles, values=values)


def false(bar: int, *fields: str, factor: float = 10.0, n_bars: int = 1) -> Change:
    """Some fields of a few bars of the first asset, at a multiple; each candle stays legal, and a false close is the
    next bar's open."""

    def change(values: np.ndarray) -> None:
        one = values[:, 0]
        one[bar : bar + n_bars, [COLUMNS.index(field) for field in fields]] *= factor
        if "close" in fields:
            one[bar + n_bars : bar + n_bars + 1, 0] = one[bar + n_bars - 1, 3]
        one[:, 1], one[:, 2] = one[:, :4].max(axis=1), one[:, :4].min(axis=1)

    return change


def unlisted(n_bars: int) -> Change:
    """A constant price, far from the first real one, and no volume."""

    def change(values: np.ndarray) -> None:
        values[:n_bars, 0, :4], values[:n_bars, 0, 4] = values[n_bars, 0, 0] / 100.0, 0.0

    return change


def scales(candles: Candles, spec: FeatureSpec = SPEC) -> np.ndarray:
    """Those of the first asset's features. Shape: (F,)."""
    return build_table(candles, spec, TRAIN).scaler.scale[:: candles.n_assets]


@pytest.mark.parametrize("bar", [225, 1_000, 1_998])
@pytest.mark.parametrize("factor", [10.0, 0.1, 1.7])  # 1.7 may be real, and does not count either
@pytest.mark.parametrize(
    "fields", [(field,) for field in COLUMNS] + [COLUMNS[:4]], ids=lambda fields: f"{' '.join(fields)}"
)
def test_one_false_bar_moves_no_scale_by_2_percent(clean, fields, factor, bar):
    ratio = scales(changed(clean, false(bar, *fields, factor=factor))) / scales(clean)
    np.testing.assert_allclose(ratio, 1.0, rtol=0.02, err_msg=str(SPEC.indicators))


@pytest.mark.parametrize("n_bars", [2, 3, 4, 5])
@pytest.mark.parametrize("fields", [("close",), COLUMNS[:4]], ids=lambda fields: f"{' '.join(fields)}")
def test_nor_do_false_prices_of_up_to_five_bars(clean, fields, n_bars):
    ratio = scales(changed(clean, false(1_000, *fields, n_bars=n_bars))) / scales(clean)
    np.testing.assert_allclose(ratio, 1.0, rtol=0.02, err_msg=str(SPEC.indicators))


def test_nor_does_a_false_volume(clean):
    spoilt = changed(clean, false(1_000, "volume", factor=1_000.0))
    np.testing.assert_allclose(scales(spoilt) / scales(clean), 1.0, rtol=0.02)
    assert np.abs(scales(spoilt, MOMENTS) / scales(clean, MOMENTS) - 1.0).max() > 0.1


def test_moments_are_those_of_the_bars_as_they_are(clean):
    spoilt = changed(clean, false(1_000, "close"))
    assert (scales(clean, MOMENTS) / scales(spoilt, MOMENTS)).min() < 0.15


def test_a_false_price_as_the_train_window_ends_may_be_a_move_and_is_winsorised(clean):
    ratio = scales(changed(clean, false(1_999, "close"))) / scales(clean)
    np.testing.assert_allclose(ratio, 1.0, rtol=0.1)


@pytest.mark.parametrize("n_bars", [800, 1_600])
@pytest.mark.parametrize("name", SPEC.indicators)
def test_a_scale_after_a_listing_is_that_of_a_market_that_begins_with_it(clean, n_bars, name):
    spec = FeatureSpec(lookback=12, indicators=(name,))
    begins = dataclasses.replace(clean, times=clean.times[n_bars:], values=clean.values[n_bars:], regimes=None)
    found = build_table(changed(clean, unlisted(n_bars)), spec, TRAIN).scaler
    right = build_table(begins, spec, Window(0, 2_000 - n_bars)).scaler
    assert found.scale[0] == pytest.approx(right.scale[0], rel=0.01)
    assert found.center[0] == pytest.approx(right.center[0], abs=0.01 * right.scale[0])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_a_stretch_before_a_listing_leaves_a_standard_deviation_near_1(share):
    market, n_bars = random_walks(12_000), int(share * 10_000)
    table = build_table(changed(market, unlisted(n_bars)), FeatureSpec(lookback=12, clip=1e6), Window(0, 10_000))
    listed = table.values[n_bars + 300 :, ::2]
    deviations = dict(zip(SPEC.indicators, listed.std(axis=0), strict=True))
    rare = deviations.pop("range_breakout")  # few bars have any: its own sampling error is larger
    np.testing.assert_allclose(list(deviations.values()), 1.0, rtol=0.1, err_msg=str(list(deviations)))
    assert 0.8 < rare < 1.25


def test_moments_would_make_it_blind(clean):
    table = build_table(changed(clean, unlisted(1_600)), MOMENTS, TRAIN)
    assert table.values[1_900:, ::2].std(axis=0).min() < 0.2


def test_an_asset_that_is_closed_at_every_weekend_is_scaled_by_its_open_bars(clean):
    def weekends(values: np.ndarray) -> None:
        for start in range(120, len(values), 168):
            values[start : start + 48, 0, :4], values[start : start + 48, 0, 4] = values[start - 1, 0, 3], 0.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio = scales(changed(clean, weekends)) / scales(clean)
    opens = SPEC.indicators.index("range_breakout")  # leaps at the first open, in ranges of a market that was closed
    assert (np.delete(ratio, opens) > 0.9).all() and (np.delete(ratio, opens) < 1.5).all()


def test_of_a_clean_market_only_highs_and_lows_have_other_scales(clean):
    winsorised, moments = build_table(clean, SPEC, TRAIN).scaler, build_table(clean, MOMENTS, TRAIN).scaler
    ratio = (winsorised.scale / moments.scale).reshape(len(SPEC.indicators), -1)
    for name, row in zip(SPEC.indicators, ratio, strict=True):
        np.testing.assert_allclose(row, 1.0, rtol=0.1 if name in ("high", "low") else 1e-2, err_msg=name)


def test_no_bar_outside_the_train_window_moves_a_scale(clean):
    def later(values: np.ndarray) -> None:
        values[2_000:, 0, :4] = values[1_999, 0, 3]  # a stretch without a move that begins with the train window's end
        values[2_000, 1, 4] *= 1_000.0
        values[2_500, 1, [1, 3]] *= 10.0

    ours, theirs = (build_table(candles, SPEC, TRAIN).scaler for candles in (clean, changed(clean, later)))
    np.testing.assert_array_equal(ours.scale, theirs.scale)
    np.testing.assert_array_equal(ours.center, theirs.center)


def test_whether_the_last_price_of_the_train_window_comes_back_later_is_not_known(clean):
    back = changed(clean, false(1_999, "close"))
    stays = changed(back, lambda values: values[2_000:, 0, :4].__imul__(10.0))
    ours, theirs = (build_table(candles, SPEC, TRAIN).scaler for candles in (back, stays))
    np.testing.assert_array_equal(ours.scale, theirs.scale)


def test_a_handful_of_bars_is_no_sample_to_scale_by():
    values, used = np.random.default_rng(0).normal(size=(500, 1)), np.zeros((500, 1), bool)
    used[:99] = True
    assert Scaler.fit(values, 8.0, used=used).scale == Scaler.fit(values, 8.0).scale
    used[99] = True
    assert Scaler.fit(values, 8.0, used=used).scale == values[:100].std()


@pytest.mark.parametrize("spec", [SPEC, MOMENTS], ids=["winsorised", "moments"])
def test_an_asset_that_never_moves_is_named_centred_and_left_at_its_scale(clean, spec):
    with pytest.warns(DataWarning, match=r"train windows: AAVE all features but volume\. Leave out"):
        found = build_table(changed(clean, lambda values: values[:, 0, :4].__setitem__(slice(None), 3.0)), spec, TRAIN)
    close = SPEC.indicators.index("close") * clean.n_assets
    assert found.scaler.scale[close] == 1.0 and not found.values[100:, close].any()


def test_features_without_volume_are_named_where_prices_move(clean):
    with pytest.warns(DataWarning, match=r"train windows: AVAX volume, range_breakout\. Leave out") as found:
        build_table(changed(clean, lambda values: values[:, 1, 4].__setitem__(slice(None), 0.0)), SPEC, TRAIN)
    assert found[0].filename == __file__


def test_series_are_judged_in_the_train_window_alone(clean):
    def later(values: np.ndarray) -> None:
        values[2_000:, 0, :4] = values[1_999, 0, 3]

    def earlier(values: np.ndarray) -> None:
        values[:2_000, 0, :4] = values[2_000, 0, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_table(changed(clean, later), SPEC, TRAIN)
        fitted = build_table(clean, SPEC, TRAIN).scaler
        build_table(changed(clean, earlier), SPEC, TRAIN, scaler=fitted)  # fits nothing
    with pytest.warns(DataWarning, match="AAVE all features but volume"):
        build_table(changed(clean, earlier), SPEC, TRAIN)


def test_an_asset_that_hardly_moves_in_the_train_window_is_named_with_its_bars(clean):
    with pytest.warns(DataWarning, match="AAVE all features, at all but 40 of 1,780 bars"):
        build_table(changed(clean, unlisted(1_960)), SPEC, TRAIN)


finite = st.floats(allow_nan=False, allow_infinity=False)
seeds = st.integers(0, 2**32 - 1)


def series(seed: int, outliers: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Normal values, and whether each is one of them: the others are 1 % at most. Shape: (T, 1), (T,)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=100 * max(2, len(outliers)))
    at = rng.choice(len(values), len(outliers), replace=False)
    values[at] = outliers
    return values[:, None], ~np.isin(np.arange(len(values)), at)


@given(seed=seeds, outliers=st.lists(finite, max_size=5))
def test_one_percent_of_any_values_leaves_the_others_at_order_1(seed, outliers):
    values, clean = series(seed, outliers)
    scaler = Scaler.fit(values, clip=8.0)
    # At most 1 % of values at FAR deviations add FAR² / 100 to a variance of 1, and FAR / 100 to the mean.
    least = 1.0 / np.sqrt(1.0 + 1.5 * FAR**2 / 100)
    assert least < values[clean].std() / scaler.scale[0] < 1.15
    assert abs(scaler.center[0]) < 1.5 * FAR / 100 + 0.35


@given(
    seed=seeds, signs=st.lists(st.sampled_from([-1.0, 1.0]), max_size=5), sizes=st.tuples(*[st.floats(1e3, 1e300)] * 2)
)
def test_how_large_an_outlier_is_does_not_matter(seed, signs, sizes):
    one, other = (Scaler.fit(series(seed, [size * sign for sign in signs])[0], clip=8.0) for size in sizes)
    assert (one.center, one.scale) == (other.center, other.scale)


@given(seed=seeds, outliers=st.lists(st.floats(-1e6, 1e6), max_size=5), a=st.floats(1e-3, 1e3), b=st.floats(-1e3, 1e3))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_another_unit_scales_to_the_same_values(sign, seed, outliers, a, b):
    values, clean = series(seed, outliers)
    other = sign * a * values + b
    ours, theirs = Scaler.fit(values, clip=8.0)(values), Scaler.fit(other, clip=8.0)(other)
    np.testing.assert_allclose(theirs[clean], sign * ours[clean], atol=1e-4)
