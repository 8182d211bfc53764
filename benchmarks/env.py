"""Steps per second of the trading environments on one core, and of one that loops over its assets in Python.

    python benchmarks/env.py --json FILE [--quick]

The reference market: 7 assets, 14 indicators, lookback 60, observations of 5,888 floats; one step is one account over
one bar. The rival is what trading environments usually look like: one account, a Python loop over its assets, a window
stacked bar by bar. It trades by the same rules, which is checked before anything is timed: the same actions lead to the
same observations and the same equity. The cases take turns, and medians are compared. A second is one of processor
time, which a busy machine stretches less than wall time; steps per wall second are printed, too. `--quick` repeats
less.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, table

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.trading import TradingEnv, TradingSpec, VectorTradingEnv

N_ACCOUNTS = 256
SPEC = TradingSpec()
COMPACT, FULL, SINGLE, LOOP = (
    "compact, 256 accounts",
    "full, 256 accounts",
    "full, one account",
    "Python loop, one account",
)
STEPS_PER_TURN = {COMPACT: 1_000, FULL: 150, SINGLE: 1_500, LOOP: 1_500}
"""Calls of `step` between two looks at the clock: some tenths of a second each."""
ROUNDS = {False: 21, True: 7}
TARGETS = {COMPACT: 500_000, FULL: 60_000}


class LoopEnv:
    """One account, traded asset by asset: ftray's rules once more, written without a single shared line."""

    def __init__(self, dataset: Dataset, spec: TradingSpec):
        self.spec, self.lookback, self.n_assets = spec, dataset.layout.lookback, dataset.layout.n_assets
        self.features = dataset.table.values
        self.opens, self.closes = (dataset.candles.column(name).tolist() for name in ("open", "close"))

    def reset(self, bar: int) -> np.ndarray:
        self.bar, self.last_bar = bar, bar + self.spec.episode_bars
        self.cash, self.units = self.spec.rules.initial_cash, [0.0] * self.n_assets
        return self.observation()

    def equity(self, prices: list[float]) -> float:
        held = 0.0
        for units, price in zip(self.units, prices, strict=True):
            held += units * price
        return self.cash + held

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        before = self.equity(self.closes[self.bar])
        self.trade([max(float(wanted), 0.0) for wanted in action], self.opens[self.bar + 1])
        self.bar += 1
        after = self.equity(self.closes[self.bar])
        ruined = after < 0.01 * self.spec.rules.initial_cash
        info = {"bar": self.bar, "equity": after}
        return self.observation(), math.log(after / before), ruined, self.bar >= self.last_bar and not ruined, info

    def trade(self, wanted: list[float], prices: list[float]) -> None:
        total, equity, cost = max(1.0, sum(wanted)), self.equity(prices), self.spec.rules.cost
        orders = []
        for asset, price in enumerate(prices):
            units = wanted[asset] / total * equity / price - self.units[asset]
            orders.append(units if abs(units * price) >= self.spec.rules.min_order else 0.0)
        needed = 0.0
        for asset, (units, price) in enumerate(zip(orders, prices, strict=True)):
            if units < 0:
                self.cash -= units * price * (1.0 - cost)
                self.units[asset] = max(self.units[asset] + units, 0.0)
            else:
                needed += units * price * (1.0 + cost)
        affordable = min(1.0, self.cash / needed) if needed else 1.0
        for asset, (units, price) in enumerate(zip(orders, prices, strict=True)):
            if units > 0 and units * price * affordable >= self.spec.rules.min_order:
                self.cash -= units * price * affordable * (1.0 + cost)
                self.units[asset] += units * affordable
        self.cash = max(self.cash, 0.0)

    def observation(self) -> np.ndarray:
        prices = self.closes[self.bar]
        equity = self.equity(prices)
        account = [self.cash / equity]
        for units, price in zip(self.units, prices, strict=True):
            account.append(units * price / equity)
        window = []
        for bar in range(self.bar - self.lookback + 1, self.bar + 1):
            window.append(self.features[bar])
        features = np.stack(window, axis=1).reshape(-1)
        return np.concatenate([np.array(account, np.float32), features])


def reference_dataset() -> Dataset:
    return build_dataset(SimulatorSpec(n_assets=7, n_bars=30_000), WindowsSpec(), FeatureSpec())


