"""Trading keeps its books: nothing is lost but fees and slippage, nothing is owed, no account feels its neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftray.errors import SpecError, TrainingError
from ftray.spec import parse
from ftray.trading import Account, StepPrices, TradingSpec, rebalance, step, target_weights

EPSILON = 1e-9


@st.composite
def situations(draw, max_accounts: int = 4):
    """Accounts with something in them, weights to trade to, prices and costs."""
    e, a = draw(st.integers(1, max_accounts)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prices = 10.0 ** rng.uniform(-4, 5, (e, a))
    money = 10.0 ** rng.uniform(-1, 6, (e, 1 + a)) * (rng.random((e, 1 + a)) > 0.3)
    money[:, 0] += 1.0
    spec = TradingSpec(
        fee=draw(st.sampled_from([0.0, 0.0025, 0.1])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.1])),
        min_order=draw(st.sampled_from([0.0, 10.0, 1_000.0])),
    )
    actions = rng.uniform(-1, 2, (e, a)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    return Account(money[:, 0].copy(), money[:, 1:] / prices), target_weights(actions), prices, spec


@given(situations())
def test_value_is_conserved_but_for_fees_and_slippage(situation):
    account, weights, prices, spec = situation
    after, fills = rebalance(account, weights, prices, spec)
    costs = (fills.fees + fills.slippage).sum(axis=1)
    before = account.equity(prices)
    np.testing.assert_allclose(after.equity(prices), before - costs, rtol=1e-12)
    np.testing.assert_allclose(fills.fees, spec.fee * np.abs(fills.notional))
    np.testing.assert_allclose(fills.slippage, spec.slippage * np.abs(fills.notional))


@given(situations())
def test_fills_are_what_changed_hands(situation):
    account, weights, prices, spec = situation
    after, fills = rebalance(account, weights, prices, spec)
    bought = (after.units - account.units) * prices
    np.testing.assert_allclose(bought, fills.notional, atol=EPSILON * account.equity(prices).max())


@given(situations())
def test_nothing_is_ever_owed_and_nothing_sold_short(situation):
    account, weights, prices, spec = situation
    after, _ = rebalance(account, weights, prices, spec)
    assert (after.cash >= 0).all()
    assert (after.units >= 0).all()


@given(situations())
def test_no_order_is_smaller_than_the_minimum(situation):
    account, weights, prices, spec = situation
    _, fills = rebalance(account, weights, prices, spec)
    sizes = np.abs(fills.notional)
    assert ((sizes == 0) | (sizes >= spec.min_order * (1 - EPSILON))).all()


@given(situations())
def test_weights_are_hit_within_the_minimum_order_and_what_costs_take(situation):
    account, weights, prices, spec = situation
    equity = account.equity(prices)
    wanted = weights * equity[:, None]
    after, _ = rebalance(account, weights, prices, spec)
    missed = np.abs(after.units * prices - wanted)
    rounding = EPSILON * equity[:, None]
    unpaid = spec.cost * np.abs(wanted - account.units * prices).sum(axis=1, keepdims=True)
    dropped = spec.min_order * (1 + weights.shape[1])
    assert (missed <= unpaid + dropped + rounding).all()

    costs_to_come = (1 + spec.cost) * np.maximum(wanted - account.units * prices, 0).sum(axis=1)
    rich = account.cash >= costs_to_come  # cash alone pays for all buys: then only the minimum order stands between
    assert (missed[rich] <= spec.min_order + rounding[rich]).all()


@given(situations(max_accounts=7))
def test_a_batch_is_its_single_accounts_to_the_last_bit(situation):
    account, weights, prices, spec = situation
    moved = StepPrices(prices, prices * 1.01, prices * np.linspace(0.9, 1.1, prices.shape[1]))
    batch = step(account, weights, moved, spec)
    for e in range(len(weights)):
        row = slice(e, e + 1)
        alone = step(
            Account(account.cash[row].copy(), account.units[row].copy()),
            weights[row],
            StepPrices(moved.close[row], moved.fill[row], moved.next_close[row]),
            spec,
        )
        assert alone.equity.tobytes() == batch.equity[row].tobytes()
        assert alone.account.cash.tobytes() == batch.account.cash[row].tobytes()
        assert alone.account.units.tobytes() == batch.account.units[row].tobytes()
        assert alone.fills.notional.tobytes() == batch.fills.notional[row].tobytes()


@given(situations())
def test_rebalancing_leaves_its_input_alone(situation):
    account, weights, prices, spec = situation
    copies = account.cash.copy(), account.units.copy(), weights.copy(), prices.copy()
    rebalance(account, weights, prices, spec)
    for array, copy in zip((account.cash, account.units, weights, prices), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    with pytest.raises(ValueError, match="read-only"):
        account.cash[0] = 1.0


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_target_weights_are_long_only_and_sum_to_at_most_one(seed, n_assets):
    weights = target_weights(np.random.default_rng(seed).uniform(-3, 3, (5, n_assets)))
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) <= 1 + EPSILON).all()


def test_costs_by_hand():
    """10,000 in cash, half of it into an asset at 50: 100 units, 5,000 × 0.3 % = 15 in costs."""
    after, fills = rebalance(
        Account.all_cash(1, 1, 10_000), np.array([[0.5]]), np.array([[50.0]]), TradingSpec(fee=0.0025, slippage=0.0005)
    )
    assert after.units[0, 0] == pytest.approx(100.0)
    assert after.cash[0] == pytest.approx(4_985.0)
    assert fills.fees[0, 0] == pytest.approx(12.5)
    assert fills.slippage[0, 0] == pytest.approx(2.5)


def test_all_in_pays_its_costs_out_of_the_purchase():
    after, fills = rebalance(Account.all_cash(1, 1, 10_030), np.array([[1.0]]), np.array([[1.0]]), TradingSpec())
    assert fills.notional[0, 0] == pytest.approx(10_000.0)
    assert after.cash[0] == pytest.approx(0.0, abs=1e-9)


def test_a_weight_of_zero_sells_to_exactly_nothing():
    account = Account(np.array([0.0]), np.array([[0.1, 1 / 3, 7e-5]]))
    after, _ = rebalance(account, np.zeros((1, 3)), np.array([[1e4, 3e3, 7e7]]), TradingSpec())
    assert (after.units == 0).all()


def test_orders_fill_at_the_open_and_are_marked_at_the_close():
    prices = StepPrices(close=np.array([[100.0]]), fill=np.array([[110.0]]), next_close=np.array([[121.0]]))
    free = TradingSpec(fee=0, slippage=0, min_order=0)
    result = step(Account.all_cash(1, 1, 1_100), np.array([[1.0]]), prices, free)
    assert result.account.units[0, 0] == pytest.approx(10.0)
    assert result.equity_before[0] == 1_100
    assert result.equity[0] == pytest.approx(1_210.0)


def test_holding_trades_nothing():
    prices = StepPrices(np.array([[100.0]]), np.array([[110.0]]), np.array([[50.0]]))
    account = Account(np.array([5.0]), np.array([[2.0]]))
    result = step(account, None, prices, TradingSpec())
    assert result.account is account
    assert not result.fills.notional.any()
    assert result.equity[0] == 105.0


def test_an_observation_names_cash_and_holdings_as_fractions_of_equity():
    account = Account(np.array([25.0]), np.array([[1.0, 0.5]]))
    fractions = account.fractions(np.array([[50.0, 50.0]]))
    assert fractions.dtype == np.float32
    np.testing.assert_allclose(fractions, [[0.25, 0.5, 0.25]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_actions_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(TrainingError, match="finite"):
        target_weights(np.array([[0.1, wrong]]))


@pytest.mark.parametrize("values", [{"fee": -0.1}, {"fee": 0.2}, {"initial_cash": 0}, {"fill": "high"}, {"feee": 0.1}])
def test_impossible_costs_are_refused_at_the_door(values):
    with pytest.raises(SpecError):
        parse(TradingSpec, values)
