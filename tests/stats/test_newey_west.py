"""The robust standard error of a Sharpe ratio, compared with simulated deviations and with the moments' formula."""

import math

import numpy as np
import pytest

from ftray import stats

HOURS = 8_760.0


def autoregressive(phi: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Returns without a mean, each phi times the one before plus noise. Shape: (runs, bars)."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (shape[0], shape[1] + 50))
    returns = np.zeros_like(noise)
    for bar in range(1, noise.shape[1]):
        returns[:, bar] = phi * returns[:, bar - 1] + noise[:, bar]
    return returns[:, 50:]


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.3, 0.9])
def test_it_is_how_much_sharpe_ratios_of_dependent_returns_deviate(phi):
    runs = autoregressive(phi, (400, 2_000))
    deviation = np.std([stats.sharpe(returns, HOURS) for returns in runs])
    errors = [stats.sharpe_newey_west(returns, HOURS) for returns in runs]
    assert np.mean(errors) == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("shape", ["normal", "fat", "skewed"])
def test_of_independent_returns_it_is_the_moments_error(shape):
    rng = np.random.default_rng(1)
    drawn = {"normal": rng.normal(size=20_000), "fat": rng.standard_t(5, 20_000), "skewed": -rng.exponential(1, 20_000)}
    returns = 0.01 * (drawn[shape] - drawn[shape].mean() + 0.1 * drawn[shape].std())
    moments = {"skewness": stats.skewness(returns), "kurtosis": stats.kurtosis(returns)}
    expected = stats.sharpe_error(stats.sharpe(returns, HOURS), len(returns), HOURS, **moments)
    assert stats.sharpe_newey_west(returns, HOURS) == pytest.approx(expected, rel=0.05)


def test_no_bars_of_different_segments_are_paired():
    """Pairs of equal returns: inside one segment they are dependent, and cut between each two they are not."""
    returns = np.repeat(np.random.default_rng(2).normal(0, 0.01, 3_000), 2)
    whole = stats.sharpe_newey_west(returns, HOURS)
    cut = stats.sharpe_newey_west(returns, HOURS, [0, *range(1, 6_000, 2)])
    assert whole == pytest.approx(math.sqrt(2 * HOURS / 6_000), rel=0.1)
    assert cut == pytest.approx(math.sqrt(HOURS / 6_000), rel=0.05)


def test_segments_in_another_order_have_the_same_error():
    returns = autoregressive(0.5, (1, 900))[0]
    swapped = np.concatenate([returns[400:], returns[:400]])
    expected = stats.sharpe_newey_west(returns, HOURS, [0, 400])
    assert stats.sharpe_newey_west(swapped, HOURS, [0, 500]) == pytest.approx(expected)


def test_it_is_defined_for_any_returns():
    assert math.isnan(stats.sharpe_newey_west([0.1], HOURS))
    assert stats.sharpe_newey_west([0.1] * 5, HOURS) == pytest.approx(math.sqrt(HOURS / 4))
    assert stats.sharpe_newey_west([0.1, 0.2], HOURS, [0, 1]) > 0
    with pytest.raises(ValueError, match="segment_starts must begin with 0"):
        stats.sharpe_newey_west([0.1, 0.2], HOURS, [1])
