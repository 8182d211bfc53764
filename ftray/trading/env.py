"""The trading environment that steps many accounts at once, for training.

Takes: a dataset, a window of it or the windows of a fold, a `TradingSpec`. Gives: `VectorTradingEnv`.

An action is one number per asset, see `target_weights`. A market that ends truncates, ruin terminates. On an episode's
last step `infos["performance"]` holds its metrics.

Legend: E accounts, A assets.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector.utils import batch_space

from ftray.errors import DataError, SpecError, TrainingError
from ftray.features import Dataset
from ftray.market import Pieces
from ftray.numeric import checked_seed, positive_number, real_numbers, whole_number
from ftray.trading.account import check_actions, outside_no_trade, target_weights
from ftray.trading.advance import advance
from ftray.trading.books import Account, Step
from ftray.trading.episodes import EpisodeStarts, EpisodeStatistics, chosen_start
from ftray.trading.prices import PriceTape, tradable_segments
from ftray.trading.rewards import REWARDS
from ftray.trading.spaces import observation_space
from ftray.trading.spec import TradingSpec
from ftray.trading.state import random_text, read_state

EXACT_IN_FLOAT32 = 2**24
"""Bars from here on are not all different numbers in float32, the type that a compact observation travels in."""
MOST_ACCOUNTS = 2**20
"""More are a mistake: they would need all of a machine's memory before anything said so."""
STATE = ("bars", "ends", "ended", "memory")
"""The arrays of an environment's state, each replaced as a whole by a step."""


class Alternatives(NamedTuple):
    """What K other actions of E accounts would bring.

    rewards: (E, K). observations: (E, K, size of one), at the next bar. ruined: (E, K) bool, where the episode would
    terminate.
    """

    rewards: np.ndarray
    observations: np.ndarray
    ruined: np.ndarray


