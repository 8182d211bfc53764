"""The test window is closed: no backtest, benchmark or environment touches its bars, however a window is made."""

import numpy as np
import pytest

from ftray.errors import RefusedError
from ftray.features.dataset import open_test_window
from ftray.market import Window
from ftray.trading import (
    MarketRules,
    TradingEnv,
    TradingSpec,
    VectorTradingEnv,
    backtest,
    benchmarks,
    buy_and_hold,
    equal_weight,
)

RULES, SPEC = MarketRules(), TradingSpec()


def in_cash(bars, accounts):
    return np.zeros((len(bars), 3))


READERS = {
    "backtest": lambda dataset, window: backtest(in_cash, dataset, window, RULES),
    "equal_weight": lambda dataset, window: equal_weight(dataset, window, RULES),
    "buy_and_hold": lambda dataset, window: buy_and_hold(dataset, window, RULES, dataset.layout.symbols[0]),
    "benchmarks": lambda dataset, window: benchmarks(dataset, window, RULES),
    "TradingEnv": lambda dataset, window: TradingEnv(dataset, window, SPEC),
    "VectorTradingEnv": lambda dataset, window: VectorTradingEnv(dataset, window, SPEC, n_envs=2),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_window_with_a_bar_of_the_test_window_is_refused(dataset, read):
    test, n_bars = dataset.windows.test, len(dataset.candles)
    (validation,) = dataset.windows.validation
    by_hand = [
        test,
        Window(0, n_bars),
        Window(validation.start, test.start + 1),  # its last step ends at the close of the test window's first bar
        Window(test.start + 10, test.stop - 10),
        (validation, test),
        (Window(0, 300), Window(n_bars - 30, n_bars)),
    ]
    for window in by_hand:
        with pytest.raises(RefusedError, match=r"the test window \[1275, 1500\) is closed, and .* has bars of it"):
            read(dataset, window)
    read(dataset, Window(validation.start, test.start))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_it_can_be_read_where_it_was_opened(dataset, read):
    opened, window = open_test_window(dataset)
    assert window == dataset.windows.test
    read(opened, window)
    with pytest.raises(RefusedError):
        read(dataset, window)  # the other one stays closed
