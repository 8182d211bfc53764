"""The space of observations, as gymnasium describes it.

Takes: a dataset, the form of an observation. Gives: a Box.
"""

from typing import Literal, get_args

import gymnasium as gym
import numpy as np

from ftray.errors import SpecError
from ftray.features import Dataset

Form = Literal["compact", "full"]


def observation_space(dataset: Dataset, observation: Form) -> gym.spaces.Box:
    """The space of one account's observations. Raises: SpecError for another form than these."""
    if not (isinstance(observation, str) and observation in get_args(Form)):
        raise SpecError(f"an observation must be one of {', '.join(get_args(Form))}; got {observation!r}")
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
