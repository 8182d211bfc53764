"""How much of what can be earned on markets with a known answer does each learner earn?

    python benchmarks/skill.py --json FILE [--quick] [--draws 8] [--seeds 2] [--steps 100000] [--only MARKET ...]

Markets: the simulator with one thing to learn each (`SimulatorSpec.pattern`, `drift`, `leak`), and one with nothing.
The figure is the log growth per day of the mean action on the validation window, as a share of what a trader earns who
knows the expected return of every bar (`informed.py`); where that is nothing, the growth itself.

defaults: ftray's PPO as it comes. plain PPO: with the learning rate and the discount of the next way.
alternatives: with further actions of each account priced at each bar. zone: with a no-trade zone as well. forecasts:
the same from the forecasts of a frozen small FT-Transformer, pre-trained on the train window (`readout: forecasts`);
its seconds are in those of the curve. SB3: Stable-Baselines3's PPO, as plain PPO.
ridge: no network; a ridge regression on the whole lookback and the rule of the informed trader. direct: gradient ascent
through the step function, for one bar and for eight (`direct.py`).

All others learn an MLP of 64. A row is one draw of a market, one seed, one way. A file that holds rows already is
continued: rows of other settings are refused.
"""

import dataclasses
import functools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from informed import informed_growth, ridge_growth
from measuring import table
from trainings import (
    Job,
    arguments,
    curve,
    dataset_in_pieces,
    growth_per_day,
    in_processes,
    module_growth,
    rows_kept,
    surroundings,
    write,
)

from ftray.agent import PPOSpec
from ftray.agent.vectors import write_market_vectors
from ftray.features import Dataset, FeatureSpec
from ftray.market import SimulatorSpec, WindowsSpec, expected_returns, load_market
from ftray.nets import PRESETS, MLPSpec
from ftray.pretraining import PretrainingSpec, pretrain
from ftray.spec import to_mapping
from ftray.trading import MarketRules, TradingSpec, backtest, equal_weight

