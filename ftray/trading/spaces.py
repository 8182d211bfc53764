"""The space of observations, as gymnasium describes it.

Takes: a dataset, the form of an observation. Gives: a Box.
"""

from typing import Literal

import gymnasium as gym
import numpy as np

from ftray.features import Dataset


def observation_space(dataset: Dataset, observation: Literal["compact", "full"]) -> gym.spaces.Box:
    """The space of one account's observations."""
    layout = dataset.layout
    if observation == "compact":
        high = np.ones(layout.compact_size, dtype=np.float32)
        high[layout.compact_bar] = len(dataset.candles)
        return gym.spaces.Box(np.zeros_like(high), high)
    high = np.ones(layout.size, dtype=np.float32)
    high[layout.features] = dataset.table.scaler.clip
    low = np.zeros_like(high)
    low[layout.features] = -dataset.table.scaler.clip
    return gym.spaces.Box(low, high)