class VectorTradingEnv(gym.vector.VectorEnv):
    """E accounts in one market, as gymnasium's vector environment: what `run_trial` trains on.

    An action is one number per asset in [-1, 1]; the target weight of an asset is max(a, 0) / max(1, sum of those), and
    the rest stays in cash. Orders are decided after a bar's close and fill at the next open, or as `MarketRules.fill`
    says. A market that ends truncates an episode, ruin terminates it. After its last step, the next step ignores its
    action and gives reward 0 and the first observation of a new episode (next-step autoreset). Accounts start all in
    cash; those that share a timeline start with random holdings, so that they differ. When one of them is ruined, the
    others truncate with it.

    window: the window, or the windows of one side of a fold, that episodes lie in: `dataset.windows.train`.
    n_envs: E, a multiple of `spec.accounts_per_bar`, at most 2^20.
    observation: `compact`, `[bar, cash, holdings]` (E, 2 + A), or `full`, `[cash, holdings, features]` (E,
        `layout.size`); both float32, cash and holdings as fractions of equity.
    seed: of starts and holdings; None takes one from the system.
    reward_scale: factor on every reward.

    Raises: SpecError for another number of accounts; DataError for a window without tradable bars, or for more bars
        than float32 counts (2^24) with compact observations; RefusedError for bars of the test window.
    """

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(
        self,
        dataset: Dataset,
        window: Pieces,
        spec: TradingSpec,
        *,
        n_envs: int,
        observation: Literal["compact", "full"] = "compact",
        seed: int | None = None,
        reward_scale: float = 1.0,
    ):
        n_envs = whole_number(n_envs, "the number of accounts", 1, MOST_ACCOUNTS)
        if n_envs % spec.accounts_per_bar:
            raise SpecError(
                f"the number of accounts must be a multiple of accounts_per_bar = {spec.accounts_per_bar}, got {n_envs}"
            )
        self.single_observation_space = observation_space(dataset, observation)
        if observation == "compact" and len(dataset.candles) >= EXACT_IN_FLOAT32:
            raise DataError(
                f"a compact observation names at most {EXACT_IN_FLOAT32} bars exactly, got {len(dataset.candles)}; "
                "use fewer candles or full observations"
            )
        self.dataset, self.window, self.trading, self.observation = dataset, window, spec, observation
        self.num_envs, self.reward_scale = n_envs, positive_number(reward_scale, "reward_scale")
        self._np_random, self._np_random_seed = seeding.np_random(checked_seed(seed))
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (dataset.layout.n_assets,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, n_envs)
        self.action_space = batch_space(self.single_action_space, n_envs)
        self._tape = PriceTape(dataset.candles, spec.rules)
        self._starts = EpisodeStarts(tradable_segments(dataset, window), spec.episode_bars)
        self._reward = REWARDS[spec.reward]
        self._memory = self._reward.fresh_memory(n_envs)
        self._account = Account.all_cash(n_envs, dataset.layout.n_assets, spec.rules.initial_cash)
        self._statistics = EpisodeStatistics(n_envs, spec.rules.initial_cash, dataset.candles.bars_per_year)
        self._bars = np.zeros(n_envs, dtype=np.int64)
        self._ends = np.zeros(n_envs, dtype=np.int64)
        self._ended: np.ndarray | None = None  # None: not reset yet

    @property
    def bars(self) -> np.ndarray:
        """The bar that each account stands at. Shape: (E,) int64."""
        return self._bars.copy()

    @property
    def equity(self) -> np.ndarray:
        """Equity at the close of that bar, in quote currency. Shape: (E,) float64."""
        return self._account.equity(self._tape.close(self._bars))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts E new episodes; their first observations and an empty info.

        seed: reseeds the environment if given; one for all accounts, which draw from one stream. A list of seeds, as
            other vector environments take, is refused.
        options: `{"bars": [...]}` names the bars to start at, one per timeline; by default they are random.

        Raises: DataError for a bar that is not tradable, or no whole number; SpecError for another number of bars, for
            another option, and for a seed that is no whole number from 0 on.
        """
        if checked_seed(seed) is not None:
            self._np_random, self._np_random_seed = seeding.np_random(checked_seed(seed))
        n_timelines = self.num_envs // self.trading.accounts_per_bar
        bars = chosen_start(options, "bars", "a bar for each timeline")
        starts = self._starts.sample(n_timelines, self.np_random) if bars is None else self._starts.at(bars)
        if len(starts[0]) != n_timelines:
            raise SpecError(f"`bars` must name one bar for each of {n_timelines} timelines, got {len(starts[0])}")
        self._restart(np.ones(self.num_envs, dtype=bool), starts)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        return self._observations(), {}

    def step(
        self, actions: np.ndarray | Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One bar for all accounts: observations, rewards, terminated, truncated and infos.

        An episode's last step has its metrics in `infos["performance"]`, with a mask of the accounts that they belong
        to.

        actions: (E, A). Rewards are (E,) float64, terminated and truncated (E,) bool.

        Raises: TrainingError before the first reset, for another shape, or for actions that are no array of finite real
            numbers.
        """
        if self._ended is None:
            raise TrainingError("an environment must be reset before its first step; call reset()")
        restarting = self._ended
        given = check_actions(actions, self.num_envs, self.dataset.layout.n_assets)
        weights = self._weights(given, self._account, self._bars - restarting)
        # An account at its end has no next bar: it steps from the bar before, and its new episode replaces the result.
        result = advance(self._account, weights, self._tape.step(self._bars - restarting), self.trading.rules)
        rewards, self._memory = self._rewards(result, self._memory)
        # Ruin ends an episode, so no bar follows for which the account would be closed: it is shown as it was ruined.
        self._account, self._bars = result.account, self._bars + 1
        self._statistics.add(result)
        terminated, truncated = self._endings(result.ruined)
        if restarting.any():
            rewards[restarting] = 0.0
            terminated, truncated = terminated & ~restarting, truncated & ~restarting
            n_timelines = int(restarting.sum()) // self.trading.accounts_per_bar
            self._restart(restarting, self._starts.sample(n_timelines, self.np_random))
        self._ended = terminated | truncated
        return self._observations(), rewards, terminated, truncated, self._infos(self._ended)

    def get_state(self) -> dict[str, np.ndarray | str]:
        """Where every account stands, and the random state, for `set_state`.

        Raises: TrainingError before the first reset.
        """
        if self._ended is None:
            raise TrainingError("an environment has no state before its first reset; call reset()")
        return {**self._arrays(), "random": random_text(self.np_random)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues to the last bit; the next call is `step`.

        state: of an environment with the same arguments, by `get_state`.

        Raises: WeightsError for the state of another environment, or for what is none; this one is then as it was.
        """
        found, random = read_state(state, self._arrays(), len(self.dataset.candles), self.np_random)
        for name in STATE:
            setattr(self, f"_{name}", found[name])
        self._account = Account(found["cash"], found["units"])
        self._statistics.set_state(found)
        self.np_random.bit_generator.state = random

    def alternatives(self, actions: np.ndarray) -> Alternatives:
        """What other actions would bring at this bar, priced exactly; none of them is taken.

        The next `step` of the same accounts gives the same numbers for the same actions. Of an account that restarts
        they mean nothing, like the action that its step ignores.

        actions: (E, K, A), K for each account.

        Raises: TrainingError before the first reset, for another shape, or for actions that are no array of finite real
            numbers.
        """
        if self._ended is None:
            raise TrainingError("an environment must be reset before its actions can be priced; call reset()")
        n_envs, n_assets = self.num_envs, self.dataset.layout.n_assets
        actions = real_numbers(actions, "actions", TrainingError)
        k = max(actions.shape[1], 1) if actions.ndim == 3 else 1
        actions = check_actions(actions, n_envs, k, n_assets)
        rows = np.repeat(np.arange(n_envs), k)
        account = Account(self._account.cash[rows], self._account.units[rows])
        bars = (self._bars - self._ended)[rows]
        weights = self._weights(actions.reshape(-1, n_assets), account, bars)
        result = advance(account, weights, self._tape.step(bars), self.trading.rules)
        rewards, _ = self._rewards(result, self._memory[:, rows])
        observations = self._observe(result.account, bars + 1)
        return Alternatives(
            rewards.reshape(n_envs, k), observations.reshape(n_envs, k, -1), result.ruined.reshape(n_envs, k)
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the state by name; before the first reset, of the same shapes."""
        arrays = {name: getattr(self, f"_{name}") for name in STATE}
        if self._ended is None:
            arrays["ended"] = np.zeros(self.num_envs, dtype=bool)
        return arrays | {"cash": self._account.cash, "units": self._account.units, **self._statistics.get_state()}

    def _weights(self, actions: np.ndarray, account: Account, bars: np.ndarray) -> np.ndarray:
        """What actions want, outside the no-trade zone around what accounts hold. Shape: (E, A)."""
        width = self.trading.no_trade
        if width > 0.0:
            actions = outside_no_trade(actions, account.fractions(self._tape.close(bars))[:, 1:], width)
        return target_weights(actions)

    def _rewards(self, result: Step, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rewards, memory = self._reward.compute(result, memory)
        if self.trading.turnover_penalty > 0:
            rewards = rewards - self.trading.turnover_penalty * result.turnover
        return rewards * self.reward_scale, memory

    def _endings(self, ruined: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which episodes terminate, and which are truncated; each (E,) bool."""
        over = self._bars >= self._ends
        if not np.count_nonzero(ruined):  # as in `advance`
            return ruined, over
        by_timeline = ruined.reshape(-1, self.trading.accounts_per_bar).any(axis=1)
        return ruined, (over | np.repeat(by_timeline, self.trading.accounts_per_bar)) & ~ruined

    def _restart(self, which: np.ndarray, starts: tuple[np.ndarray, np.ndarray]) -> None:
        """Begin new episodes for the accounts in the mask `which` (E,), at the bars and with the ends in `starts`."""
        shared = self.trading.accounts_per_bar
        bars, ends = (np.repeat(array, shared) for array in starts)
        self._bars, self._ends = self._bars.copy(), self._ends.copy()
        self._bars[which], self._ends[which] = bars, ends
        cash, units = self._account.cash.copy(), self._account.units.copy()
        cash[which], units[which] = self.trading.rules.initial_cash, 0.0
        if shared > 1:
            parts = self.np_random.standard_exponential((len(bars), self.dataset.layout.n_account))  # a flat Dirichlet
            money = self.trading.rules.initial_cash * parts / parts.sum(axis=1, keepdims=True)
            cash[which], units[which] = money[:, 0], money[:, 1:] / self._tape.close(bars)
        self._account = Account(cash, units)
        self._memory = np.where(which, self._reward.fresh_memory(self.num_envs), self._memory)
        self._statistics.restart(which)

    def _observations(self) -> np.ndarray:
        return self._observe(self._account, self._bars)

    def _observe(self, account: Account, bars: np.ndarray) -> np.ndarray:
        """What accounts observe at these bars. Shape: bars (E,) → (E, 2 + A) or (E, size)."""
        fractions, layout = account.fractions(self._tape.close(bars)), self.dataset.layout
        observations = np.empty((len(bars), *self.single_observation_space.shape), dtype=np.float32)  # type: ignore[misc]
        if self.observation == "full":  # not by `table.observation`, which checks accounts: these are our own
            observations[:, layout.account] = fractions
            observations[:, layout.features] = self.dataset.table.window(bars).reshape(len(bars), layout.n_features)
        else:
            observations[:, layout.compact_bar], observations[:, layout.compact_account] = bars, fractions
        return observations

    def _infos(self, ended: np.ndarray) -> dict[str, Any]:
        """Gymnasium's form for vectors: arrays, each with a mask of the accounts that it is meant for."""
        if not ended.any():
            return {}
        metrics = self._statistics.performance()
        masks = {f"_{name}": ended.copy() for name in metrics}
        return {"performance": {**metrics, **masks}, "_performance": ended.copy()}
