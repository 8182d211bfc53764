"""The environments keep gymnasium's contract, never cross a hole in time, and agree with the backtest exactly."""

import dataclasses
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import DictInfoToList

from ftray import stats
from ftray.errors import DataError, SpecError, TrainingError
from ftray.features.dataset import open_test_window
from ftray.market import Window
from ftray.trading import MarketRules, TradingEnv, TradingSpec, VectorTradingEnv, backtest
from ftray.trading.prices import tradable_segments
from tests.trading.conftest import PIECES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from benchmarks.env import largest_difference

SPEC = TradingSpec(episode_bars=40)
RUINOUS = MarketRules(fee=0.1, slippage=0.1, min_order=0)
KPIS = {"total_return", "sharpe", "max_drawdown", "turnover", "costs", "n_bars"}


def actions_at(bars: np.ndarray, n_assets: int = 3) -> np.ndarray:
    """An arbitrary policy that only the bar decides."""
    return np.sin(0.37 * np.asarray(bars)[:, None] + np.arange(n_assets))


def play(env: VectorTradingEnv, n_steps: int, seed: int = 0):
    """Every step's (bars, observations, rewards, terminated, truncated, infos) under random actions."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(n_steps):
        yield (env.bars, *env.step(rng.uniform(-1, 1, env.action_space.shape)))


def test_gymnasium_finds_nothing_to_complain_about(dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")  # only of use to registered environments
        check_env(TradingEnv(dataset, dataset.windows.train, SPEC))


@pytest.mark.parametrize("impact", [0.0, 0.002])
@pytest.mark.parametrize("fill", ["open", "close"])
def test_env_vector_env_and_backtest_agree_on_equity_exactly(broken_dataset, fill, impact):
    window = Window(1_300, 1_900)  # with an outage
    spec = TradingSpec(rules=MarketRules(fill=fill, impact=impact, initial_cash=1e5, fee=0.0005), episode_bars=100_000)
    tested = backtest(lambda bars, _: actions_at(bars), broken_dataset, window, spec.rules)
    segments = tradable_segments(broken_dataset, window)
    assert len(segments) > 1

    vector = VectorTradingEnv(broken_dataset, window, spec, n_envs=len(segments))
    vector.reset(options={"bars": [segment.start for segment in segments]})
    equities = []
    for _ in range(max(map(len, segments)) - 1):
        vector.step(actions_at(vector.bars))
        equities.append(vector.equity)

    single = TradingEnv(broken_dataset, window, spec)
    growth = 1.0
    for i, (segment, first) in enumerate(zip(segments, tested.segment_starts, strict=True)):
        _, info = single.reset(options={"bar": segment.start})
        alone, truncated = [], False
        while not truncated:
            _, _, _, truncated, info = single.step(actions_at([info["bar"]])[0])
            alone.append(info["equity"])
        assert len(alone) == len(segment) - 1
        assert alone == [equity[i] for equity in equities[: len(alone)]]
        assert (np.array(alone) * growth == tested.equity[first : first + len(alone)]).all()
        growth *= alone[-1] / spec.rules.initial_cash


def test_the_same_rules_written_asset_by_asset_in_plain_python_give_the_same_equity(dataset):
    """The rival of benchmarks/env.py shares no line with ours, so it checks both."""
    assert largest_difference(dataset) < 1e-12


def test_episodes_never_cross_an_outage_nor_leave_their_window(broken_dataset):
    window = broken_dataset.windows.train
    env = VectorTradingEnv(broken_dataset, window, SPEC, n_envs=64)
    home = np.full(len(broken_dataset.candles), -1)
    for i, segment in enumerate(broken_dataset.table.decision_segments(window)):
        home[segment.start : segment.stop] = i
    env.reset(seed=0)
    before, ended = env.bars, np.zeros(64, dtype=bool)
    visited = {*home[before]}
    for _ in range(300):
        _, _, terminated, truncated, _ = env.step(np.zeros((64, 3)))
        bars = env.bars
        assert (home[bars] >= 0).all()
        assert ((bars == before + 1) | ended).all()
        assert ((home[bars] == home[before]) | ended).all()
        before, ended = bars, terminated | truncated
        visited |= {*home[bars]}
    assert len(visited) > 1


def test_episodes_never_cross_the_seam_between_two_windows(jumping_dataset):
    env = VectorTradingEnv(jumping_dataset, PIECES, TradingSpec(episode_bars=1_000), n_envs=64)
    env.reset(seed=0)
    before, equity, visited = env.bars, env.equity, set()
    for _ in range(300):
        env.step(np.full((64, 3), 0.3))
        visited |= {*env.bars.tolist()}
        assert (np.abs(env.equity / equity - 1)[env.bars == before + 1] < 0.2).all()
        before, equity = env.bars, env.equity
    homes = [{bar for bar in visited if piece.start <= bar < piece.stop} for piece in PIECES]
    assert all(homes)
    assert visited == homes[0] | homes[1]


def test_every_tradable_bar_is_decided_on_sooner_or_later(dataset):
    env = VectorTradingEnv(dataset, Window(0, 400), SPEC, n_envs=64)
    env.reset(seed=0)
    decided, ended = set(), np.zeros(64, dtype=bool)
    for _ in range(400):
        bars = env.bars
        decided |= {*bars[~ended].tolist()}
        _, _, terminated, truncated, _ = env.step(np.zeros((64, 3)))
        ended = terminated | truncated
    (segment,) = tradable_segments(dataset, Window(0, 400))
    assert decided == set(range(segment.start, segment.stop - 1))


def test_compact_and_full_observations_hold_the_same(dataset):
    window, layout = dataset.windows.train, dataset.layout
    compact = VectorTradingEnv(dataset, window, SPEC, n_envs=6, observation="compact")
    full = VectorTradingEnv(dataset, window, SPEC, n_envs=6, observation="full")
    for short, long in zip(play(compact, 60), play(full, 60), strict=True):
        bars, account = short[1][:, 0].astype(int), short[1][:, 1:]
        assert compact.observation_space.contains(short[1])
        assert full.observation_space.contains(long[1])
        np.testing.assert_array_equal(account, long[1][:, layout.account])
        np.testing.assert_array_equal(dataset.table.observation(bars, account), long[1])
        np.testing.assert_array_equal(short[2], long[2])


def test_an_observation_holds_nothing_of_the_future(dataset):
    """The newest feature of an observation is the table's row at the deciding bar."""
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    observation, info = env.reset(seed=1)
    features = observation[dataset.layout.features].reshape(dataset.layout.n_series, dataset.layout.lookback)
    np.testing.assert_array_equal(features[:, -1], dataset.table.values[info["bar"]])