def largest_difference(dataset: Dataset, n_steps: int = 400) -> float:
    """How far the loop's equity strays from ours under the same actions, as a fraction.

    Raises: AssertionError if it is more than rounding, or if one sees anything else than the other.
    """
    bar, worst = int(dataset.table.decision_bars(dataset.windows.train)[100]), 0.0
    n_assets = dataset.layout.n_assets
    for actions in np.random.default_rng(0).uniform(-1, 1, (2, n_steps, n_assets)) * [[[1.0]], [[0.2]]]:
        ours, loop = TradingEnv(dataset, dataset.windows.train, SPEC), LoopEnv(dataset, SPEC)
        seen, _ = ours.reset(options={"bar": bar})
        np.testing.assert_array_equal(seen, loop.reset(bar))
        for action in actions:
            one, other = ours.step(action), loop.step(action)
            np.testing.assert_allclose(one[0], other[0], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(one[1], other[1], rtol=1e-9, atol=1e-12)
            worst = max(worst, abs(one[4]["equity"] / other[4]["equity"] - 1.0))
    assert worst < 1e-12, f"the same actions must lead to the same equity, and it differs by {worst:.1e}"
    return worst


def players(dataset: Dataset) -> dict[str, Callable[[int], None]]:
    """For every case a call that makes so many steps, at random actions and with new episodes as old ones end."""
    window, rng = dataset.windows.train, np.random.default_rng(1)
    batches = list(rng.uniform(-1, 1, (64, N_ACCOUNTS, 7)).astype(np.float32))
    starts = dataset.table.decision_bars(window)[: -SPEC.episode_bars - 1]

    def vector(observation: Any) -> Callable[[int], None]:
        env = VectorTradingEnv(dataset, window, SPEC, n_envs=N_ACCOUNTS, observation=observation)
        env.reset()

        def play(n_steps: int) -> None:
            for i in range(n_steps):
                env.step(batches[i % 64])

        return play

    def single(env: Any, reset: Callable[[int], Any]) -> Callable[[int], None]:
        def play(n_steps: int) -> None:
            reset(int(rng.choice(starts)))
            for i in range(n_steps):
                _, _, terminated, truncated, _ = env.step(batches[i % 64][0])
                if terminated or truncated:
                    reset(int(rng.choice(starts)))

        return play

    ours, loop = TradingEnv(dataset, window, SPEC), LoopEnv(dataset, SPEC)
    return {
        COMPACT: vector("compact"),
        FULL: vector("full"),
        SINGLE: single(ours, lambda bar: ours.reset(options={"bar": bar})),
        LOOP: single(loop, loop.reset),
    }


def measure(dataset: Dataset, rounds: int) -> list[dict[str, Any]]:
    """A row per case, the fastest first; in steps per second, one step being one account over one bar."""
    plays = players(dataset)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in plays}
    for turn in range(rounds + 1):
        for name, play in plays.items():
            n_calls = STEPS_PER_TURN[name]
            wall, core = time.perf_counter(), time.process_time()
            play(n_calls)
            n_steps = n_calls * (N_ACCOUNTS if name in (COMPACT, FULL) else 1)
            rate = n_steps / (time.process_time() - core), n_steps / (time.perf_counter() - wall)
            if turn:  # the first one warms up
                rates[name].append(rate)
    loop = statistics.median(core for core, _ in rates[LOOP])
    rows = []
    for name, measured in rates.items():
        core, wall = (sorted(column) for column in zip(*measured, strict=True))
        row = {"name": name, "steps_per_second": statistics.median(core), "lowest": core[0], "highest": core[-1]}
        row |= {"steps_per_wall_second": statistics.median(wall), "times_the_loop": statistics.median(core) / loop}
        rows.append(row | {"repetitions": len(measured)})
    return rows


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "environment": lambda row: row["name"],
    "steps/s of one core": lambda row: f"{row['steps_per_second']:,.0f}",
    "lowest": lambda row: f"{row['lowest']:,.0f}",
    "highest": lambda row: f"{row['highest']:,.0f}",
    "steps/s of wall time": lambda row: f"{row['steps_per_wall_second']:,.0f}",
    "times the loop": lambda row: f"{row['times_the_loop']:,.1f}",
}


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    measured = {row["name"]: row["steps_per_second"] for row in rows}
    return [
        {"target": f"{name}: over {limit:,} steps/s", "measured": measured[name], "met": measured[name] > limit}
        for name, limit in TARGETS.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds")
    options = parser.parse_args(arguments)
    start, before = time.perf_counter(), machine("cpu", ("numpy", "gymnasium"))
    dataset = reference_dataset()
    difference = largest_difference(dataset)
    rows = measure(dataset, ROUNDS[options.quick])
    targets = verdicts(rows)
    print(table(COLUMNS, rows))
    print(f"\n{before['device']}; observations of {dataset.layout.size:,} floats; load before {before['load'][0]:.1f}")
    print(f"same actions, same observations, and the same equity within {difference:.0e}")
    for verdict in targets:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:,.0f}")
    if options.json:
        content = {
            "benchmark": "env",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": before,
            "seconds": time.perf_counter() - start,
            "trading": dataclasses.asdict(SPEC),
            "equity_difference": difference,
            "rows": rows,
            "targets": targets,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
