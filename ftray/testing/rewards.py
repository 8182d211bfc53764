"""The contract of rewards: finite, pure, account by account, and aware of what trading costs.

Legend: E accounts, A assets.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ftray.testing.contract import Contract, broken
from ftray.trading import Account, Fills, MarketRules, Reward, Step, StepPrices, advance

N_BARS = 60
N_IDLE = 3_000
"""Bars in cash after which nothing is left of what a moving average began with."""

N_ASSETS = 3
FREE = MarketRules(fee=0, slippage=0, min_order=0)
COSTLY = MarketRules(min_order=0)
LARGEST = 10.0
"""What no single step should be worth, once an account that sat in cash begins to trade."""


def life(
    n_accounts: int, *, seed: int = 0, rules: MarketRules = FREE, n_idle: int = 0, crash: bool = False
) -> Iterator[Step]:
    """The steps of E accounts that trade at random in a random market.

    n_idle: bars in cash before. crash: in the last bar they lose all they have.
    """
    rng = np.random.default_rng(seed)
    account, close = Account.all_cash(n_accounts, N_ASSETS, 10_000), np.full((n_accounts, N_ASSETS), 100.0)
    for bar in range(-n_idle, N_BARS):
        next_close = close * np.exp(0.01 * rng.standard_normal(close.shape))
        weights = rng.dirichlet(np.ones(N_ASSETS + 1), n_accounts)[:, 1:] if bar >= 0 else np.zeros_like(close)
        if crash and bar == N_BARS - 1:
            next_close, weights = next_close * 1e-6, weights / weights.sum(axis=1, keepdims=True)
        step = advance(account, weights, StepPrices(close, close, next_close), rules)
        yield step
        account, close = step.account, next_close


def one_account(step: Step, e: int) -> Step:
    """The same step, of account e alone."""
    row = slice(e, e + 1)
    return Step(
        account=Account(step.account.cash[row], step.account.units[row]),
        fills=Fills(step.fills.notional[row], step.fills.fees[row], step.fills.slippage[row]),
        equity_before=step.equity_before[row],
        equity=step.equity[row],
        prices=StepPrices(step.prices.close[row], step.prices.fill[row], step.prices.next_close[row]),
        ruined=step.ruined[row],
    )


def arrays_of(value: Any, name: str = "step") -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a step, with the words that read it."""
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            yield from arrays_of(part, f"{name}.{field.name}")
        elif part is not None:
            yield f"{name}.{field.name}", part


