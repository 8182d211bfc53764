"""The RL benchmarks judge by what they say, shown on given figures; rivals get an environment without a trick."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import accounts_per_bar
import alternatives
import rl
import sample_efficiency
import trainings
from costs import REST, grouped
from measuring import table
from rivals import FullEnv, SB3Env

from ftray.features import FeatureSpec
from ftray.market import SimulatorSpec, WindowsSpec, load_market
from ftray.spec import to_mapping
from ftray.trading import TradingSpec

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


def turn(seconds, learning=0.0, steps=1_000):
    return {"seconds": seconds, "learning": learning, "steps": steps, "processor": 2 * seconds}


@pytest.fixture
def dataset():
    candles = load_market(SimulatorSpec(n_assets=2, n_bars=3_000))
    features = FeatureSpec(lookback=4, indicators=("close", "volume"))
    return trainings.dataset_in_pieces(candles, WindowsSpec(holding=2), features)


def test_a_contenders_line_holds_the_medians_of_its_turns():
    row = rl.row_of(rl.MLP, [{"start_seconds": 9.0}, turn(1.0, 0.5), turn(2.0, 0.75), turn(10.0, 1.0)])
    assert (row["seconds"], row["lowest_seconds"], row["highest_seconds"]) == (2.0, 1.0, 10.0)
    assert (row["learning_seconds"], row["sampling_seconds"], row["processor_seconds"]) == (0.75, 1.25, 4.0)
    assert (row["steps_per_second"], row["iterations"], row["name"]) == (500.0, 3, "MLP-512")


def test_ratios_are_those_to_the_standard_mlp_at_one_account_per_bar():
    rows = [rl.row_of(who, [{}, turn(seconds)]) for who, seconds in ((rl.MLP_4, 1.0), (rl.MLP, 2.0), (rl.FROZEN, 3.0))]
    assert [row["times_the_mlp"] for row in rl.with_ratios(rows)] == [0.5, 1.0, 1.5]
    lines = table(rl.COLUMNS, rl.with_ratios(rows)).splitlines()
    assert len(lines) == 4 and lines[3].startswith("FT balanced, frozen")


def test_targets_are_checked_at_their_limits():
    seconds = {rl.MLP: 1.0, rl.MLP_4: 1.0, rl.PLAIN: 1.3, rl.STABLE: 2.0}
    seconds |= {rl.BALANCED: 4.0, rl.BALANCED_4: 1.5, rl.FROZEN: 0.8}

    def judged(**changes):
        given = seconds | {getattr(rl, name): value for name, value in changes.items()}
        rows = {who.name: rl.row_of(who, [{}, turn(value)]) for who, value in given.items()}
        rates = zip(rl.SAMPLERS, (4_000, 1_000, 2_000), strict=True)
        samplers = {who.name: rl.sampling_row(who, [{"steps": n, "processor": 1.0}]) for who, n in rates}
        return [target["met"] for target in rl.targets(rows, samplers)]

    assert judged() == [True] * 6
    assert judged(PLAIN=1.29) == [False, True, True, True, True, True]
    assert judged(STABLE=1.99, FROZEN=0.81) == [True, False, True, True, True, False]
    assert judged(BALANCED=4.01, MLP_4=0.99) == [True, True, True, False, False, True]


def test_a_target_whose_contender_did_not_run_is_left_out():
    rows = {who.name: rl.row_of(who, [{}, turn(1.0)]) for who in (rl.MLP, rl.FROZEN)}
    assert [target["measured"] for target in rl.targets(rows, {})] == [1.0]


def test_every_contender_of_a_target_is_in_the_quick_run_and_names_are_unique():
    judged = {rl.MLP, rl.MLP_4, rl.BALANCED, rl.BALANCED_4, rl.FROZEN, rl.PLAIN, rl.STABLE}
    assert judged <= set(rl.QUICK)
    names = [who.name for who in (*rl.QUICK, *rl.REST)]
    assert len(set(names)) == len(names)


def test_costs_without_a_group_go_to_their_callers():
    forward, backward = ("ftray/nets/mlp.py", 1, "market"), ("~", 0, "<run_backward>")
    operator, loop = ("~", 0, "<matmul>"), ("driver.py", 1, "run")
    stats = {
        loop: (1, 1, 0.5, 10.0, {}),
        forward: (1, 1, 1.0, 4.0, {loop: (1, 1, 1.0, 4.0)}),
        backward: (1, 1, 2.0, 2.0, {loop: (1, 1, 2.0, 2.0)}),
        operator: (2, 2, 4.0, 4.0, {forward: (1, 1, 3.0, 3.0), loop: (1, 1, 1.0, 1.0)}),
    }
    assert grouped(stats) == {"forward": 4.0, "backward": 2.0, REST: 1.5}
    assert rl.cost_lines("MLP", grouped(stats)).splitlines()[1].split() == ["4.00", "s", "53%", "forward"]


def curve(*growths, steps=100, seconds=1.0, **more):
    return [
        {"env_steps": i * steps, "seconds": i * seconds, "bars": i * steps, "distinct_bars": i, "growth": growth} | more
        for i, growth in enumerate(growths)
    ]


def test_the_threshold_is_a_share_of_the_way_from_the_untrained_to_what_can_be_reached():
    assert sample_efficiency.threshold_of([-0.1, -0.3], 0.0, 0.5) == pytest.approx(-0.1)
    assert sample_efficiency.threshold_of([0.0, 0.0], 0.4, 0.25) == pytest.approx(0.1)


def test_a_run_counts_from_its_first_evaluation_above_the_threshold_or_as_its_whole_budget():
    reached = {"env_steps": 100, "seconds": 1.0, "reached": True}
    assert sample_efficiency.crossing(curve(0.0, 0.5, 0.1, 0.9), 0.5) == reached
    missed = {"env_steps": 300, "seconds": 3.0, "reached": False}
    assert sample_efficiency.crossing(curve(0.0, 0.5, 0.1, 0.4), 0.6) == missed


def test_a_line_of_sample_efficiency_is_an_interquartile_mean_with_how_many_got_there():
    found = [curve(0.0, 1.0, 1.0), *(curve(0.0, 0.0, 1.0) for _ in range(4)), curve(0.0, 0.0, 0.0)]
    row = sample_efficiency.row_of("real candles", "MLP-512", found, 0.5)
    assert (row["reached"], row["seeds"], row["env_steps"]["mean"], row["growth"]) == (5, 6, 200.0, 1.0)
    assert row["env_steps"]["low"] <= 200.0 <= row["env_steps"]["high"]
    assert json.loads(json.dumps(row)) == row
    assert table(sample_efficiency.COLUMNS, [row]).splitlines()[1].split()[3:6] == ["5", "of", "6"]


def test_alternatives_are_judged_by_what_they_save_and_by_an_interval_below_1():
    assert alternatives.reached(curve(0.0, 0.5, 1.0), 0.5)["env_steps"] == 100.0
    assert alternatives.reached(curve(0.0, 0.5, 1.0), 2.0) == {"env_steps": 200.0, "seconds": 2.0, "reached": 0.0}
    found = alternatives.ratio(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]))
    assert list(found.values()) == pytest.approx([0.1, 0.1, 0.1])
    kept = json.loads((Path(alternatives.__file__).parent / "results" / "alternatives-cpu.json").read_text())
    assert alternatives.claims_of(kept["rows"]) == kept["claims"]


def test_accounts_per_bar_are_compared_at_equal_steps_bars_and_time():
    alone, shared = curve(0.0, 0.2, 0.4, 0.6, seconds=2.0), curve(0.0, 0.1, 0.2, 0.3, seconds=1.0, correlation=0.5)
    for i, row in enumerate(shared):
        row["bars"] = 25 * i
    first, second = accounts_per_bar.rows_of("simulator", {1: [alone], 4: [shared]})
    means = [
        [row[f"growth_at_equal_{of}"]["mean"] for of in ("env_steps", "bars", "seconds")] for row in (first, second)
    ]
    assert means == [pytest.approx([0.6, 0.15, 0.3]), pytest.approx([0.3, 0.3, 0.3])]
    assert (first["correlation"], second["correlation"]) == (None, 0.5)
    assert table(accounts_per_bar.COLUMNS, [first, second]).splitlines()[1].endswith(" -")


def test_a_shuffled_tower_holds_the_same_numbers_in_another_order(tmp_path):
    torch.save({"encoder_state_dict": {"a": torch.arange(60.0).view(6, 10), "n": torch.tensor(3)}}, tmp_path / "a.pth")
    trainings.shuffled_tower(tmp_path / "a.pth", tmp_path / "b.pth")
    state = torch.load(tmp_path / "b.pth", weights_only=True)["encoder_state_dict"]
    assert state["a"].shape == (6, 10) and state["n"] == 3
    assert not torch.equal(state["a"].flatten(), torch.arange(60.0))
    assert torch.equal(state["a"].flatten().sort().values, torch.arange(60.0))


def test_the_validation_window_is_cut_into_separate_pieces(dataset):
    pieces = dataset.windows.validation
    assert len(pieces) == 1 and len(dataset.table.decision_bars(pieces)) == trainings.PIECE_BARS + 1
    assert pieces[0].start > dataset.windows.train[-1].stop


def test_stable_baselines_gets_the_last_observation_of_an_episode_and_the_first_of_the_next(dataset, tmp_path):
    trading = TradingSpec(episode_bars=5)
    context = {"dataset": dataset.save(tmp_path / "data"), "trading": to_mapping(trading), "reward_scale": 1.0}
    rival, plain = SB3Env(FullEnv(context | {"num_envs": 3})), FullEnv(context | {"num_envs": 3})
    rival.seed(3)
    np.testing.assert_array_equal(rival.reset(), plain.reset(seed=3)[0])
    actions = np.full((3, 2), 0.4, np.float32)
    for step in range(5):
        seen, rewards, ended, infos = rival.step(actions)
        expected, expected_rewards, _, truncated, _ = plain.step(actions)
        np.testing.assert_array_equal(rewards, expected_rewards)
        np.testing.assert_array_equal(ended, truncated)
        assert ended.all() == (step == 4)
        if not ended.any():
            np.testing.assert_array_equal(seen, expected)
            assert infos == [{}, {}, {}]
    np.testing.assert_array_equal([info["terminal_observation"] for info in infos], expected)
    assert all(info["TimeLimit.truncated"] for info in infos)
    first_of_next, rewards, *_ = plain.step(actions)  # its own step, with an action that is ignored
    np.testing.assert_array_equal(seen, first_of_next)
    np.testing.assert_array_equal(rewards, 0.0)
    np.testing.assert_array_equal(rival.step(actions)[0], plain.step(actions)[0])
