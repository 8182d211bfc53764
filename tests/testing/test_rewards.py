"""Each promise of a reward can be broken, and whoever breaks it learns how."""

import numpy as np
import pytest

from ftray.testing import RewardContract, check_reward
from ftray.trading import REWARDS, Reward, Step
from ftray.trading.rewards import SHARPE_RATE

LOG_GROWTH = REWARDS["log_growth"]


def made(compute, start: tuple[float, ...] = ()) -> Reward:
    return Reward("tested", compute, start)


def growth(step: Step) -> np.ndarray:
    return step.equity / step.equity_before - 1


def inverse_of_equity(step: Step, memory: np.ndarray):
    return -10_000 / np.round(step.equity, -2), memory


def of_the_market(step: Step, memory: np.ndarray):
    """What a unit of the holdings gained: no fee is in it."""
    before, after = (
        (step.account.units * prices).sum(axis=1) for prices in (step.prices.close, step.prices.next_close)
    )
    return (after - before) / (before + 1e-9), memory


def ranked(step: Step, memory: np.ndarray):
    return growth(step) - growth(step).mean(), memory


def writing(step: Step, memory: np.ndarray):
    memory += growth(step)
    return memory[0] - 1, memory


def paying_twice(step: Step, memory: np.ndarray):
    np.subtract(step.equity, step.fills.fees.sum(axis=1), out=step.equity)
    return growth(step), memory


def growing_memory(step: Step, memory: np.ndarray):
    return growth(step), np.concatenate([memory, growth(step)[None]])


class Remembering:
    """The best growth ever seen, of whichever account."""

    best = 0.0

    def __call__(self, step: Step, memory: np.ndarray):
        self.best = max(self.best, growth(step).max())
        return growth(step) - self.best, memory


def sharpe_without_floor(step: Step, memory: np.ndarray):
    """The differential Sharpe ratio, whose variance may vanish."""
    mean, square = memory
    surprise = np.stack((growth(step) - mean, growth(step) ** 2 - square))
    slope = (square * surprise[0] - 0.5 * mean * surprise[1]) / (square - mean * mean + 1e-30) ** 1.5
    return SHARPE_RATE * slope, memory + SHARPE_RATE * surprise


BROKEN = {
    "infinite where all is lost": (
        made(inverse_of_equity),
        "test_there_is_one_finite_number_per_account",
        r"five accounts that lose all got .* 5 numbers that are not finite",
    ),
    "one number for all accounts": (
        made(lambda step, memory: (growth(step).mean(), memory)),
        "test_there_is_one_finite_number_per_account",
        r"got the shape \(\) per step.*return the shape \(E,\)",
    ),
    "a constant": (
        made(lambda step, memory: (np.ones(len(step.equity)), memory)),
        "test_the_reward_moves",
        "nothing is learned from a constant.* are rewarded 1\n",
    ),
    "no costs": (
        made(of_the_market),
        "test_costs_lower_the_reward",
        r"lost \d+\.\d% of its equity to fees .* where trading was free.* prices and holdings know nothing of costs",
    ),
    "accounts that are ranked": (
        made(ranked),
        "test_accounts_of_a_batch_do_not_touch_each_other",
        r"account 0 of six .* over assets \(axis 1\) alone",
    ),
    "writing into its step": (
        made(paying_twice),
        "test_the_step_is_left_alone",
        r"compute\(\) changed step\.equity\n.*never `equity -= costs`",
    ),
    "writing into its memory": (
        made(writing, start=(1.0,)),
        "test_the_memory_is_a_value_that_is_not_written_to",
        "the old one was written to.*`memory [+] change`",
    ),
    "a memory that grows": (
        made(growing_memory, start=(1.0,)),
        "test_the_memory_is_a_value_that_is_not_written_to",
        r"a memory of the shape \(1, 4\) became \(2, 4\); the old one was kept",
    ),
    "a memory of its own": (
        made(Remembering()),
        "test_all_that_is_remembered_is_in_the_memory",
        r"the same life was rewarded .*\(give `Reward` its `start`\)",
    ),
    "no floor under a variance": (
        made(sharpe_without_floor, start=(0.0, 1e-4)),
        "test_an_account_that_sat_in_cash_and_then_trades_is_rewarded_within_reason",
        r"after 3,000 bars in cash .* is rewarded up to \d.* above a floor",
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("reward", "promise", "words"), BROKEN.values(), ids=BROKEN)
def test_the_contract_catches(reward, promise, words):
    contract = RewardContract()
    contract.reward = reward
    with pytest.raises(AssertionError, match=f"(?s)must: .*{words}"):
        getattr(contract, promise)()


def test_every_promise_can_be_broken():
    assert {promise for _, promise, _ in BROKEN.values()} == set(RewardContract.promises())


def test_a_check_names_every_broken_promise_and_passes_a_member_that_keeps_them():
    check_reward(LOG_GROWTH)
    with pytest.raises(AssertionError, match=r"(?s)^1 of 8 promises are broken\ncosts lower the reward:\n"):
        check_reward(made(of_the_market))
