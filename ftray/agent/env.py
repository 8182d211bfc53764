"""The training environment as RLlib makes it: from a mapping, in each env runner's process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftray.features import Dataset
from ftray.plugins import load_carried
from ftray.spec import parse
from ftray.trading import TradingSpec, VectorTradingEnv


class TrainingEnv(VectorTradingEnv):
    """A `VectorTradingEnv` with compact observations on the train window.

    RLlib takes a class and calls it with one mapping: `env_config` with `num_envs` added.
    """

    def __init__(self, context: Mapping[str, Any]):
        load_carried(context.get("plugins", ()))
        dataset = Dataset.load(Path(context["dataset"]))
        super().__init__(
            dataset,
            dataset.windows.train,
            parse(TradingSpec, context["trading"]),
            n_envs=context["num_envs"],
            observation="compact",
            seed=0,  # RLlib gives each env runner's first reset a seed of its own
            reward_scale=context["reward_scale"],
        )
