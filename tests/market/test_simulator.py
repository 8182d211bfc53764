"""The simulator: its candles look like a crypto market, and its controls control what they say."""

import numpy as np
import pytest

from ftray.errors import SpecError
from ftray.market import SimulatorSpec, simulate, simulated_symbols


@pytest.fixture(scope="module")
def market():
    return simulate(SimulatorSpec(n_bars=20_000, n_assets=7, seed=3))


def log_returns(candles):
    return np.log(candles.column("close") / candles.column("open"))


def test_the_same_spec_gives_the_same_bits_and_another_seed_another_market():
    first, again, other = (simulate(SimulatorSpec(n_bars=500, n_outages=2, seed=seed)) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.regimes, again.regimes)


@pytest.mark.parametrize("n_outages", [0, 1, 9])
def test_outages_split_the_market_and_cost_no_bars(n_outages):
    candles = simulate(SimulatorSpec(n_bars=400, n_outages=n_outages))
    assert len(candles) == len(candles.regimes) == 400
    assert len(candles.segments) == n_outages + 1
    holes = np.diff(candles.times)[np.diff(candles.times) != candles.interval] / candles.interval
    assert np.all((holes >= 3) & (holes <= 6))


def test_inside_a_segment_a_bar_opens_where_the_last_one_closed(market):
    np.testing.assert_array_equal(market.column("open")[1:], market.column("close")[:-1])


def test_the_reference_market_has_the_seven_reference_assets_and_further_ones_are_numbered():
    assert simulated_symbols(SimulatorSpec()) == ("AAVE", "AVAX", "BTC", "LINK", "ETH", "LTC", "UNI")
    assert simulated_symbols(SimulatorSpec(n_assets=2)) == ("AAVE", "AVAX")
    assert simulated_symbols(SimulatorSpec(n_assets=9))[6:] == ("UNI", "SIM8", "SIM9")


def test_all_three_regimes_occur_persist_and_drive_returns(market):
    labels = market.regimes
    assert set(labels) == {0, 1, 2}
    assert np.mean(labels[1:] == labels[:-1]) > 0.99
    mean = [log_returns(market)[labels == label].mean() for label in range(3)]
    assert mean[0] < mean[1] < mean[2]


def test_assets_are_correlated_but_not_the_same(market):
    correlation = np.corrcoef(log_returns(market).T)[np.triu_indices(7, 1)]
    assert correlation.min() > 0.4 and correlation.max() < 0.95


def test_volatility_is_that_of_crypto_fat_tailed_and_clustered(market):
    returns = log_returns(market)
    yearly = returns.std(axis=0) * np.sqrt(market.bars_per_year)
    assert np.all((yearly > 0.5) & (yearly < 1.8))
    kurtosis = np.mean(((returns - returns.mean(axis=0)) / returns.std(axis=0)) ** 4, axis=0)
    assert np.all(kurtosis > 4.3)  # the three regimes alone make 3.8
    sizes = np.abs(returns)
    day_apart = [np.corrcoef(sizes[:-24, a], sizes[24:, a])[0, 1] for a in range(7)]
    assert min(day_apart) > 0.1


def test_the_range_of_a_bar_fits_the_volatility_of_its_returns(market):
    # Parkinson 1980: for a Brownian path the mean squared log range is 4 ln 2 times the variance.
    log_range = np.log(market.column("high") / market.column("low"))
    parkinson = np.mean(log_range**2, axis=0) / (4 * np.log(2))
    np.testing.assert_allclose(parkinson, log_returns(market).var(axis=0), rtol=0.1)


def test_volume_rises_with_the_size_of_the_return(market):
    log_volume, sizes = np.log(market.column("volume")), np.abs(log_returns(market))
    assert min(np.corrcoef(log_volume[:, a], sizes[:, a])[0, 1] for a in range(7)) > 0.3
    # From bar to bar volatility hardly moves: what is left is the bar's own return.
    change = np.diff(log_volume, axis=0), np.diff(sizes, axis=0)
    assert min(np.corrcoef(change[0][:, a], change[1][:, a])[0, 1] for a in range(7)) > 0.3


def test_without_drift_prices_are_a_martingale():
    # Daily bars: a drift stands out against the noise of n bars as it grows with the length of a bar.
    candles = simulate(SimulatorSpec(n_bars=50_000, interval="1d", drift=0.0, seed=5))
    growth = candles.column("close") / candles.column("open") - 1
    standard_error = growth.std(axis=0) / np.sqrt(len(growth))
    assert np.all(np.abs(growth.mean(axis=0)) < 4 * standard_error)
    for regime in range(3):
        part = growth[candles.regimes == regime].mean(axis=1)
        assert abs(part.mean()) < 4 * part.std() / np.sqrt(len(part))


def next_return_correlation(leak):
    candles = simulate(SimulatorSpec(n_bars=5_000, n_assets=2, drift=0.0, leak=leak, seed=4))
    log_volume, following = np.log(candles.column("volume"))[:-1], log_returns(candles)[1:]
    return [np.corrcoef(log_volume[:, a], following[:, a])[0, 1] for a in range(2)]


def test_a_full_leak_gives_the_next_return_away_and_none_gives_nothing():
    assert min(next_return_correlation(1.0)) > 0.8
    assert np.max(np.abs(next_return_correlation(0.0))) < 0.06


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": "hourly"}, "interval: must be a number and a unit"),
        ({"n_bars": 1}, "n_bars: must be at least 2"),
        ({"n_bars": 10, "n_outages": 10}, "n_outages: must be below n_bars = 10"),
        ({"leak": 1.5}, "leak: must be between 0 and 1"),
    ],
)
def test_a_wrong_description_is_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        SimulatorSpec(**settings)
