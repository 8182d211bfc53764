"""The layout: every float of an observation has one place and one name."""

import numpy as np
import pytest

from ftray.features import INDICATORS, ObservationLayout

REFERENCE = ObservationLayout(("AAVE", "AVAX", "BTC", "LINK", "ETH", "LTC", "UNI"), tuple(INDICATORS), 60)
SMALL = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), 4)


def test_the_reference_market_has_5888_floats():
    assert (REFERENCE.n_account, REFERENCE.n_series, REFERENCE.n_features) == (8, 98, 5_880)
    assert (REFERENCE.size, REFERENCE.compact_size) == (5_888, 9)


@pytest.mark.parametrize("layout", [REFERENCE, SMALL])
def test_cash_holdings_and_features_cover_an_observation_once(layout):
    places = np.arange(layout.size)
    parts = [places[part] for part in (layout.cash, layout.holdings, layout.features)]
    np.testing.assert_array_equal(np.concatenate(parts), places)
    np.testing.assert_array_equal(np.concatenate(parts[:2]), places[layout.account])
    assert [len(part) for part in parts] == [1, layout.n_assets, layout.n_features]


@pytest.mark.parametrize("layout", [REFERENCE, SMALL])
def test_bar_and_account_cover_a_compact_observation_once(layout):
    places = np.arange(layout.compact_size)
    parts = [places[layout.compact_bar], *places[layout.compact_account]]
    np.testing.assert_array_equal(parts, places)
    assert len(places[layout.compact_account]) == layout.n_account


def test_series_and_features_are_named_in_their_order():
    assert SMALL.series("rsi", "ETH") == 3
    assert [SMALL.series_name(i) for i in range(3)] == ["close[BTC]", "close[ETH]", "rsi[BTC]"]
    assert SMALL.feature_name(3 * 4 + 3) == "rsi[ETH, t-0]"
    names = [SMALL.feature_name(i) for i in range(SMALL.n_features)]
    assert len(set(names)) == SMALL.n_features
    assert SMALL.account_names == ("cash", "holding[BTC]", "holding[ETH]")


def test_a_patch_is_named_by_its_first_and_its_last_bar():
    assert SMALL.patch_name(3, 0, 4) == "rsi[ETH, t-3..t-0]"
    assert SMALL.patch_name(3, 0, 2) == "rsi[ETH, t-3..t-2]"
    assert SMALL.patch_name(3, 3, 4) == SMALL.feature_name(3 * 4 + 3)


def test_a_layout_survives_its_mapping_and_its_fingerprint_differs_from_that_of_another_layout():
    assert ObservationLayout.from_mapping(SMALL.to_mapping()) == SMALL
    others = [
        ObservationLayout(("ETH", "BTC"), SMALL.indicators, 4),
        ObservationLayout(SMALL.symbols, ("rsi", "close", "macd"), 4),
        ObservationLayout(SMALL.symbols, SMALL.indicators, 5),
    ]
    assert len({layout.fingerprint for layout in (SMALL, REFERENCE, *others)}) == 5