MARKETS = {
    "leak": {"leak": 1.0},
    "regimes": {"drift": 5.0},
    "momentum": {"pattern": "momentum", "strength": 0.2},
    "mean reversion": {"pattern": "mean_reversion", "strength": 0.3},
    "lead-lag": {"pattern": "lead_lag", "strength": 0.2},
    "motif": {"pattern": "motif", "strength": 0.3},
    "volatility": {"pattern": "volatility_timing", "strength": 0.1},
    "noise": {},
}
"""Unless they say otherwise, markets have no drift."""
FIRST_DRAW = 101
"""Seed of the first draw: those below are for choosing settings, and claims are made on others."""
FEATURES = FeatureSpec(lookback=24)
ENCODER = MLPSpec(hidden=64, encoding_dim=64)
RULES = MarketRules(fee=0.0005, slippage=0.0, min_order=0.0)
TRADING = TradingSpec(rules=RULES, episode_bars=100)
NARROW_ZONE = dataclasses.replace(TRADING, no_trade=0.05)
FORECASTER = dataclasses.replace(PRESETS["small"], readout="forecasts")
INFORMED, EQUAL, RIDGE, FORECASTS, SB3 = "informed", "equal weight", "ridge", "forecasts", "SB3 PPO"
DIRECT = {"direct, 1 bar": 1, "direct, 8 bars": 8}
LOOKS = 10
"""Rows of a learning curve, evenly over its steps."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """env steps of each learner, bars of a market, and epochs of pre-training."""

    steps: int = 100_000
    n_bars: int = 24_000
    epochs: int = 8

    def ways(self) -> dict[str, tuple[PPOSpec, TradingSpec]]:
        one_process: dict[str, Any] = {"env_steps": self.steps, "n_env_runners": 0, "envs_per_runner": 32}
        plain = PPOSpec(**one_process, learning_rate=1e-3, gamma=0.9)
        alternatives = dataclasses.replace(plain, alternatives=15, gae_lambda=0.0)
        return {
            "defaults": (PPOSpec(**one_process), TRADING),
            "plain PPO": (plain, TRADING),
            "alternatives": (alternatives, TRADING),
            "alternatives, zone": (alternatives, dataclasses.replace(TRADING, no_trade=0.1)),
        }

    @property
    def pretraining(self) -> PretrainingSpec:
        return PretrainingSpec(epochs=self.epochs, batch_size=128, learning_rate=3e-3, return_weight=0.3, device="cpu")

    @property
    def every(self) -> int:
        """Steps between two rows of a curve."""
        return max(1, self.steps // LOOKS)


@dataclasses.dataclass(frozen=True)
class Task:
    market: str
    draw: int
    seed: int
    way: str
    settings: Settings

    @property
    def spec(self) -> SimulatorSpec:
        return SimulatorSpec(
            n_assets=3, n_bars=self.settings.n_bars, seed=self.draw, **({"drift": 0.0} | MARKETS[self.market])
        )

    @property
    def name(self) -> tuple[str, int, int, str]:
        return self.market, self.draw, self.seed, self.way


def tasks_of(markets: Sequence[str], draws: int, seeds: int, settings: Settings) -> list[Task]:
    """Draw by draw, so that a run which is stopped has all markets and ways of the first draws."""
    return [
        Task(market, FIRST_DRAW + draw, seed, way, settings)
        for draw in range(draws)
        for market in markets
        for way in (INFORMED, EQUAL, RIDGE, *settings.ways(), FORECASTS, SB3, *DIRECT)
        for seed in range(1 if way in (INFORMED, EQUAL, RIDGE) else seeds)  # nothing is drawn in these three
    ]


@functools.lru_cache(maxsize=1)
def dataset_of(spec: SimulatorSpec) -> Dataset:
    return dataset_in_pieces(load_market(spec), WindowsSpec(), FEATURES)


def measured(task: Task) -> dict[str, Any]:
    """The row of a task: its last growth per day, and its curve where there is one."""
    dataset = dataset_of(task.spec)
    if task.way == INFORMED:
        rows = [{"growth": informed_growth(dataset, expected_returns(task.spec), RULES)}]
    elif task.way == EQUAL:
        rows = [{"growth": growth_per_day(equal_weight(dataset, dataset.windows.validation, RULES), dataset)}]
    elif task.way == RIDGE:
        rows = [{"growth": ridge_growth(dataset, RULES)}]
    elif task.way in DIRECT:
        rows = _direct_curve(task, dataset)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = dataset.save(Path(folder) / dataset.fingerprint)
            if task.way == FORECASTS:
                rows = _forecasts_curve(task, dataset, path)
            else:
                rows = _sb3_curve(task, dataset, path) if task.way == SB3 else _ppo_curve(task, path)
    return dict(zip(("market", "draw", "seed", "way"), task.name, strict=True)) | rows[-1] | {"curve": rows}


def _ppo_curve(task: Task, path: Path) -> list[dict[str, float]]:
    ppo, trading = task.settings.ways()[task.way]
    job = Job(task.market, task.way, task.seed, path, ENCODER, trading, ppo, look_every=task.settings.every)
    return [{name: row[name] for name in ("env_steps", "seconds", "growth")} for row in curve(job)]


def _forecasts_curve(task: Task, dataset: Dataset, path: Path) -> list[dict[str, float]]:
    import torch

    torch.set_num_threads(1)
    ppo, _ = task.settings.ways()["alternatives"]
    start = time.perf_counter()
    spec = dataclasses.replace(task.settings.pretraining, seed=task.seed)
    weights = pretrain(FORECASTER, spec, dataset, path / "encoder").path
    encoder = dataclasses.replace(FORECASTER, pretrained=str(weights), frozen=True)
    vectors = write_market_vectors(encoder, weights, dataset, path)
    seconds = time.perf_counter() - start
    job = Job(
        task.market, task.way, task.seed, path, encoder, NARROW_ZONE, ppo, weights, vectors,
        look_every=task.settings.every,
    )  # fmt: skip
    return [
        {"env_steps": row["env_steps"], "seconds": seconds + row["seconds"], "growth": row["growth"]}
        for row in curve(job)
    ]


def _direct_curve(task: Task, dataset: Dataset) -> list[dict[str, float]]:
    import direct
    import torch
    from gymnasium.spaces import Box
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    from ftray.agent.module import FTPolicy

    torch.manual_seed(task.seed)
    ppo, _ = task.settings.ways()["alternatives"]
    with tempfile.TemporaryDirectory() as folder:
        module: Any = RLModuleSpec(
            module_class=FTPolicy,
            observation_space=Box(-np.inf, np.inf, (dataset.layout.compact_size,)),
            action_space=Box(-1.0, 1.0, (dataset.layout.n_assets,)),
            model_config={
                "encoder": to_mapping(ENCODER),
                "dataset": str(dataset.save(Path(folder) / dataset.fingerprint)),
            },
        ).build()
    how = direct.Direct(ppo, DIRECT[task.way])
    look = functools.partial(module_growth, module, dataset, TRADING)
    return direct.train(module, dataset, RULES, how, task.seed, look, task.settings.every)


def _sb3_curve(task: Task, dataset: Dataset, path: Path) -> list[dict[str, float]]:
    from rivals import sb3_ppo

    ppo, _ = task.settings.ways()["plain PPO"]
    model = sb3_ppo(path, TRADING, ppo, [ENCODER.hidden, ENCODER.encoding_dim], shared=False, seed=task.seed)

    def look() -> float:
        def act(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
            return model.predict(dataset.table.observation(bars, accounts), deterministic=True)[0]

        return growth_per_day(backtest(act, dataset, dataset.windows.validation, RULES), dataset)

    rows = [{"env_steps": 0.0, "seconds": 0.0, "growth": look()}]
    while model.num_timesteps < ppo.env_steps:
        start = time.perf_counter()
        goal = min(ppo.env_steps, model.num_timesteps + task.settings.every)
        model.learn(goal - model.num_timesteps, reset_num_timesteps=False)
        seconds = rows[-1]["seconds"] + time.perf_counter() - start
        rows.append({"env_steps": float(model.num_timesteps), "seconds": seconds, "growth": look()})
    return rows


def shares_of(rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Per market and way: mean growth over draws (of the seeds' means), and its share of two others.

    share: of the informed trader's, a ratio of means over the same draws, with a 95 % bootstrap interval over draws.
    of_direct: of the better direct learner's, a ratio of the same kind.
    """
    found = []
    for market in dict.fromkeys(row["market"] for row in rows):
        growth: dict[str, dict[int, list[float]]] = {}
        for row in (row for row in rows if row["market"] == market):
            growth.setdefault(row["way"], {}).setdefault(row["draw"], []).append(row["growth"])
        for way, by_draw in growth.items():
            draws = sorted(set(by_draw) & set(growth.get(INFORMED, {})))
            if not draws:
                continue
            ours, most = (np.array([np.mean(of[draw]) for draw in draws]) for of in (by_draw, growth[INFORMED]))
            row = {"market": market, "way": way, "draws": len(draws), "growth": float(ours.mean())}
            if most.mean() > 0.0:
                drawn = np.random.default_rng(seed).integers(len(draws), size=(10_000, len(draws)))
                low, high = np.quantile(
                    ours[drawn].mean(axis=1) / np.maximum(most[drawn].mean(axis=1), 1e-12), [0.025, 0.975]
                )
                row |= {"share": float(ours.mean() / most.mean()), "low": float(low), "high": float(high)}
            found.append(row)
    ceilings = {
        market: max((row["growth"] for row in found if row["market"] == market and row["way"] in DIRECT), default=0.0)
        for market in {row["market"] for row in found}
    }
    return [row | ({"of_direct": row["growth"] / ceilings[row["market"]]} if ceilings[row["market"]] > 0.0 else {})
            for row in found]  # fmt: skip


