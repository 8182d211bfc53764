"""Nothing is lost in trading but fees and slippage, nothing is owed, no account depends on its neighbours."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftray.errors import DataError, SpecError, TrainingError
from ftray.spec import parse
from ftray.trading import Account, MarketRules, StepPrices, TradingSpec, advance, rebalance, target_weights

EPSILON = 1e-9


@dataclasses.dataclass
class Situation:
    """Accounts with something in them, weights to trade to, prices, volumes and costs."""

    account: Account
    weights: np.ndarray
    prices: np.ndarray
    volume: np.ndarray
    rules: MarketRules

    def rebalance(self):
        return rebalance(self.account, self.weights, self.prices, self.rules, self.volume)

    @property
    def rounding(self) -> np.ndarray:
        return EPSILON * self.account.equity(self.prices)[:, None]


@st.composite
def situations(draw, max_accounts: int = 4):
    e, a = draw(st.integers(1, max_accounts)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prices = 10.0 ** rng.uniform(-4, 5, (e, a))
    money = 10.0 ** rng.uniform(-1, 6, (e, 1 + a)) * (rng.random((e, 1 + a)) > 0.3)
    money[:, 0] += 1.0
    rules = MarketRules(
        fee=draw(st.sampled_from([0.0, 0.0025, 0.1])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.1])),
        impact=draw(st.sampled_from([0.0, 0.01, 0.1])),
        min_order=draw(st.sampled_from([0.0, 10.0, 1_000.0])),
    )
    actions = rng.uniform(-1, 2, (e, a)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    volume = 10.0 ** rng.uniform(-2, 8, (e, a)) / prices * (rng.random((e, a)) > 0.2)
    return Situation(Account(money[:, 0].copy(), money[:, 1:] / prices), target_weights(actions), prices, volume, rules)


@given(situations())
def test_value_is_conserved_but_for_fees_and_slippage(market):
    after, fills = market.rebalance()
    costs = (fills.fees + fills.slippage).sum(axis=1)
    before = market.account.equity(market.prices)
    np.testing.assert_allclose(after.equity(market.prices), before - costs, rtol=1e-12)


@given(situations())
def test_fees_are_a_fixed_part_of_an_order_and_slippage_grows_with_its_share_of_the_volume(market):
    _, fills = market.rebalance()
    traded = np.abs(fills.notional)
    share = np.divide(traded, market.volume * market.prices, out=np.zeros_like(traded), where=market.volume > 0)
    np.testing.assert_allclose(fills.fees, market.rules.fee * traded)
    np.testing.assert_allclose(fills.slippage, traded * (market.rules.slippage + market.rules.impact * np.sqrt(share)))


@given(situations())
def test_with_depth_no_order_is_larger_than_what_its_bar_traded(market):
    _, fills = market.rebalance()
    if market.rules.impact > 0:
        assert (np.abs(fills.notional) <= market.volume * market.prices * (1 + EPSILON)).all()
        assert not fills.notional[market.volume == 0].any()


@given(situations())
def test_without_impact_volume_changes_nothing(market):
    free = dataclasses.replace(market, rules=dataclasses.replace(market.rules, impact=0.0))
    blind = dataclasses.replace(free, volume=None)
    assert free.rebalance()[0].units.tobytes() == blind.rebalance()[0].units.tobytes()


@given(situations())
def test_fills_are_what_changed_hands(market):
    after, fills = market.rebalance()
    bought = (after.units - market.account.units) * market.prices
    np.testing.assert_allclose(bought, fills.notional, atol=market.rounding.max())


@given(situations())
def test_nothing_is_ever_owed_and_nothing_sold_short(market):
    after, _ = market.rebalance()
    assert (after.cash >= 0).all()
    assert (after.units >= 0).all()


@given(situations())
def test_no_order_is_smaller_than_the_minimum(market):
    _, fills = market.rebalance()
    sizes = np.abs(fills.notional)
    assert ((sizes == 0) | (sizes >= market.rules.min_order * (1 - EPSILON))).all()


@given(situations())
def test_weights_are_hit_within_the_minimum_order_the_volume_and_what_costs_take(market):
    rules, held = market.rules, market.account.units * market.prices
    wanted = market.weights * market.account.equity(market.prices)[:, None]
    depth = market.volume * market.prices if rules.impact > 0 else np.inf
    order = np.clip(wanted - held, -depth, depth)  # what of it the bar can fill
    unfilled = wanted - held - order
    after, _ = market.rebalance()
    missed = np.abs(after.units * market.prices - wanted + unfilled)
    # Buys shrink by what cash falls short of: costs of all orders, and sales that were dropped or did not fill.
    unpaid = (rules.cost + rules.impact) * np.abs(order).sum(axis=1, keepdims=True)
    unsold = np.maximum(-unfilled, 0).sum(axis=1, keepdims=True)
    dropped = rules.min_order * (1 + market.weights.shape[1])
    assert (missed <= unpaid + unsold + dropped + market.rounding).all()

    costs_to_come = (1 + rules.cost + rules.impact) * np.maximum(order, 0).sum(axis=1)
    rich = market.account.cash >= costs_to_come  # cash alone pays for all buys
    assert (missed[rich] <= rules.min_order + market.rounding[rich]).all()


def row_of(array: np.ndarray, e: int) -> np.ndarray:
    return array[e : e + 1].copy()


def assert_a_batch_is_its_single_accounts(market: Situation) -> None:
    prices, volume, account = market.prices, market.volume, market.account
    moved = StepPrices(prices, prices * 1.01, prices * np.linspace(0.9, 1.1, prices.shape[1]), volume)
    batch = advance(account, market.weights, moved, market.rules)
    for e in range(len(prices)):
        alone = advance(
            Account(row_of(account.cash, e), row_of(account.units, e)),
            row_of(market.weights, e),
            StepPrices(*(row_of(array, e) for array in (moved.close, moved.fill, moved.next_close, volume))),
            market.rules,
        )
        for one, many in (
            (alone.equity, batch.equity),
            (alone.ruined, batch.ruined),
            (alone.next_account.cash, batch.next_account.cash),
            (alone.account.cash, batch.account.cash),
            (alone.account.units, batch.account.units),
            (alone.fills.notional, batch.fills.notional),
            (alone.fills.slippage, batch.fills.slippage),
        ):
            assert one.tobytes() == row_of(many, e).tobytes()


@given(situations(max_accounts=7))
def test_a_batch_is_its_single_accounts_to_the_last_bit(market):
    assert_a_batch_is_its_single_accounts(market)


@settings(max_examples=5)
@given(situations(max_accounts=300))
def test_so_is_a_large_batch(market):
    assert_a_batch_is_its_single_accounts(market)


@given(situations())
def test_rebalancing_leaves_its_input_alone(market):
    arrays = market.account.cash, market.account.units, market.weights, market.prices, market.volume
    copies = [array.copy() for array in arrays]
    market.rebalance()
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    with pytest.raises(ValueError, match="read-only"):
        market.account.cash[0] = 1.0


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_target_weights_are_long_only_and_sum_to_at_most_one(seed, n_assets):
    weights = target_weights(np.random.default_rng(seed).uniform(-3, 3, (5, n_assets)))
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) <= 1 + EPSILON).all()


def test_costs_by_hand():
    """10,000 in cash, half of it into an asset at 50: 100 units, 5,000 × 0.3 % = 15 in costs."""
    after, fills = rebalance(
        Account.all_cash(1, 1, 10_000), np.array([[0.5]]), np.array([[50.0]]), MarketRules(fee=0.0025, slippage=0.0005)
    )
    assert after.units[0, 0] == pytest.approx(100.0)
    assert after.cash[0] == pytest.approx(4_985.0)
    assert fills.fees[0, 0] == pytest.approx(12.5)
    assert fills.slippage[0, 0] == pytest.approx(2.5)


def test_all_in_pays_its_costs_out_of_the_purchase():
    after, fills = rebalance(Account.all_cash(1, 1, 10_030), np.array([[1.0]]), np.array([[1.0]]), MarketRules())
    assert fills.notional[0, 0] == pytest.approx(10_000.0)
    assert after.cash[0] == pytest.approx(0.0, abs=1e-9)


def test_impact_by_hand():
    """5,000 in a bar that traded 20,000: a quarter of it, so half the impact of 2 %, and 0.05 % fixed."""
    rules = MarketRules(fee=0.0, slippage=0.0005, impact=0.02)
    weights, price, volume = np.array([[0.5]]), np.array([[50.0]]), np.array([[400.0]])
    after, fills = rebalance(Account.all_cash(1, 1, 10_000), weights, price, rules, volume)
    assert fills.slippage[0, 0] == pytest.approx(5_000 * (0.0005 + 0.01))
    assert after.cash[0] == pytest.approx(5_000 - 52.5)


def test_an_order_beyond_the_volume_fills_in_part_and_in_a_bar_without_trades_not_at_all():
    account = Account(np.array([1_000.0]), np.array([[0.0, 8.0, 8.0]]))
    prices, volume = np.full((1, 3), 100.0), np.array([[3.0, 3.0, 0.0]])
    rules = MarketRules(impact=0.01, min_order=0)
    after, _ = rebalance(account, np.array([[1.0, 0.0, 0.0]]), prices, rules, volume)
    np.testing.assert_array_equal(after.units, [[3.0, 5.0, 8.0]])


def test_impact_without_volume_is_refused():
    with pytest.raises(DataError, match=r"impact = 0\.01 needs the volume"):
        rebalance(Account.all_cash(1, 1, 100), np.ones((1, 1)), np.ones((1, 1)), MarketRules(impact=0.01))


def test_a_weight_of_zero_sells_to_exactly_nothing():
    account = Account(np.array([0.0]), np.array([[0.1, 1 / 3, 7e-5]]))
    after, _ = rebalance(account, np.zeros((1, 3)), np.array([[1e4, 3e3, 7e7]]), MarketRules())
    assert (after.units == 0).all()


def test_orders_fill_at_the_open_and_are_marked_at_the_close():
    prices = StepPrices(close=np.array([[100.0]]), fill=np.array([[110.0]]), next_close=np.array([[121.0]]))
    free = MarketRules(fee=0, slippage=0, min_order=0)
    result = advance(Account.all_cash(1, 1, 1_100), np.array([[1.0]]), prices, free)
    assert result.account.units[0, 0] == pytest.approx(10.0)
    assert result.equity_before[0] == 1_100
    assert result.equity[0] == pytest.approx(1_210.0)


def test_a_ruined_account_is_closed_into_cash_at_that_close_and_its_neighbour_is_not():
    """10,000 lose 99.5 % in one bar: below the hundredth of the initial cash that ruins an account."""
    account = Account(np.array([0.0, 9_000.0]), np.array([[100.0], [10.0]]))
    prices = StepPrices(*(np.full((2, 1), price) for price in (100.0, 100.0, 0.5)))
    result = advance(account, None, prices, MarketRules())
    assert result.ruined.tolist() == [True, False]
    assert result.account.units[:, 0].tolist() == [100.0, 10.0]  # as it was ruined
    assert result.next_account.units[:, 0].tolist() == [0.0, 10.0]
    assert result.next_account.cash.tolist() == [50.0, 9_000.0]


def test_no_order_of_a_ruined_account_is_sent():
    accounts = Account(np.array([99.0, 101.0]), np.zeros((2, 1)))
    prices = StepPrices(*(np.full((2, 1), 1.0) for _ in range(3)))
    result = advance(accounts, np.ones((2, 1)), prices, MarketRules())
    assert result.fills.notional[0, 0] == 0.0
    assert result.fills.notional[1, 0] > 0.0
    assert result.ruined.tolist() == [True, False]


def test_what_a_ruined_account_still_holds_can_only_be_sold():
    account = Account(np.array([0.0]), np.array([[50.0, 40.0]]))
    prices = StepPrices(*(np.ones((1, 2)) for _ in range(3)))
    result = advance(account, np.array([[1.0, 0.0]]), prices, MarketRules())
    assert result.account.units.tolist() == [[0.0, 0.0]]


def test_holding_trades_nothing():
    prices = StepPrices(np.array([[100.0]]), np.array([[110.0]]), np.array([[50.0]]))
    account = Account(np.array([5.0]), np.array([[2.0]]))
    result = advance(account, None, prices, MarketRules())
    assert result.account is account
    assert result.next_account is account
    assert not result.fills.notional.any()
    assert result.equity[0] == 105.0


def test_an_observation_has_cash_and_holdings_as_fractions_of_equity():
    account = Account(np.array([25.0]), np.array([[1.0, 0.5]]))
    fractions = account.fractions(np.array([[50.0, 50.0]]))
    assert fractions.dtype == np.float32
    np.testing.assert_allclose(fractions, [[0.25, 0.5, 0.25]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_actions_that_are_not_finite_are_refused(wrong):
    with pytest.raises(TrainingError, match="finite"):
        target_weights(np.array([[0.1, wrong]]))


@pytest.mark.parametrize(
    "values", [{"fee": -0.1}, {"fee": 0.2}, {"impact": 0.2}, {"initial_cash": 0}, {"fill": "high"}, {"feee": 0.1}]
)
def test_impossible_costs_are_refused(values):
    with pytest.raises(SpecError):
        parse(MarketRules, values)


def test_an_unknown_reward_is_refused_with_the_nearest_one():
    with pytest.raises(SpecError, match=r"^trading\.reward: no reward 'log_grwth'; did you mean 'log_growth'"):
        parse(TradingSpec, {"reward": "log_grwth"}, path=("trading",))