@pytest.mark.parametrize(("fill", "column", "later"), [("open", "open", 1), ("close", "close", 0)])
def test_orders_fill_at_the_next_open_or_at_the_deciding_close(dataset, fill, column, later):
    """All in at bar 300: equity after it is what the fill price and the next close say."""
    env = TradingEnv(dataset, dataset.windows.train, TradingSpec(rules=MarketRules(fill=fill, fee=0, slippage=0)))
    env.reset(options={"bar": 300})
    *_, info = env.step(np.array([0.0, 1.0, 0.0]))
    paid, worth = dataset.candles.column(column)[300 + later, 1], dataset.candles.column("close")[301, 1]
    assert info["equity"] == pytest.approx(10_000 * worth / paid, rel=1e-12)


@pytest.mark.parametrize(("fill", "later"), [("open", 1), ("close", 0)])
def test_impact_depends_on_the_volume_of_the_bar_that_orders_fill_in(dataset, fill, later):
    """Half of a fortune into one asset at bar 300, at no cost but impact: q of the volume slips impact × √q."""
    rules = MarketRules(fill=fill, fee=0, slippage=0, impact=0.02, initial_cash=5e4)
    env = TradingEnv(dataset, dataset.windows.train, TradingSpec(rules=rules))
    env.reset(options={"bar": 300})
    *_, info = env.step(np.array([0.0, 0.5, 0.0]))
    price, volume = dataset.candles.column(fill)[300 + later, 1], dataset.candles.column("volume")[300 + later, 1]
    assert (share := 2.5e4 / price / volume) < 1
    worth = dataset.candles.column("close")[301, 1] / price
    assert info["equity"] == pytest.approx(2.5e4 * (1 - 0.02 * share**0.5 + worth), rel=1e-12)


def test_an_episode_may_end_with_the_data(dataset):
    opened, window = open_test_window(dataset)
    env = VectorTradingEnv(opened, window, TradingSpec(episode_bars=100_000), n_envs=2)
    last = len(dataset.candles) - 1
    env.reset(options={"bars": [last - 1, last - 3]})
    ends = [env.step(np.ones((2, 3)))[3].tolist() for _ in range(3)]
    assert ends == [[True, False], [False, False], [False, True]]


