"""The trading environment for gymnasium's users: one account with full observations.

Takes: a dataset, a window of it or the windows of a fold, a `TradingSpec`. Gives: `TradingEnv`.

Legend: A assets.
"""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np

from ftray.errors import TrainingError
from ftray.features import Dataset
from ftray.market import Pieces
from ftray.numeric import checked_seed, whole_number
from ftray.trading.account import check_actions
from ftray.trading.env import VectorTradingEnv
from ftray.trading.episodes import chosen_start
from ftray.trading.spec import TradingSpec


class TradingEnv(gym.Env):
    """One account with full observations, as a gymnasium environment: a `VectorTradingEnv` of one, without autoreset.

    An action is one number per asset in [-1, 1]; the target weight of an asset is max(a, 0) / max(1, sum of those), and
    the rest stays in cash. An observation has `layout.size` floats, see `ObservationLayout`. A market that ends
    truncates an episode, ruin terminates it. Infos hold `bar` (an index) and `equity` (in quote currency), and
    `performance` (metrics of the episode) on its last step.

    window: the window, or the windows of one side of a fold, that episodes lie in: `dataset.windows.train`.
    seed: of the starts; None takes one from the system.
    reward_scale: factor on every reward.

    Raises: DataError for a window without tradable bars.

    >>> import ftray, numpy as np
    >>> market = ftray.SimulatorSpec(n_assets=2, n_bars=3_000)
    >>> dataset = ftray.build_dataset(market, ftray.WindowsSpec(), ftray.FeatureSpec(indicators=("close",)))
    >>> env = ftray.TradingEnv(dataset, dataset.windows.train, ftray.TradingSpec(episode_bars=100))
    >>> observation, info = env.reset(options={"bar": 500})
    >>> observation.shape, info
    ((123,), {'bar': 500, 'equity': 10000.0})
    >>> observation, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0]))
    >>> observation[dataset.layout.account].round(2).tolist()  # all of it in the first asset
    [0.0, 1.0, 0.0]
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(
        self, dataset: Dataset, window: Pieces, spec: TradingSpec, *, seed: int | None = None, reward_scale: float = 1.0
    ):
        spec = dataclasses.replace(spec, accounts_per_bar=1)
        self._vector = VectorTradingEnv(
            dataset, window, spec, n_envs=1, observation="full", seed=seed, reward_scale=reward_scale
        )
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._n_assets, self._is_over = dataset.layout.n_assets, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; its first observation and info.

        seed: reseeds the environment if given.
        options: `{"bar": t}` starts at a chosen bar; by default it is random.

        Raises: DataError for a bar that is not tradable; SpecError for one that is no whole number, for another option,
            and for a seed that is no whole number from 0 on.
        """
        bar = chosen_start(options, "bar", "where the episode starts")
        chosen = None if bar is None else {"bars": [whole_number(bar, "`bar`")]}
        super().reset(seed=checked_seed(seed))
        observations, _ = self._vector.reset(seed=seed, options=chosen)
        self._is_over = False
        return observations[0], self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One bar: observation, reward, terminated, truncated and info.

        action: (A,).

        Raises: TrainingError before the first reset, after an episode's end, for another shape, or for an action that
            is no array of finite real numbers.
        """
        if self._is_over:
            raise TrainingError("the episode has ended, and a step after its end means nothing; call reset()")
        given = check_actions(action, self._n_assets)
        observations, rewards, terminated, truncated, infos = self._vector.step(given[None])
        self._is_over = bool(terminated[0] or truncated[0])
        performance = {k: v[0].item() for k, v in infos.get("performance", {}).items() if not k.startswith("_")}
        info = self._info() | ({"performance": performance} if performance else {})
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def _info(self) -> dict[str, Any]:
        return {"bar": int(self._vector.bars[0]), "equity": float(self._vector.equity[0])}