class RewardContract(Contract):
    """What a reward promises.

    reward: the member. It need not be registered.

        class TestCalmGrowth(RewardContract):
            reward = CALM_GROWTH
    """

    reward: Reward

    def rewards(self, steps: Iterable[Step]) -> np.ndarray:
        """What a life from its first step on is rewarded. Shape: (bars, E)."""
        steps = list(steps)
        memory, rewards = self.reward.fresh_memory(len(steps[0].equity)), []
        for step in steps:
            reward, memory = self.reward.compute(step, memory)
            rewards.append(reward)
        return np.array(rewards)

    def test_there_is_one_finite_number_per_account(self) -> None:
        for what, steps in {"trade": life(5), "lose all": life(5, crash=True)}.items():
            rewards = self.rewards(steps)
            if rewards.shape != (N_BARS, 5) or not np.isfinite(rewards).all():
                raise broken(
                    "a reward must be one finite number per account and step, of an account that is ruined, too",
                    f"five accounts that {what} got the shape {rewards.shape[1:]} per step, and "
                    f"{int((~np.isfinite(rewards)).sum())} numbers that are not finite",
                    "return the shape (E,), and keep divisors and logarithms off zero",
                )

    def test_the_reward_moves(self) -> None:
        deviation = self.rewards(life(5)).std()
        if not deviation > 0:
            raise broken(
                "a reward must tell one step from another: nothing is learned from a constant",
                f"all steps of five accounts that trade at random are rewarded {self.rewards(life(5)).flat[0]:g}",
                "make it depend on `step.equity` and `step.equity_before`",
            )

    def test_costs_lower_the_reward(self) -> None:
        free, costly = (self.rewards(life(5, rules=rules)).sum(axis=0) for rules in (FREE, COSTLY))
        if not (costly < free).all():
            e = int(np.argmax(costly - free))
            paid = 1 - list(life(5, rules=COSTLY))[-1].equity[e] / list(life(5))[-1].equity[e]
            raise broken(
                "of two accounts that trade alike, the one that pays fees must be rewarded less",
                f"an account that lost {paid:.1%} of its equity to fees got {costly[e]:.6g} in all, "
                f"and {free[e]:.6g} where trading was free",
                "compute from `step.equity`, which is what costs have left; prices and holdings know nothing of costs",
            )

    def test_accounts_of_a_batch_do_not_touch_each_other(self) -> None:
        steps = list(life(6))
        batch = self.rewards(steps)
        for e in range(6):
            alone = self.rewards(one_account(step, e) for step in steps)
            if alone[:, 0].tobytes() != batch[:, e].tobytes():
                raise broken(
                    "an account must be rewarded in a batch as it is alone, to the last bit",
                    f"account {e} of six is rewarded {batch[:, e].sum():.9g} in all, and {alone[:, 0].sum():.9g} alone",
                    "reduce over assets (axis 1) alone, never over accounts (axis 0)",
                )

    def test_the_step_is_left_alone(self) -> None:
        step = next(life(4, rules=COSTLY))
        before = {name: array.copy() for name, array in arrays_of(step)}
        self.reward.compute(step, self.reward.fresh_memory(4))
        written = [name for name, array in arrays_of(step) if not np.array_equal(array, before[name])]
        if written:
            raise broken(
                "a reward must leave its step alone: the account and its record are read from the same arrays",
                f"compute() changed {', '.join(written)}",
                "compute a new array: `step.equity - costs`, never `equity -= costs`",
            )

    def test_the_memory_is_a_value_that_is_not_written_to(self) -> None:
        step = next(life(4))
        memory = self.reward.fresh_memory(4)
        before = memory.copy()
        _, after = self.reward.compute(step, memory)
        if np.shape(after) != before.shape or not np.array_equal(memory, before):
            raise broken(
                "a reward must return its new memory with the shape that it was given, and leave the old one alone",
                f"a memory of the shape {before.shape} became {np.shape(after)}; "
                f"the old one was {'kept' if np.array_equal(memory, before) else 'written to'}",
                "return a new array: `memory + change`, never `memory += change`",
            )

    def test_all_that_is_remembered_is_in_the_memory(self) -> None:
        first, again = self.rewards(life(4)), self.rewards(life(4))
        if not np.array_equal(first, again):
            raise broken(
                "a reward must depend on its step and its memory alone",
                f"the same life was rewarded {first.sum():.9g} at first and {again.sum():.9g} again",
                "keep what must be remembered in the memory (give `Reward` its `start`), sample no random numbers",
            )

    def test_an_account_that_sat_in_cash_and_then_trades_is_rewarded_within_reason(self) -> None:
        largest = np.abs(self.rewards(life(2, n_idle=N_IDLE))).max()
        if not largest < LARGEST:
            raise broken(
                f"no step may be worth {LARGEST:g} or more, of an account that sat in cash before, too",
                f"after {N_IDLE:,} bars in cash an account that trades is rewarded up to {largest:.3g}",
                "an idle account has no volatility: keep what you divide by above a floor",
            )


def check_reward(reward: Reward) -> None:
    """Holds a reward to every promise of `RewardContract`.

    Raises: AssertionError, which names every promise that it breaks, how, and what to do.
    """
    contract = RewardContract()
    contract.reward = reward
    contract.check()