def test_each_step_returns_fresh_arrays(dataset):
    env = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4)
    first, *_ = env.reset(seed=0)
    kept = first.copy()
    seen = [first]
    for _, observation, rewards, terminated, truncated, _ in play(env, 50):
        seen += [observation, rewards, terminated, truncated]
    assert len({array.__array_interface__["data"][0] for array in seen}) == len(seen)
    np.testing.assert_array_equal(first, kept)


def test_actions_may_come_as_a_list(dataset):
    one, other = (VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=3) for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 3)).astype(np.float32)
    np.testing.assert_array_equal(one.step(actions)[0], other.step(list(actions))[0])


def test_the_step_after_an_episode_only_resets(dataset):
    env = VectorTradingEnv(dataset, dataset.windows.train, dataclasses.replace(SPEC, episode_bars=5), n_envs=4)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    ended, checked = np.zeros(4, dtype=bool), 0
    for _, observation, rewards, terminated, truncated, _ in play(env, 40):
        assert (rewards[ended] == 0).all()
        assert not (terminated | truncated)[ended].any()
        assert (observation[ended, 1] == 1).all()  # all cash again
        checked += ended.sum()
        ended = terminated | truncated
    assert checked >= 4


def test_episodes_end_when_their_bars_are_over_and_say_so_as_truncation(dataset):
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    env.reset(options={"bar": 300})
    ends = [env.step(np.ones(3))[2:4] for _ in range(SPEC.episode_bars)]
    assert ends == [(False, False)] * (SPEC.episode_bars - 1) + [(False, True)]


def test_ruin_terminates(dataset):
    spec = TradingSpec(rules=RUINOUS, episode_bars=1_000)
    env = TradingEnv(dataset, dataset.windows.train, spec)
    env.reset(options={"bar": 250})
    for i in range(200):
        _, _, terminated, truncated, info = env.step(np.ones(3) if i % 2 == 0 else -np.ones(3))
        if terminated:
            break
    assert terminated
    assert not truncated
    assert info["equity"] < 0.01 * spec.rules.initial_cash
    assert np.isfinite(list(info["performance"].values())).all()


def test_the_last_step_of_an_episode_carries_its_performance(dataset):
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    _, info = env.reset(options={"bar": 300})
    equity, infos = [info["equity"]], []
    for i in range(SPEC.episode_bars):
        *_, info = env.step(actions_at([i])[0])
        equity.append(info["equity"])
        infos.append(info)
    assert all("performance" not in info for info in infos[:-1])
    performance, returns = infos[-1]["performance"], np.diff(equity) / equity[:-1]
    expected = stats.performance(returns, dataset.candles.bars_per_year)
    for name in ("total_return", "sharpe", "max_drawdown", "n_bars"):
        assert performance[name] == pytest.approx(expected[name], rel=1e-9), name
    assert performance["turnover"] > 0
    assert performance["costs"] == pytest.approx(performance["turnover"] * SPEC.rules.cost, rel=1e-9)


def test_every_episode_is_counted_afresh(dataset):
    env = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4)
    n_ended = 0
    for _, _, _, _, truncated, infos in play(env, 5 * SPEC.episode_bars):
        if truncated.any():
            assert (infos["performance"]["n_bars"][truncated] <= SPEC.episode_bars).all()
            growth = env.equity[truncated] / SPEC.rules.initial_cash - 1
            np.testing.assert_array_equal(infos["performance"]["total_return"][truncated], growth)
            n_ended += truncated.sum()
    assert n_ended > 4


def test_vector_infos_mask_the_accounts_that_ended(dataset):
    """The form that RLlib's runner unpacks into one info per account."""
    env = DictInfoToList(VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=8))
    n_ended = 0
    env.reset(seed=0)
    for _ in range(100):
        _, _, terminated, truncated, infos = env.step(np.zeros((8, 3)))
        for info, ended in zip(infos, terminated | truncated, strict=True):
            assert ("performance" in info) == ended
            if ended:
                assert set(info["performance"]) == KPIS
        n_ended += (terminated | truncated).sum()
    assert n_ended >= 8


