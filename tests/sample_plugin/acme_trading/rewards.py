"""`calm_growth`: growth, less what is missing to the episode's peak.

Legend: E accounts.
"""

import numpy as np

from ftray.trading import REWARDS, Reward, Step

CALM = 0.02


def calm_growth(step: Step, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log growth − 0.02 × log(peak / equity): every bar below the peak costs something.

    Shape: E accounts, memory (1, E): log(peak / equity) after the step before → (E,), (1, E).
    """
    growth = np.log(step.equity / step.equity_before)
    below_peak = np.maximum(0.0, memory - growth)
    return growth - CALM * below_peak[0], below_peak


CALM_GROWTH = Reward("calm_growth", calm_growth, start=(0.0,))
REWARDS.register(CALM_GROWTH)
