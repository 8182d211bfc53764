"""Two traders without a network: one knows what returns to expect, the other estimates it by ridge regression.

Takes: a dataset, expected returns, rules. Gives: growth per day on the validation window.

Both trade by one rule: hold what promises most after the costs of changing over. The rule is not the optimum, and a
policy may find a better one; but the first trader knows volatilities and regimes, which a policy has to infer.

Legend: T bars, A assets.
"""

import numpy as np
from trainings import growth_per_day

from ftray.features import Dataset
from ftray.market import Pieces, Window
from ftray.trading import MarketRules, backtest

HORIZONS = tuple(2.0**power for power in range(9))
PENALTIES = (1e2, 1e3, 1e4, 1e5, 1e6)
HELD_OUT = 0.2
"""The last part of the train window, on which the ridge's penalty and horizon are chosen."""


def rule_growth(dataset: Dataset, promise: np.ndarray, rules: MarketRules, horizon: float, window: Pieces) -> float:
    """Growth per day of all in the asset, or the cash, whose promise times the horizon is best after costs.

    promise: at each bar, the log return to expect from the next fill to the one after. Shape: (T, A).
    """
    choices = np.vstack([np.zeros(promise.shape[1]), np.eye(promise.shape[1])])

    def act(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        held = accounts[:, 1:]
        traded = np.abs(choices - held[:, None]).sum(axis=-1)
        gain = horizon * promise[bars] @ choices.T - rules.cost * traded
        best = np.argmax(gain, axis=1)
        moves = gain.max(axis=1) > horizon * (promise[bars] * held).sum(axis=1)
        return np.where(moves[:, None], choices[best], held)

    return growth_per_day(backtest(act, dataset, window, rules), dataset)


def informed_growth(dataset: Dataset, expected: np.ndarray, rules: MarketRules) -> float:
    """Of the trader who knows the expected log return of every bar (T, A) when the bar before it closes.

    An expectation lasts longer than the bar that it is of, and who pays for every change must know how long: it is
    taken times the horizon that earns most on the train window (the aim of Garleanu and Pedersen 2013, Dynamic Trading
    with Predictable Returns and Transaction Costs, depends on a predictor's decay alike).
    """
    promise = _one_bar_earlier(expected)
    best = max(HORIZONS, key=lambda horizon: rule_growth(dataset, promise, rules, horizon, dataset.windows.train))
    return rule_growth(dataset, promise, rules, best, dataset.windows.validation)


def ridge_growth(dataset: Dataset, rules: MarketRules) -> float:
    """Of the trader who estimates that return by a ridge regression on all features of the whole lookback."""
    bars = dataset.table.decision_bars(dataset.windows.train)
    bars = bars[bars < dataset.windows.train[-1].stop - 2]
    cut = int(len(bars) * (1.0 - HELD_OUT))
    gap = dataset.layout.lookback
    fitted, held_out = bars[: cut - gap], Window(int(bars[cut]) - gap + 1, dataset.windows.train[-1].stop)
    tries = [
        (rule_growth(dataset, promise, rules, horizon, held_out), penalty, horizon)
        for penalty, promise in _ridges(dataset, fitted, PENALTIES)
        for horizon in HORIZONS
    ]
    _, penalty, horizon = max(tries)
    ((_, promise),) = _ridges(dataset, bars, (penalty,))
    return rule_growth(dataset, promise, rules, horizon, dataset.windows.validation)


def _ridges(dataset: Dataset, fitted: np.ndarray, penalties: tuple[float, ...]) -> list[tuple[float, np.ndarray]]:
    """What ridge regressions, fitted on some bars, promise at every bar: (penalty, (T, A)) each."""
    opens = dataset.candles.column("open")
    returns = np.zeros_like(opens)
    returns[:-2] = np.log(opens[2:] / opens[1:-1])
    known = np.concatenate(
        [dataset.table.decision_bars(window) for window in (dataset.windows.train, dataset.windows.validation)]
    )
    inputs = dataset.table.window(fitted).reshape(len(fitted), -1).astype(np.float64)
    centre, scale = returns[fitted].mean(axis=0), returns[fitted].std(axis=0)
    products, targets = inputs.T @ inputs, inputs.T @ ((returns[fitted] - centre) / scale)
    found = []
    for penalty in penalties:
        weights = np.linalg.solve(products + penalty * np.eye(len(products)), targets)
        promise = np.zeros_like(opens)
        for part in np.array_split(known, max(1, len(known) // 4_096)):
            promise[part] = dataset.table.window(part).reshape(len(part), -1) @ weights * scale + centre
        found.append((penalty, promise))
    return found


def _one_bar_earlier(expected: np.ndarray) -> np.ndarray:
    """An order of bar t is filled when t + 1 opens, and earns what that bar does."""
    return np.concatenate([expected[1:], np.zeros_like(expected[:1])])
