"""The break-even fee is the fee that leaves nothing."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftray import stats


def run(seed: int, fee: float, drift: float = 5e-4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Net returns, turnover and fees of trades that are worth the same whatever they cost."""
    rng = np.random.default_rng(seed)
    gross, turnover = rng.normal(drift, 0.01, 800), rng.uniform(0, 1, 800) * (rng.uniform(size=800) < 0.3)
    return gross - fee * turnover, turnover, fee * turnover


@given(st.integers(0, 200), st.floats(0.0, 0.005))
def test_at_the_break_even_fee_equity_ends_where_it_began(seed, fee):
    returns, turnover, fees = run(seed, fee)
    answer = stats.break_even_fee(returns, turnover, fees)
    assume(answer > 0)
    assert np.log1p(returns + fees - answer * turnover).sum() == pytest.approx(0.0, abs=1e-9)


@given(st.integers(0, 200), st.floats(0.0, 0.005), st.floats(0.0, 0.005))
def test_it_does_not_depend_on_the_fee_that_was_paid(seed, fee, other):
    assert stats.break_even_fee(*run(seed, fee)) == pytest.approx(stats.break_even_fee(*run(seed, other)), abs=1e-12)


def test_above_the_fee_paid_means_a_gain_and_below_it_a_loss():
    for drift in (5e-4, -2e-4, 1e-3):
        returns, turnover, fees = run(3, 0.002, drift)
        gained = stats.total_return(stats.equity_curve(returns)) > 0
        assert (stats.break_even_fee(returns, turnover, fees) > 0.002) == gained


def test_a_run_that_loses_before_fees_or_never_trades_breaks_even_at_no_fee():
    assert stats.break_even_fee([-0.01, 0.005], [1.0, 1.0], [0.001, 0.001]) == 0.0
    assert stats.break_even_fee([0.01, 0.02], [0.0, 0.0], [0.0, 0.0]) == 0.0
    assert stats.break_even_fee([0.5, -1.0], [1.0, 1.0], [0.0, 0.0]) == 0.0


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="fees must have one value per return: 2, got 1"):
        stats.break_even_fee([0.1, 0.1], [1.0, 1.0], [0.1])
