"""A no-trade zone: what holdings within it keep, and the same in every place that applies it."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftray.market import Window
from ftray.nets import MLPSpec, PolicyNetwork, build_encoder, policy_head
from ftray.nets.policy import outside_no_trade as outside_in_torch
from ftray.trading import (
    MarketRules,
    TradingEnv,
    TradingSpec,
    VectorTradingEnv,
    backtest,
    outside_no_trade,
    target_weights,
)

RULES = MarketRules(fee=0.001, slippage=0.0005)


@st.composite
def books(draw, n_assets: int = 4):
    """Actions, holdings and the width of a zone."""
    number = st.floats(0.0, 1.0, width=32)
    actions = draw(st.lists(st.floats(-1.0, 1.0, width=32), min_size=n_assets, max_size=n_assets))
    parts = np.array(draw(st.lists(number, min_size=n_assets + 1, max_size=n_assets + 1))) + 1e-3
    return np.array([actions]), (parts / parts.sum())[None, 1:], draw(st.floats(0.01, 1.0))


@given(books())
def test_each_holding_goes_no_further_than_to_the_edge_of_its_zone(book):
    actions, held, width = book
    wanted, traded = target_weights(actions), outside_no_trade(actions, held, width)
    unscaled = np.clip(held, wanted - width, wanted + width)
    assert (traded >= 0.0).all() and traded.sum() <= 1.0 + 1e-12
    if unscaled.sum() <= 1.0:
        inside = np.abs(held - wanted) < width - 1e-12
        np.testing.assert_array_equal(traded[inside], held[inside])
        np.testing.assert_allclose(np.abs(traded - wanted)[~inside], width, atol=1e-11)


@given(books())
def test_a_graph_has_the_same_zone(book):
    actions, held, width = book
    found = outside_in_torch(torch.tensor(actions), torch.tensor(held), width)
    expected = target_weights(outside_no_trade(actions, held, width))
    np.testing.assert_allclose(target_weights(found.numpy()), expected, atol=1e-12)


def test_no_width_changes_nothing():
    actions = np.array([[0.7, -0.2, 1.3]])
    assert outside_no_trade(actions, np.zeros((1, 3)), 0.0) is actions


def wandering(bars: np.ndarray) -> np.ndarray:
    """An arbitrary policy that only the bar decides."""
    return np.sin(0.37 * np.asarray(bars)[:, None] + np.arange(3))


@pytest.mark.parametrize("width", [0.0, 0.05, 0.3])
def test_environments_and_backtests_agree(dataset, width):
    window = Window(200, 400)
    spec = TradingSpec(rules=RULES, no_trade=width, episode_bars=10_000)

    def policy(bars, account):
        return outside_no_trade(wandering(bars), account[:, 1:], width)

    outcome = backtest(policy, dataset, window, RULES)
    first = int(outcome.bars[0])
    single, vector = TradingEnv(dataset, window, spec), VectorTradingEnv(dataset, window, spec, n_envs=2)
    single.reset(options={"bar": first})
    vector.reset(options={"bars": [first, first]})
    for bar, equity in zip(outcome.bars, outcome.equity, strict=True):
        action = wandering([bar])
        *_, info = single.step(action[0])
        vector.step(np.repeat(action, 2, axis=0))
        assert info["equity"] == pytest.approx(equity, rel=1e-12)
        assert vector.equity.tolist() == [pytest.approx(equity, rel=1e-12)] * 2
    still = backtest(lambda bars, account: wandering(bars), dataset, window, RULES)
    assert (outcome.turnover.sum() < still.turnover.sum()) == (width > 0)


def test_an_exported_policy_trades_as_the_environment_of_its_training(dataset):
    """Its observation has the holdings: the zone around them is part of the network."""
    torch.manual_seed(0)
    spec = MLPSpec(hidden=64, encoding_dim=64)
    head = policy_head(spec.encoding_dim, 3)
    torch.nn.init.normal_(head[-1].weight)
    plain = PolicyNetwork(build_encoder(spec, dataset.layout), head)
    zoned = PolicyNetwork(plain.encoder, plain.policy_head, no_trade=0.1)
    window = dataset.windows.validation

    def outcome(network, width):
        def act(bars, account):
            with torch.inference_mode():
                actions = network(torch.from_numpy(dataset.table.observation(bars, account))).numpy()
            return outside_no_trade(actions, account[:, 1:], width)

        return backtest(act, dataset, window, RULES)

    by_environment, by_network, neither = outcome(plain, 0.1), outcome(zoned, 0.0), outcome(plain, 0.0)
    np.testing.assert_allclose(by_network.equity, by_environment.equity, rtol=1e-5)
    assert by_network.turnover.sum() < 0.8 * neither.turnover.sum()


def test_a_zone_is_a_fraction_of_equity():
    assert dataclasses.asdict(TradingSpec(no_trade=0.1))["no_trade"] == 0.1
    assert math.isclose(float(outside_no_trade(np.array([[0.5]]), np.array([[0.2]]), 0.1)[0, 0]), 0.4)
