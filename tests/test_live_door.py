"""Whatever comes in from outside, live or in a notebook, is what training was given, or refused with what came."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ftray.errors import DataError, FtrayError, SpecError, TrainingError, WeightsError
from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.features.history import History
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import MLPSpec, Policy, PolicyNetwork, build_encoder, policy_head
from ftray.trading import (
    MarketRules,
    TradingEnv,
    TradingSpec,
    VectorTradingEnv,
    backtest,
    buy_and_hold,
    equal_weight,
)

SPEC = TradingSpec(episode_bars=20)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    features = FeatureSpec(lookback=8, indicators=("close", "volume"))
    return build_dataset(SimulatorSpec(n_assets=2, n_bars=1_500), WindowsSpec(), features)


@pytest.fixture(scope="module")
def policy(dataset) -> Policy:
    torch.manual_seed(0)
    spec = MLPSpec(hidden=64, encoding_dim=64)
    network = PolicyNetwork(build_encoder(spec, dataset.layout), policy_head(spec.encoding_dim, 2))
    return Policy(network, dataset.table.scaler, {"fold": 0, **History.of(dataset).to_facts()})


ACCOUNTS = {
    "money": [5_000.0, 3_000.0, 2_000.0],
    "a negative holding": [1.2, -0.2, 0.0],
    "a sum below 1": [0.2, 0.2, 0.2],
    "a sum above 1": [1.0, 1.0, 0.0],
    "a number that is none": [np.nan, 0.5, 0.5],
}


@pytest.mark.parametrize("account", ACCOUNTS.values(), ids=ACCOUNTS)
def test_an_account_is_fractions_of_equity(policy, dataset, account):
    with pytest.raises(DataError, match="fractions of equity") as refused:
        policy.observe(dataset.candles, account)
    if np.isfinite(account).all():
        assert f"got {account}" in str(refused.value)
        observation = policy.observe(dataset.candles)
        observation[policy.layout.account] = account
        with pytest.raises(DataError, match="fractions of equity"):
            policy(observation)


def test_an_account_as_it_is_passes(policy, dataset):
    held = policy.observe(dataset.candles, [0.5, 0.25, 0.25])
    assert policy(held).shape == (2,) and policy(np.stack([held, held])).shape == (2, 2)


def test_bars_of_another_length_are_refused(policy, dataset):
    times = dataset.candles.times[0] + np.arange(len(dataset.candles)) * np.timedelta64(4, "h")
    other = dataclasses.replace(dataset.candles, times=times, interval=np.timedelta64(4, "h"))
    with pytest.raises(DataError, match="decides on bars of 1h, and these candles are of 4h"):
        policy.observe(other)


def test_times_that_do_not_increase_are_refused(policy, dataset):
    times = dataset.candles.times.copy()
    times[[700, 701]] = times[[701, 700]]
    with pytest.raises(DataError, match="must increase, and a bar at 2020-01-30 04:00:00 comes after one at"):
        policy.observe(dataclasses.replace(dataset.candles, times=times))


SHAPES = {"one number for all": np.ones(1), "one too few": np.ones((1, 1)), "one too many": np.ones((1, 3))}


@pytest.mark.parametrize("action", SHAPES.values(), ids=SHAPES)
def test_actions_have_a_number_for_each_account_and_asset(dataset, action):
    single, vector = (
        TradingEnv(dataset, dataset.windows.train, SPEC),
        VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4),
    )
    single.reset()
    vector.reset()
    given = action.reshape(-1)
    with pytest.raises(TrainingError, match=rf"must have the shape \(assets,\) = \(2,\), got \({len(given)},\)"):
        single.step(given)
    with pytest.raises(TrainingError, match=r"= \(4, 2\), got"):
        vector.step(np.repeat(action.reshape(1, -1), 4, axis=0))
    with pytest.raises(TrainingError, match=r"= \(1, 2\), got"):
        backtest(lambda bars, account: action, dataset, dataset.windows.validation, MarketRules())


def test_a_step_after_the_end_is_refused_and_after_a_reset_it_is_not(dataset):
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    env.reset(seed=1)
    over = False
    while not over:
        *_, terminated, truncated, _ = env.step(np.zeros(2))
        over = terminated or truncated
    with pytest.raises(TrainingError, match=r"the episode has ended.*call reset\(\)"):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))


def starts(env: VectorTradingEnv, n: int = 8) -> list[list[int]]:
    return [env.reset()[0][:, 0].astype(int).tolist() for _ in range(n)]


def test_without_a_seed_every_environment_walks_a_path_of_its_own(dataset):
    def made(**seed) -> VectorTradingEnv:
        return VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4, **seed)

    first, second = starts(made()), starts(made())
    assert first != second and len({row[0] for row in first}) > 1 and len(set(first[0])) > 1
    assert starts(made(seed=3)) == starts(made(seed=3)) != first
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    bars = [env.reset()[1]["bar"] for _ in range(8)]
    assert bars != [env.reset()[1]["bar"] for _ in range(8)]
    seeded = [env.reset(seed=5)[1]["bar"], env.reset()[1]["bar"]]
    assert seeded == [env.reset(seed=5)[1]["bar"], env.reset()[1]["bar"]]


def changed(candles, change):
    values = candles.values.copy()
    change(values)
    return dataclasses.replace(candles, values=values)


ILLEGAL = {
    "a high below the low": lambda values: values[700, 0].__setitem__(1, values[700, 0, 2] / 2),
    "no number long ago": lambda values: values[100, 0].__setitem__(3, np.nan),
    "a negative close": lambda values: values[700, 0].__setitem__(3, -1.0),
}


@pytest.mark.parametrize("change", ILLEGAL.values(), ids=ILLEGAL)
def test_prices_that_no_market_has_are_refused(policy, dataset, change):
    with pytest.raises(DataError, match="finite and above 0, with open and close between low and high"):
        policy.observe(changed(dataset.candles, change))


def test_a_bar_that_is_not_over_is_refused(policy, dataset):
    later = dataset.candles.times + np.timedelta64(365 * 80, "D")
    live = dataclasses.replace(dataset.candles, times=later, regimes=None)
    with pytest.raises(DataError, match="after a bar's close, and the last one closes at 2100-02-12 12:00:00: it is"):
        policy.observe(live)
    assert policy.observe(dataclasses.replace(dataset.candles, regimes=None)).shape == (policy.layout.size,)


def test_an_older_policy_knows_its_interval_from_its_trial(policy, dataset):
    older = Policy(policy.network, policy.scaler, {"fold": 0, "trial": {"market": {"interval": "4h"}}})
    with pytest.raises(DataError, match="decides on bars of 4h, and these candles are of 1h"):
        older.observe(dataset.candles)


def test_features_that_are_not_scaled_are_refused(policy, dataset):
    observation = policy.observe(dataset.candles)
    observation[policy.layout.features] *= 10_000.0
    with pytest.raises(DataError, match="features must be scaled, and clipped at 8"):
        policy(observation)
    with pytest.raises(WeightsError, match="got the shape"):
        policy(np.zeros((1, 1, policy.layout.size)))


MADE = {
    "an unknown form": {"observation": "fulll"},
    "a form that is no text": {"observation": np.zeros(3)},
    "a float of accounts": {"n_envs": 2.0},
    "a truth value of accounts": {"n_envs": True},
    "no account": {"n_envs": 0},
    "more accounts than fit a machine": {"n_envs": 10**9},
    "accounts as text": {"n_envs": "2"},
    "a seed that is a truth value": {"seed": True},
    "a list of seeds": {"seed": [1, 2]},
    "a scale that is text": {"reward_scale": "1"},
    "a scale that is a truth value": {"reward_scale": True},
    "two scales": {"reward_scale": [1.0, 1.0]},
    "a seed below 0": {"seed": -1},
    "a seed that is no whole number": {"seed": 1.5},
    "a scale of 0": {"reward_scale": 0.0},
    "a scale that is none": {"reward_scale": float("nan")},
}


@pytest.mark.parametrize("wrong", MADE.values(), ids=MADE)
def test_an_environment_is_made_of_what_it_says(dataset, wrong):
    with pytest.raises(SpecError):
        VectorTradingEnv(dataset, dataset.windows.train, SPEC, **{"n_envs": 2, **wrong})


def test_options_of_a_reset_that_mean_nothing_are_refused(dataset):
    single = TradingEnv(dataset, dataset.windows.train, SPEC)
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2)
    for env, wrong in ((single, {"bars": [100]}), (vector, {"bar": 100})):
        with pytest.raises(SpecError, match="reset knows the option"):
            env.reset(options=wrong)
    assert single.reset(seed=np.int64(3))[1] == single.reset(seed=3)[1]


NO_ACTIONS = {
    "complex": [1j, 0.0],
    "truth values": [True, False],
    "text": ["1", "0"],
    "objects": [None, 0.5],
    "ragged": [[1.0], [1.0, 0.0]],
    "no number": [np.nan, 0.0],
    "infinite": [np.inf, 0.0],
    "minus infinite": [-np.inf, 0.0],
    "a sum that overflows": [1.5e308, 1.5e308],
    "nothing": None,
}


@pytest.mark.parametrize("action", NO_ACTIONS.values(), ids=NO_ACTIONS)
@pytest.mark.parametrize("no_trade", [0.0, 0.1])
def test_actions_that_are_no_finite_numbers_are_refused(dataset, action, no_trade):
    spec = TradingSpec(episode_bars=20, no_trade=no_trade)
    single = TradingEnv(dataset, dataset.windows.train, spec)
    vector = VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=2)
    single.reset(seed=0), vector.reset(seed=0)
    for refused in (
        lambda: single.step(action),
        lambda: vector.step([action, action]),
        lambda: vector.alternatives([[action], [action]]),
        lambda: backtest(lambda bars, account: [action], dataset, dataset.windows.validation, MarketRules()),
    ):
        with pytest.raises(TrainingError, match="actions must"):
            refused()


def test_actions_whose_numbers_are_hidden_are_refused(dataset):
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    env.reset(seed=0)
    with pytest.raises(TrainingError, match="this array has a mask: fill what it hides"):
        env.step(np.ma.masked_array([1.0, 0.0], [True, False]))
    with pytest.raises(TrainingError, match="that requires grad"):
        env.step(torch.ones(2, requires_grad=True))


def test_actions_are_read_from_whatever_holds_real_numbers(dataset):
    def after(action) -> np.ndarray:
        env = TradingEnv(dataset, dataset.windows.train, SPEC)
        env.reset(options={"bar": 500})
        return env.step(action)[0]

    expected = after(np.array([1.0, 0.0]))
    arrays = [np.array([1, 0], kind) for kind in (np.uint8, np.int64, np.float16, np.float32)]
    for same in ([1, 0], (1.0, 0.0), torch.tensor([1.0, 0.0]), *arrays):
        np.testing.assert_array_equal(after(same), expected)


def test_alternatives_have_an_axis_of_their_own(dataset):
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4)
    vector.reset(seed=0)
    for wrong in (np.zeros((4, 2)), np.zeros((4, 0, 2)), np.zeros((4, 3, 1)), np.zeros((2, 3, 2))):
        with pytest.raises(TrainingError, match=r"\(accounts, alternatives, assets\) = \(4, \d, 2\), got"):
            vector.alternatives(wrong)


@pytest.mark.parametrize("account", ACCOUNTS.values(), ids=ACCOUNTS)
def test_a_table_observes_fractions_of_equity(dataset, account):
    with pytest.raises(DataError, match="fractions of equity"):
        dataset.table.observation(np.array([500]), [account])


def test_a_table_broadcasts_no_account_and_rounds_no_bar(dataset):
    bars, account = np.array([500, 501]), [1.0, 0.0, 0.0]
    assert dataset.table.observation([500, 501], [account, account]).shape == (2, dataset.layout.size)
    for wrong in (account, [account], [[1.0], [1.0]], [[1.0, 0.0]] * 2):
        with pytest.raises(DataError, match=r"cash and 2 holdings: the shape must be \(2, 3\), got"):
            dataset.table.observation(bars, wrong)
    for wrong in (bars + 0.7, bars > 500, ["500", "501"], [bars, bars], 500):
        with pytest.raises(DataError, match="bars must be"):
            dataset.table.observation(wrong, [account, account])


NO_BARS = {"a fraction": 300.7, "a float": 300.0, "a truth value": True, "text": "300", "a list": [300]}


@pytest.mark.parametrize("bar", NO_BARS.values(), ids=NO_BARS)
def test_an_episode_starts_at_a_whole_number(dataset, bar):
    single = TradingEnv(dataset, dataset.windows.train, SPEC)
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2)
    with pytest.raises(SpecError, match="`bar` must be a whole number"):
        single.reset(options={"bar": bar})
    with pytest.raises(DataError, match="bars to start at must be"):
        vector.reset(options={"bars": [bar, bar]})
    assert single.reset(options={"bar": np.int32(300)})[1]["bar"] == 300
    assert vector.reset(options={"bars": (300, 400)})[0][:, 0].tolist() == [300.0, 400.0]


def test_one_seed_is_for_all_accounts_and_a_list_is_refused(dataset):
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2)
    for wrong in ([1, 2], (1, 2), np.array([1, 2]), [1], True, 1.0, "1", -1):
        with pytest.raises(SpecError, match="a seed, one for all accounts or None, must be a whole number"):
            vector.reset(seed=wrong)
        with pytest.raises(SpecError, match="a seed, one for all accounts"):
            TradingEnv(dataset, dataset.windows.train, SPEC).reset(seed=wrong)


def test_a_state_of_another_environment_is_refused_and_changes_nothing(dataset):
    def made(n_envs: int) -> VectorTradingEnv:
        env = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=n_envs, seed=1)
        env.reset(seed=2)
        return env

    env, state = made(2), made(2).get_state()
    before = env.get_state()
    states = {
        "another number of accounts": made(4).get_state(),
        "no bars": {name: value for name, value in state.items() if name != "bars"},
        "bars that there are not": {**state, "bars": np.array([10**6, 500])},
        "bars as floats": {**state, "bars": np.array([1.5, 2.5])},
        "a random state that is none": {**state, "random": "{}"},
        "nothing": None,
    }
    for name, wrong in states.items():
        with pytest.raises(WeightsError, match=r"a state('s `random`)? must"):
            env.set_state(wrong)
        for part, value in env.get_state().items():
            np.testing.assert_array_equal(value, before[part], err_msg=name)
    VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2).set_state(state)  # before its first reset


NO_OBSERVATIONS = {
    "text": lambda size: "observation",
    "a batch of none": lambda size: np.zeros((0, size)),
    "a batch of batches": lambda size: np.zeros((1, 1, size)),
    "truth values": lambda size: np.ones(size, bool),
    "complex": lambda size: np.ones(size, complex),
    "nothing": lambda size: None,
    "ragged": lambda size: [[1.0], [1.0, 2.0]],
    "larger than float32": lambda size: np.array([1.0, 0.0, 0.0] + [1e300] * (size - 3)),
}


@pytest.mark.parametrize("observation", NO_OBSERVATIONS.values(), ids=NO_OBSERVATIONS)
def test_a_policy_decides_on_an_observation(policy, observation):
    with pytest.raises((WeightsError, DataError)):
        policy(observation(policy.layout.size))


def part(candles, *bars: slice):
    """These bars of candles of a real market."""
    rows = np.concatenate([np.arange(len(candles))[some] for some in bars])
    return dataclasses.replace(candles, times=candles.times[rows], values=candles.values[rows], regimes=None)


def test_too_few_bars_and_a_gap_are_different_things(policy, dataset):
    candles, reach = dataset.candles, FeatureSpec(lookback=8, indicators=("close", "volume")).reach
    needed = reach.lookback + reach.warm_up
    assert policy.observe(part(candles, slice(0, needed))).shape == (policy.layout.size,)
    for n in (0, 1, needed - 1):
        rule = f"needs {needed} bars without a gap: 8 of its lookback, and before them {reach.warm_up} that indicators"
        with pytest.raises(DataError, match=f"{rule} need; got {n}$"):
            policy.observe(part(candles, slice(0, n)))
    gap = "after the last gap, from the bar at 2020-01-21 19:00:00 to the one at 2020-01-21 22:00:00, there are 5$"
    with pytest.raises(DataError, match=gap):
        policy.observe(part(candles, slice(0, 500), slice(502, 507)))


def test_a_policy_observes_candles_of_its_assets(policy, dataset):
    more = dataclasses.replace(
        dataset.candles,
        symbols=("X", *reversed(dataset.layout.symbols)),
        values=dataset.candles.values[:, [0, 1, 0]],
    )
    with pytest.raises(WeightsError, match=r"pass candles\.of\(policy\.layout\.symbols\)"):
        policy.observe(more)
    np.testing.assert_array_equal(policy.observe(more.of(policy.layout.symbols)), policy.observe(dataset.candles))
    for wrong in ("candles", None, dataset.candles.values):
        with pytest.raises(DataError, match="a policy observes Candles"):
            policy.observe(wrong)


def test_a_window_is_one_of_the_dataset(dataset):
    for wrong in ("train", None, [0, 500], slice(0, 500)):
        with pytest.raises(SpecError, match=r"a window must be a Window or several, such as dataset\.windows\.train"):
            TradingEnv(dataset, wrong, SPEC)
        with pytest.raises(SpecError, match="a window must be"):
            backtest(lambda bars, account: np.zeros((len(bars), 2)), dataset, wrong, MarketRules())
    with pytest.raises(DataError, match="no asset 3"):
        buy_and_hold(dataset, dataset.windows.validation, MarketRules(), 3)
    with pytest.raises(SpecError, match=r"`every`, a number of bars, must be a whole number from 1 on, got 1\.5"):
        equal_weight(dataset, dataset.windows.validation, MarketRules(), every=1.5)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["bar", "bars", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
) | hnp.arrays(
    hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=3), hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)
)


@given(junk=JUNK)
def test_whatever_comes_in_raises_an_error_of_this_project_or_is_taken(policy, dataset, junk):
    single = TradingEnv(dataset, dataset.windows.train, SPEC, seed=0)
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2, seed=0)
    single.reset(), vector.reset()
    one_number = (
        isinstance(junk, int | np.integer | np.ndarray) and np.shape(junk) == ()
    )  # a million accounts take a while
    doors = (
        lambda: TradingEnv(dataset, dataset.windows.train, SPEC, seed=junk),
        lambda: VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2 if one_number else junk),
        lambda: VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2, observation=junk),
        lambda: VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2, reward_scale=junk),
        lambda: single.reset(seed=junk),
        lambda: single.reset(options=junk),
        lambda: single.reset(options={"bar": junk}),
        lambda: vector.reset(seed=junk),
        lambda: vector.reset(options={"bars": junk}),
        lambda: single.step(junk),
        lambda: single.step([junk, junk]),
        lambda: vector.step(junk),
        lambda: vector.alternatives(junk),
        lambda: vector.set_state(junk),
        lambda: vector.set_state({**vector.get_state(), "bars": junk, "random": junk}),
        lambda: dataset.table.observation(junk, [[1.0, 0.0, 0.0]]),
        lambda: dataset.table.observation([500], junk),
        lambda: policy(junk),
        lambda: policy.observe(junk),
        lambda: policy.observe(dataset.candles, junk),
        lambda: policy.observe(dataset.candles, [1.0, 0.0, junk]),
    )
    for door in doors:
        with contextlib.suppress(FtrayError):
            door()


@given(
    holdings=hnp.arrays(np.float64, 2, elements=st.floats(0.0, 0.5)),
    action=hnp.arrays(np.float32, 2, elements=st.floats(-1.0, 1.0, width=32)),
    seed=st.none() | st.integers(0, 2**70),
)
def test_whatever_training_gives_is_taken(policy, dataset, holdings, action, seed):
    observation = policy.observe(dataset.candles, [1.0 - holdings.sum(), *holdings])
    assert np.abs(policy(observation)).max() <= 1.0
    env = TradingEnv(dataset, dataset.windows.train, SPEC, seed=seed)
    first, _ = env.reset(seed=seed)
    assert np.isfinite(policy(first)).all() and np.isfinite(env.step(action)[1])
