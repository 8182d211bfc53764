"""In a falling market the study files' objective ranks by skill, where a Sharpe ratio ranks by volatility."""

import dataclasses

import numpy as np
import pytest

from ftray.analysis.leaderboard import leaderboard_rows
from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.metrics import validation
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Objective, objectives_of
from ftray.shipped import shipped_studies
from ftray.study import load_study
from ftray.trading import Backtest, MarketRules, backtest, equal_weight

RULES = MarketRules(fee=0.0005, slippage=0.0, min_order=0.0)
CALM, WILD = 0, 1


@pytest.fixture(scope="module")
def falling() -> Dataset:
    """Both assets fall, the wild one by more; it swings four times as much."""
    made = build_dataset(
        SimulatorSpec(n_assets=2, n_bars=4_000), WindowsSpec(), FeatureSpec(lookback=8, indicators=("close",))
    )
    validated = made.windows.validation[0]
    shocks = np.random.default_rng(0).normal(0, 1, (4_000, 2))
    shocks -= shocks[validated.start : validated.stop].mean(axis=0)
    returns = np.array([-5e-4, -7e-4]) + np.array([0.002, 0.008]) * shocks
    closes = 100 * np.cumprod(1 + returns, axis=0)
    opens = np.vstack([np.full((1, 2), 100.0), closes[:-1]])
    candles = np.stack(
        [opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, np.ones_like(closes)], axis=-1
    )
    return dataclasses.replace(made, candles=dataclasses.replace(made.candles, values=candles))


def half_in(asset: int, dataset: Dataset) -> Backtest:
    """A constant portfolio: half in an asset, half in cash."""
    weights = np.eye(2)[asset] / 2
    return backtest(lambda bars, _: np.tile(weights, (len(bars), 1)), dataset, dataset.windows.validation, RULES)


def ranked(dataset: Dataset, objective: Objective) -> list[str]:
    even = equal_weight(dataset, dataset.windows.validation, RULES)
    portfolios = {"calm": half_in(CALM, dataset), "wild": half_in(WILD, dataset)}
    records = []
    for number, (name, one) in enumerate(portfolios.items()):
        metrics = {validation(measure): value for measure, value in one.performance(even).items()}
        records.append(TrialRecord(name, number, "trial", "COMPLETE", {}, {}, metrics=metrics))
    return [row["trial"] for row in leaderboard_rows(records, [objective])]


def test_of_two_constant_portfolios_that_fall_the_more_volatile_one_does_not_lead(falling):
    assert half_in(CALM, falling).performance()["total_return"] > half_in(WILD, falling).performance()["total_return"]
    assert ranked(falling, Objective(metric=validation("sharpe"), direction="maximize")) == ["wild", "calm"]
    assert ranked(falling, objectives_of(load_study("demo").identity)[0]) == ["calm", "wild"]


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name != "pretrain_1h"])
def test_every_study_file_that_trains_searches_for_the_active_sharpe_ratio(name):
    (goal,) = objectives_of({"search": {"objectives": load_study(name).identity["search"]["objectives"]}})
    assert (goal.metric, goal.direction) == ("validation/active_sharpe", "maximize")
