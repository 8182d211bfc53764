"""Markets with something to learn: what is predictable is known beforehand, and is as much as the spec says."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import SpecError
from ftray.market import SimulatorSpec, expected_returns, simulate
from ftray.market.patterns import PATTERNS, persistent

every_pattern = pytest.mark.parametrize("pattern", PATTERNS)


def market(**settings) -> SimulatorSpec:
    return SimulatorSpec(**({"n_assets": 3, "n_bars": 40_000, "drift": 0.0, "seed": 7} | settings))


def log_returns(spec):
    candles = simulate(spec)
    return np.log(candles.column("close") / candles.column("open"))


def noise(n_bars=20_000, n_assets=3):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n_bars, n_assets)), np.exp(0.5 * persistent(rng.standard_normal((n_bars, 3)), 24.0))


@every_pattern
def test_a_score_is_known_before_its_bar_opens(pattern):
    surprises, volatility = noise(n_bars=200)
    before = PATTERNS[pattern](surprises, volatility)
    changed = surprises.copy()
    changed[100:] += 1.0
    np.testing.assert_array_equal(PATTERNS[pattern](changed, volatility)[:101], before[:101])


@every_pattern
def test_scores_have_mean_0_and_variance_1(pattern):
    scores = PATTERNS[pattern](*noise())
    scores = scores[:, 1:] if pattern == "lead_lag" else scores  # the first asset follows none
    # Scores last for half a day: 20,000 bars hold some 500 independent ones.
    np.testing.assert_allclose(scores.mean(axis=0), 0.0, atol=0.15)
    np.testing.assert_allclose(scores.var(axis=0), 1.0, atol=0.2)


@every_pattern
def test_returns_are_what_is_expected_plus_noise_and_as_volatile_as_without_the_pattern(pattern):
    spec = market(pattern=pattern, strength=0.3)
    returns, expected = log_returns(spec), expected_returns(spec)
    for asset in range(1, 3):
        x, y = expected[:, asset], returns[:, asset]
        slope = np.cov(x, y)[0, 1] / x.var()
        error = (y - x).std() / (x.std() * np.sqrt(len(x)))
        assert abs(slope - 1.0) < 6 * error  # volatility clusters: white errors would be within 4
    plain = log_returns(dataclasses.replace(spec, pattern="none", strength=0.0))
    np.testing.assert_allclose(returns.std(axis=0), plain.std(axis=0), rtol=0.05)


@every_pattern
def test_the_strength_is_the_predictable_part_relative_to_the_whole_return(pattern):
    spec = market(pattern=pattern, strength=0.3)
    explained = [np.corrcoef(*both)[0, 1] for both in zip(expected_returns(spec).T, log_returns(spec).T, strict=True)]
    if pattern == "lead_lag":
        assert abs(explained.pop(0)) < 0.03
    # The part is relative to the volatility of the bar; that of volatile bars counts for more in a correlation.
    assert all(0.24 < one < (0.45 if pattern == "volatility_timing" else 0.36) for one in explained)


def test_no_moving_average_sees_the_motif():
    surprises, volatility = noise()
    averages = [persistent(surprises, half_life)[:-1, 0] for half_life in (2, 4, 8, 16, 32)]
    seen = {
        name: max(abs(np.corrcoef(average, PATTERNS[name](surprises, volatility)[1:, 0])[0, 1]) for average in averages)
        for name in ("momentum", "motif")
    }
    assert seen["momentum"] > 0.9 and seen["motif"] < 0.2


def test_followers_go_where_the_first_asset_went_and_the_first_goes_anywhere():
    returns = log_returns(market(pattern="lead_lag", strength=0.4))
    leader = np.convolve(returns[:, 0], np.ones(6), "valid")[:-1]
    follows = [np.corrcoef(leader, returns[6:, asset])[0, 1] for asset in range(3)]
    assert abs(follows[0]) < 0.03 and min(follows[1:]) > 0.15


def test_nothing_is_expected_of_a_market_without_drift_pattern_or_leak():
    # E[exp(r)] = 1: of the log return, half the variance is expected to go.
    assert np.all(expected_returns(market(n_bars=500)) < 0.0)


def test_a_full_leak_leaves_no_surprise_and_a_part_has_no_known_expectation():
    spec = market(n_bars=500, leak=1.0)
    np.testing.assert_allclose(expected_returns(spec), log_returns(spec), atol=1e-12)
    with pytest.raises(SpecError, match=r"leak: must be 0 or 1 for expected returns, got 0\.5"):
        expected_returns(market(n_bars=500, leak=0.5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pattern": "momentum"}, "strength: must be above 0 for pattern: momentum, got 0"),
        ({"strength": 0.1}, "strength: must be 0 without a pattern, got 0.1"),
        ({"pattern": "momentun", "strength": 0.1}, "pattern: .*momentum"),
    ],
)
def test_a_pattern_and_its_strength_come_together(settings, words):
    with pytest.raises(SpecError, match=words):
        SimulatorSpec(**settings)
