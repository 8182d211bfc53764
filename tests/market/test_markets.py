"""The contract of every market: legal candles on one increasing time axis, and symbols known without loading it."""

import numpy as np
import pytest

from ftray.market import COLUMNS, MARKETS, FilesSpec, SimulatorSpec, load_market, market_symbols, parse_interval
from ftray.spec import parse, to_mapping
from tests.market.conftest import legal_frame


@pytest.fixture(params=MARKETS)
def spec(request, write):
    folder = write(legal_frame(20), "ETH_USDT-1h.feather")
    write(legal_frame(20, price=7.0).drop(index=[4, 5]).reset_index(drop=True), "BTC_USDT-1h.feather")
    examples = {
        "files": FilesSpec(path=folder),
        "simulator": SimulatorSpec(n_assets=9, n_bars=2_000, interval="5m", n_outages=3, seed=1),
    }
    return examples[request.param]


def test_the_candles_of_every_market_are_legal(spec):
    candles = load_market(spec)
    opens, highs, lows, closes, volumes = (candles.column(name) for name in COLUMNS)
    assert np.isfinite(candles.values).all()
    assert np.all(lows > 0) and np.all(volumes >= 0)
    assert np.all(highs >= np.maximum(opens, closes)) and np.all(lows <= np.minimum(opens, closes))


def test_the_time_axis_of_every_market_is_utc_nanoseconds_in_whole_intervals(spec):
    candles = load_market(spec)
    assert candles.times.dtype == np.dtype("datetime64[ns]")
    steps = np.diff(candles.times)
    assert np.all(steps >= candles.interval)
    assert np.all(steps % candles.interval == np.timedelta64(0))
    assert candles.interval == parse_interval(spec.interval)
    assert len(candles.segments) > 1


def test_every_market_knows_its_symbols_without_loading(spec):
    assert market_symbols(spec) == load_market(spec).symbols


def test_every_market_gives_the_same_candles_twice_and_leaves_them_read_only(spec):
    candles = load_market(spec)
    assert candles.fingerprint == load_market(spec).fingerprint
    with pytest.raises(ValueError, match="read-only"):
        candles.values[0] = 1.0


def test_every_market_description_survives_a_file(spec):
    assert parse(MARKETS[spec.kind].spec_class, to_mapping(spec)) == spec