COLUMNS = {
    "market": lambda row: row["market"],
    "way": lambda row: row["way"],
    "draws": lambda row: str(row["draws"]),
    "growth/day": lambda row: f"{row['growth']:+.4f}",
    "share of informed": lambda row: "{share:.2f} [{low:.2f}, {high:.2f}]".format(**row) if "share" in row else "",
    "of direct": lambda row: f"{row['of_direct']:.2f}" if "of_direct" in row else "",
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        draws={"type": int, "default": 8, "metavar": "N", "help": "draws of each market; default: 8, quick: 1"},
        seeds={"type": int, "default": 2, "metavar": "N", "help": "seeds of each learner; default: 2, quick: 1"},
        steps={"type": int, "default": 100_000, "metavar": "N", "help": "env steps; default: 100,000, quick: 1,024"},
        only={"nargs": "+", "default": list(MARKETS), "choices": list(MARKETS), "metavar": "MARKET", "help": "some"},
    )
    settings = Settings(1_024, 2_000, 1) if options.quick else Settings(options.steps)
    draws, seeds = (1, 1) if options.quick else (options.draws, options.seeds)
    ways = {way: {"ppo": to_mapping(ppo), "trading": to_mapping(trading)}
            for way, (ppo, trading) in settings.ways().items()}  # fmt: skip
    ways[FORECASTS] = {"encoder": to_mapping(FORECASTER), "pretraining": to_mapping(settings.pretraining)}
    recorded = json.loads(json.dumps(dataclasses.asdict(settings) | {"markets": MARKETS, "ways": ways}))
    rows = rows_kept(options.json, recorded)
    done = {(row["market"], row["draw"], row["seed"], row["way"]) for row in rows}
    tasks = [task for task in tasks_of(options.only, draws, seeds, settings) if task.name not in done]
    machine = surroundings()
    for n, row in enumerate(in_processes(measured, tasks), start=1):
        rows.append(row)
        print(f"{n}/{len(tasks)} {row['market']}, draw {row['draw']}, {row['way']}: {row['growth']:+.4f} a day")
        write(options.json, "skill", machine=machine, settings=recorded, shares=shares_of(rows), rows=rows)
    print(f"\n{table(COLUMNS, shares_of(rows))}")


if __name__ == "__main__":
    main()
