"""A tear sheet adds up, to the cent, and is the same of a backtest and of the run folder that stored it."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from ftray import plots, stats
from ftray.analysis.studies import open_study
from ftray.errors import NoResultError
from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.plots.trades import ALL
from ftray.runs import RunFolder
from ftray.trading import Backtest, MarketRules, backtest, equal_weight
from ftray.trial.bars import save_backtest, save_benchmarks
from ftray.trial.progress import Training
from tests.runs.test_version_0_1 import STORED as VERSION_0_1

FEATURES = FeatureSpec(lookback=8, indicators=("close", "volume"))
RULES = MarketRules(fee=0.002, slippage=0.001)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three assets, 3,000 hourly bars with five outages."""
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=3_000, seed=4, n_outages=5), WindowsSpec(), FEATURES)


def restless(bars: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.abs(np.sin(np.arange(1, 4) * bars[:, None] / 50.0)) / 4.0


@pytest.fixture(scope="module")
def policy(dataset) -> Backtest:
    return backtest(restless, dataset, dataset.windows.train, RULES)


@pytest.fixture(scope="module")
def benchmark(dataset) -> Backtest:
    return equal_weight(dataset, dataset.windows.train, RULES)


@pytest.fixture(scope="module")
def sheet(policy, benchmark) -> dict:
    return plots.backtest_data({"policy": policy, "equal_weight": benchmark, "hold_BTC": benchmark})


def test_the_profits_of_the_assets_add_up_to_the_accounts_to_the_cent(policy, sheet):
    assets = sheet["assets"]
    gained = policy.equity[-1] - policy.initial_cash
    assert len(policy.segment_starts) > 1 and list(assets.index) == [*policy.symbols, ALL]
    assert assets.loc[ALL, "profit"] == pytest.approx(gained, abs=0.005)
    for column in ("profit", "gross", "fees", "slippage", "closed", "open", "n_closed"):
        assert assets.loc[ALL, column] == pytest.approx(assets[column].drop(ALL).sum(), abs=0.005)
    assert (assets["closed"] + assets["open"]).tolist() == pytest.approx(assets["profit"].tolist(), abs=0.005)
    assert assets["gross"].tolist() == pytest.approx(assets.eval("profit + fees + slippage").tolist())
    assert assets.loc[ALL, "fees"] == pytest.approx(policy.fees.sum())


def test_closed_trades_are_the_sales_that_were_ordered(policy, sheet):
    assets, sold = sheet["assets"], policy.notional < 0
    assert assets["n_closed"].drop(ALL).tolist() == sold.sum(axis=0).tolist()
    assert (assets["winning"].between(0, 1)).all() and (assets["held"] >= 3_600).all()
    assert (assets["mean_profit"] * assets["n_closed"]).tolist() == pytest.approx(assets["closed"].tolist())


def test_net_and_gross_grow_apart_by_the_costs(policy, benchmark, sheet):
    assert list(sheet["equity"]) == ["policy", "gross", "equal_weight"]
    assert sheet["equity"]["policy"] == pytest.approx([1, *policy.equity / policy.initial_cash])
    numbers = sheet["numbers"]
    assert numbers.loc["sharpe", "policy"] == policy.performance()["sharpe"]
    assert numbers.loc["turnover", "policy"] == pytest.approx(policy.performance()["turnover"])
    assert numbers.loc["sharpe", "equal_weight"] == benchmark.performance()["sharpe"]
    assert numbers.loc["total_return", "gross"] > numbers.loc["total_return", "policy"]
    apart = (sheet["returns"]["gross"] - sheet["returns"]["policy"]).sum()
    assert apart == pytest.approx(numbers.loc[["fees", "slippage"], "policy"].sum())


def test_months_drawdowns_and_rolling_ratios_are_those_of_the_chained_returns(policy, sheet):
    months = sheet["months"]["policy"]
    assert np.prod(1 + months) == pytest.approx(policy.equity[-1] / policy.initial_cash)
    assert str(months.index[0])[:7] == str(policy.filled_at[0])[:7]
    deepest = sheet["drawdowns"].iloc[0]
    assert deepest["depth"] == pytest.approx(policy.performance()["max_drawdown"])
    assert deepest["start"] < deepest["trough"] and deepest["length"] >= deepest["trough"] - deepest["start"]
    rolling = sheet["rolling"]
    assert rolling["policy"].iloc[-1] == stats.sharpe(policy.returns[-720:], policy.bars_per_year)
    assert rolling.index[-1] == policy.times[-1]


def test_a_run_folder_gives_the_sheet_of_the_backtests_that_it_stored(dataset, policy, benchmark, sheet, tmp_path):
    """Of two seeds that did the same, the means are those of one."""
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    run.add_trial("trial-0000", 0, "trial", {}, {})
    run.trial_started("trial-0000")
    done = [{"fold": 0, "seed": seed, "env_steps": 1} for seed in (1, 2)]
    for one in done:
        save_backtest(run.trial_folder("trial-0000").folder, Training(0, one["seed"]), dataset, policy)
    save_benchmarks(run.path, 0, dataset, {"equal_weight": benchmark})
    run.trial_folder("trial-0000").report({"env_steps": 1, "fold": 0, "seed": 2, "runs": done})
    stored = plots.tear_sheet_data(open_study(run.path), "trial-0000")
    for name, own in {"trial-0000": "policy", "gross": "gross", "equal_weight": "equal_weight"}.items():
        np.testing.assert_allclose(stored["returns"][name], sheet["returns"][own], atol=1e-12)
    np.testing.assert_array_equal(stored["times"], sheet["times"])
    for part in ("numbers", "months", "rolling"):
        ours = sheet[part].rename(columns={"policy": "trial-0000"})
        pd.testing.assert_frame_equal(stored[part], ours, check_index_type=False, check_freq=False)
    money = [column for column in sheet["assets"] if column != "n_closed"]
    pd.testing.assert_frame_equal(stored["assets"][money], sheet["assets"][money])
    assert (stored["assets"]["n_closed"] == 2 * sheet["assets"]["n_closed"]).all()
    held = sheet["weights"].loc[stored["weights"].index]
    np.testing.assert_allclose(stored["weights"][list(policy.symbols)], held, atol=1e-12)
    assert len(held) == 1_000 and held.index[-1] == policy.times[-1]


def test_what_0_1_did_not_store_is_left_out(tmp_path):
    study = open_study(shutil.copytree(VERSION_0_1, tmp_path / "old"))
    data = plots.tear_sheet_data(study, "trial-0000")
    assert list(data["returns"]) == ["trial-0000", "equal_weight"]
    assert data["assets"] is None and np.isnan(data["numbers"].loc["fees", "trial-0000"])
    with pytest.raises(NoResultError, match=r"version 0\.1 ran it"):
        plots.plot_weights(data)


def cut(one: Backtest, n: int) -> Backtest:
    """The first n steps."""
    parts = {
        field.name: getattr(one, field.name)[:n]
        for field in dataclasses.fields(one)
        if isinstance(getattr(one, field.name), np.ndarray)
    }
    return dataclasses.replace(one, **{**parts, "segment_starts": one.segment_starts[one.segment_starts < n]})


def spendthrift(bars: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.tile((bars % 2)[:, None], (1, 3))


def one_asset() -> Backtest:
    alone = build_dataset(SimulatorSpec(n_assets=1, n_bars=1_500), WindowsSpec(), FEATURES)
    return backtest(lambda bars, _: (bars[:, None] % 2) * 1.0, alone, alone.windows.train, RULES)


ODD = {
    "no fills": lambda dataset, policy: backtest(
        lambda bars, _: np.zeros((len(bars), 3)), dataset, dataset.windows.train, RULES
    ),
    "one bar": lambda _, policy: cut(policy, 1),
    "a few days": lambda _, policy: cut(policy, 72),
    "ruined": lambda dataset, _: backtest(
        spendthrift, dataset, dataset.windows.train, MarketRules(fee=0.1, slippage=0.1, min_order=0)
    ),
    "one asset": lambda *_: one_asset(),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_backtest_has_a_tear_sheet_whose_figures_can_be_drawn(kind, dataset, policy):
    odd = ODD[kind](dataset, policy)
    data = plots.backtest_data({"policy": odd})
    assert len(data["times"]) == len(odd) + 1 and np.isfinite(data["numbers"].to_numpy()[:5]).all()
    assert data["assets"].loc[ALL, "profit"] == pytest.approx(odd.equity[-1] - odd.initial_cash, abs=0.005)
    for draw in ("equity", "monthly_returns", "rolling_sharpe", "weights", "activity"):
        assert getattr(plots, f"plot_{draw}")(data).to_plotly_json()
    assert ("annual_return" in data["numbers"].index) == (len(odd) >= 720)
