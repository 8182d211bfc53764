"""Rewards: what a step is worth to the learner.

Takes: a `Step`, and the memory that earlier steps left. Gives: one float64 per account, and the memory for the step
after. Memory is a value, and whoever steps the accounts keeps it. A new reward is one function and one line in
`REWARDS`; ftray/testing/rewards.py is the contract that it keeps.

Legend: E accounts, M numbers that a reward remembers of each (mostly none).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ftray.families import Family
from ftray.trading.books import Step

SHARPE_RATE = 0.01
"""Weight of the newest return in the differential Sharpe ratio's moments: they look back about 100 bars."""

FIRST_VARIANCE = 0.01**2
"""Squared volatility of a bar that the moments start from: an hour of crypto. Gone after a few hundred bars."""

MIN_VARIANCE = 1e-4**2
"""An account that was long in cash has no volatility; without a floor its next trade could be worth any number."""


@dataclasses.dataclass(frozen=True)
class Reward:
    """One member of the family.

    name: what `TradingSpec.reward` calls it.
    compute: a step and the memory (M, E) before it → rewards (E,) float64 and the memory (M, E) after it.
    start: (M,) the memory that an account begins an episode with; most rewards have none.
    """

    name: str
    compute: Callable[[Step, np.ndarray], tuple[np.ndarray, np.ndarray]]
    start: tuple[float, ...] = ()

    def fresh_memory(self, n_accounts: int) -> np.ndarray:
        """The memory of `n_accounts` accounts at the start of their episodes. Shape: (M, E)."""
        return np.tile(np.array(self.start)[:, None], n_accounts)


def log_growth(step: Step, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of equity over equity one bar before: sums to the log of an episode's total growth."""
    return np.log(step.equity / step.equity_before), memory


def excess_growth(step: Step, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log growth beyond that of an equal-weight portfolio without costs: the market's own moves are no merit."""
    market = (step.prices.next_close / step.prices.close).mean(axis=1)
    return np.log(step.equity / step.equity_before / market), memory


def differential_sharpe(step: Step, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a return adds to the moving Sharpe ratio S = A / √(B − A²), to first order in the moments' rate η.

    A, B: exponentially weighted means of returns R and of their squares. The reward is η dS/dη
    = η (B (R − A) − A (R² − B) / 2) / (B − A²)^(3/2): rewards sum to about the change of S.
    Source: Moody and Saffell 2001, Learning to Trade via Direct Reinforcement, IEEE Transactions on Neural Networks
    12(4), equation 14.
    """
    returns = step.equity / step.equity_before - 1.0
    mean, square = memory
    surprise = np.stack((returns - mean, returns * returns - square))
    variance = np.maximum(square - mean * mean, MIN_VARIANCE)
    slope = (square * surprise[0] - 0.5 * mean * surprise[1]) / (variance * np.sqrt(variance))
    return SHARPE_RATE * slope, memory + SHARPE_RATE * surprise


REWARDS: Family[Reward] = Family(
    "reward",
    Reward("log_growth", log_growth),
    Reward("excess_growth", excess_growth),
    Reward("differential_sharpe", differential_sharpe, start=(0.0, FIRST_VARIANCE)),
)
