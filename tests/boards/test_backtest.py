"""What is printed of a backtest."""

from ftray import FeatureSpec, MarketRules, SimulatorSpec, WindowsSpec, build_dataset
from ftray.boards.backtest import describe_idle
from ftray.trading import benchmarks


def test_benchmarks_that_cannot_trade_are_named_and_cash_is_none_of_them():
    dataset = build_dataset(SimulatorSpec(n_assets=6, n_bars=3_000), WindowsSpec(), FeatureSpec())
    lines = {}
    for min_order in (10.0, 2_000.0):
        held = benchmarks(dataset, dataset.windows.validation, MarketRules(min_order=min_order))
        lines[min_order] = describe_idle({name: one.performance() for name, one in held.items()})
    assert lines[10.0] == []
    (line,) = lines[2_000.0]
    assert line == "cannot trade, and stay in cash: equal_weight; all their orders are below rules.min_order"
