"""The skill benchmark: its two traders without a network, its ceiling, and what its file promises."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import direct
import skill
from informed import informed_growth, ridge_growth

from ftray.market import expected_returns
from ftray.trading import MarketRules, target_weights
from ftray.trading.advance import advance
from ftray.trading.books import Account, StepPrices

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change

SMALL = skill.Settings(steps=512, n_bars=6_000)


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


def growth_of(market: str) -> dict[str, float]:
    spec = skill.Task(market, 1, 0, skill.INFORMED, SMALL).spec
    dataset = skill.dataset_in_pieces(skill.load_market(spec), skill.WindowsSpec(), skill.FEATURES)
    return {
        "informed": informed_growth(dataset, expected_returns(spec), skill.RULES),
        "ridge": ridge_growth(dataset, skill.RULES),
    }


def test_the_informed_trader_earns_on_every_market_but_noise_and_there_holds_cash():
    growth = {market: growth_of(market) for market in ("leak", "mean reversion", "motif", "noise")}
    assert growth["noise"]["informed"] == 0.0
    assert all(growth[market]["informed"] > 0.01 for market in ("leak", "mean reversion", "motif"))
    assert all(one["ridge"] < one["informed"] for market, one in growth.items() if market != "noise")
    assert growth["leak"]["ridge"] > 0.5 * growth["leak"]["informed"]


def test_the_differentiable_step_is_the_step(rng):
    n, assets = 2_000, 4
    close = np.exp(rng.normal(0, 1, (n, assets)))
    fill = close * np.exp(rng.normal(0, 0.02, (n, assets)))
    after = fill * np.exp(rng.normal(0, 0.02, (n, assets)))
    parts = rng.standard_exponential((n, 1 + assets))
    parts[:300, 1:], parts[300:600, 0] = 0.0, 0.0
    held = parts[:, 1:] / parts.sum(axis=1, keepdims=True)
    actions = rng.normal(0.2, 1, (n, assets)).clip(-1, 1)
    rules = MarketRules(fee=0.002, slippage=0.001, min_order=0.0)
    account = Account(1e4 * (1 - held.sum(axis=1)).clip(0), 1e4 * held / close)
    known = advance(account, target_weights(actions), StepPrices(close, fill, after), rules)
    given = (torch.from_numpy(array) for array in (held, actions, fill / close, after / fill))
    holdings, growth = direct.step(*given, rules.cost)
    np.testing.assert_allclose(growth.numpy(), np.log(known.equity / known.equity_before), atol=1e-12)
    np.testing.assert_allclose(holdings.numpy(), known.account.units * after / known.equity[:, None], atol=1e-12)


@pytest.mark.parametrize(("gradient", "passed"), [(1.0, [0.0, 1.0, 1.0]), (-1.0, [-1.0, 0.0, -1.0])])
def test_an_action_outside_the_clamp_is_led_back_and_never_further_out(gradient, passed):
    actions = torch.tensor([-0.5, 1.5, 0.5], requires_grad=True)
    (found,) = torch.autograd.grad((gradient * direct._Projected.apply(actions)).sum(), actions)  # type: ignore[union-attr]
    assert found.tolist() == passed  # descent goes against the gradient


def row(way, growth, draw=1, market="leak", seed=0):
    return {"market": market, "way": way, "draw": draw, "seed": seed, "growth": growth}


def test_a_share_is_that_of_the_means_over_draws_with_an_interval_over_draws():
    rows = [row(skill.INFORMED, 0.1, draw) for draw in (1, 2)]
    rows += [row("plain PPO", growth, draw, seed=seed) for draw, seed, growth in
             ((1, 0, 0.02), (1, 1, 0.04), (2, 0, 0.09), (3, 0, 9.0))]  # fmt: skip
    rows += [row(skill.INFORMED, 0.0, market="noise"), row("plain PPO", -0.01, market="noise")]
    informed, plain, _, noise = skill.shares_of(rows)
    assert informed["share"] == informed["low"] == informed["high"] == 1.0
    assert plain["draws"] == 2 and plain["share"] == pytest.approx(0.6)
    assert (plain["low"], plain["high"]) == pytest.approx((0.3, 0.9))
    assert "of_direct" not in informed
    direct = [row("direct, 1 bar", 0.03, draw) for draw in (1, 2)]
    found = {one["way"]: one for one in skill.shares_of([one for one in rows if one["market"] == "leak"] + direct)}
    assert found["plain PPO"]["of_direct"] == pytest.approx(2.0)
    assert "share" not in noise and noise["growth"] == -0.01


def test_a_run_that_was_stopped_goes_on_and_other_settings_are_refused(tmp_path, monkeypatch):
    asked = []

    def rows(_, tasks):
        for task in tasks:
            asked.append(task.name)
            yield row(task.way, 0.1, task.draw, task.market, task.seed)
            if len(asked) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(skill, "in_processes", rows)
    command = ["--quick", "--only", "leak", "--json", str(tmp_path / "skill.json")]
    with pytest.raises(KeyboardInterrupt):
        skill.main(command)
    skill.main(command)
    assert len(asked) == len(set(asked)) == 11
    held = json.loads((tmp_path / "skill.json").read_text())
    assert len(held["rows"]) == len(held["shares"]) == 11
    with pytest.raises(SystemExit, match="rows of other settings"):
        skill.main(["--steps", "9", "--json", str(tmp_path / "skill.json")])
