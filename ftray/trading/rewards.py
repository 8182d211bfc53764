"""Rewards: what a step is worth to the learner.

Takes: a `Step`. Gives: one float64 per account (E,). A new reward is one function, one line in `REWARDS` and its name
in `TradingSpec.reward`.
"""

from collections.abc import Callable

import numpy as np

from ftray.trading.account import Step


def log_growth(step: Step) -> np.ndarray:
    """Log of equity over equity one bar before: sums to the log of an episode's total growth."""
    return np.log(step.equity / step.equity_before)


def excess_growth(step: Step) -> np.ndarray:
    """Log growth beyond that of an equal-weight portfolio without costs: the market's own moves are no merit."""
    return log_growth(step) - np.log((step.prices.next_close / step.prices.close).mean(axis=1))


REWARDS: dict[str, Callable[[Step], np.ndarray]] = {"log_growth": log_growth, "excess_growth": excess_growth}