def test_a_seed_names_the_same_episodes(dataset):
    def trace(env_seed, reset_seed=None):
        env = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=5, seed=env_seed)
        env.reset(seed=reset_seed)
        return np.stack([env.step(np.zeros((5, 3)))[0] for _ in range(100)])

    np.testing.assert_array_equal(trace(1), trace(1))
    np.testing.assert_array_equal(trace(1, reset_seed=7), trace(2, reset_seed=7))
    assert (trace(1) != trace(2)).any()


@pytest.mark.parametrize("reward", ["log_growth", "differential_sharpe"])
def test_another_environment_continues_from_a_state_to_the_last_bit(reward, dataset):
    spec = TradingSpec(episode_bars=40, accounts_per_bar=2, reward=reward)
    first, other = (VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=8, seed=seed) for seed in (1, 2))
    with pytest.raises(TrainingError, match="no state before its first reset"):
        first.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (200, *first.action_space.shape))
    first.reset(seed=0)
    for step in actions[:70]:  # accounts restart at different steps, some with the very next one
        ended = first.step(step)[3]
        if ended.any():
            break
    other.set_state(first.get_state())
    for step in actions[70:]:
        (*one, infos), (*two, others) = first.step(step), other.step(step)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
        for name, values in infos.get("performance", {}).items():
            np.testing.assert_array_equal(values, others["performance"][name])
    assert ended.any() and "performance" not in infos


def test_accounts_that_share_a_bar_share_a_timeline_and_differ_in_holdings(dataset):
    spec = dataclasses.replace(SPEC, accounts_per_bar=4)
    env = VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=12)
    observation, _ = env.reset(seed=0)
    groups = observation[:, 1:].reshape(3, 4, -1)
    assert all(len(np.unique(group, axis=0)) == 4 for group in groups)
    np.testing.assert_allclose(observation[:, 1:].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(env.equity, spec.rules.initial_cash)
    ends = 0
    for _, observation, _, terminated, truncated, _ in play(env, 100):
        timelines = observation[:, 0].reshape(3, 4)
        assert (timelines == timelines[:, :1]).all()
        together = (terminated | truncated).reshape(3, 4)
        assert (together == together[:, :1]).all()
        ends += together[:, 0].sum()
    assert ends >= 3


def test_one_ruined_account_ends_the_timeline_for_its_neighbours(dataset):
    spec = TradingSpec(rules=RUINOUS, episode_bars=1_000, accounts_per_bar=2)
    env = VectorTradingEnv(dataset, Window(0, 1_000), spec, n_envs=4)
    env.reset(options={"bars": [250, 300]})
    for i in range(100):
        spendthrift = np.ones(3) if i % 2 == 0 else -np.ones(3)
        _, _, terminated, truncated, _ = env.step([spendthrift, np.zeros(3), np.zeros(3), np.zeros(3)])
        if terminated.any():
            break
    assert terminated.tolist() == [True, False, False, False]
    assert truncated.tolist() == [False, True, False, False]


def test_wrong_requests_are_refused(dataset, monkeypatch):
    (window,) = dataset.windows.train
    with pytest.raises(SpecError, match="multiple of accounts_per_bar = 4, got 6"):
        VectorTradingEnv(dataset, window, TradingSpec(accounts_per_bar=4), n_envs=6)
    with pytest.raises(DataError, match="no two neighbouring bars"):
        VectorTradingEnv(dataset, Window(0, 5), SPEC, n_envs=1)
    (first, *_) = dataset.table.decision_segments(window)
    with pytest.raises(DataError, match="no two neighbouring bars"):  # decided on, but never seen to end
        VectorTradingEnv(dataset, Window(0, first.start + 1), SPEC, n_envs=1)
    env = VectorTradingEnv(dataset, window, SPEC, n_envs=2)
    with pytest.raises(TrainingError, match="reset"):
        env.step(np.zeros((2, 3)))
    with pytest.raises(DataError, match="tradable bar"):
        env.reset(options={"bars": [300, window.stop - 1]})
    with pytest.raises(SpecError, match="each of 2 timelines, got 1"):
        env.reset(options={"bars": [300]})
    monkeypatch.setattr("ftray.trading.env.EXACT_IN_FLOAT32", len(dataset.candles))
    with pytest.raises(DataError, match="full observations"):
        VectorTradingEnv(dataset, window, SPEC, n_envs=2)
    VectorTradingEnv(dataset, window, SPEC, n_envs=2, observation="full")
