"""What the RL benchmarks share: real candles, towers to start from, and a training that stops to look where it stands.

Takes: candles, specs. Gives: prepared datasets, checkpoints, and learning curves, made in as many processes as there
are cores, each with one thread.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine

from ftray.agent import PPOSpec
from ftray.features import Dataset, FeatureSpec, build_table
from ftray.market import Candles, FilesSpec, SimulatorSpec, Window, Windows, WindowsSpec, load_market
from ftray.market.windows import split
from ftray.nets import (
    EncoderSpec,
    build_encoder,
    gather_windows,
    load_market_weights,
    market_state_dict,
    read_checkpoint,
)
from ftray.pretraining.samples import thin
from ftray.pretraining.trainer import STANDARDISED_ON
from ftray.say import Say
from ftray.spec import fingerprint, parse_member
from ftray.trading import TradingSpec, backtest, outside_no_trade

CANDLES = Path(__file__).parents[2] / "shared" / "data" / "binance_1h"
PACKAGES = ("torch", "numpy", "ray", "gymnasium", "stable-baselines3")
PIECE_BARS = 250


def real_candles(folder: Path, n_bars: int | None = None, symbols: tuple[str, ...] | None = None) -> Candles:
    """The last bars of the real candles; where there are none, prints so and returns simulated ones."""
    if folder.is_dir():
        candles = load_market(FilesSpec(path=str(folder), symbols=symbols))
    else:
        print(f"no candles at {folder}: simulated ones in their place")
        candles = load_market(SimulatorSpec(n_assets=len(symbols) if symbols else 7))
    if n_bars is None:
        return candles
    regimes = None if candles.regimes is None else candles.regimes[-n_bars:]
    times, values = candles.times[-n_bars:].copy(), candles.values[-n_bars:].copy()
    return Candles(candles.symbols, times, values, candles.interval, regimes)


def dataset_in_pieces(candles: Candles, windows: WindowsSpec, features: FeatureSpec) -> Dataset:
    """A dataset whose validation window is cut into pieces of 250 bars: a backtest walks them side by side."""
    parts = split(len(candles), windows, features.lookback)
    length = PIECE_BARS + features.lookback
    (whole,) = parts.validation
    starts = range(whole.start, whole.stop - length + 1, length)
    cut = Windows(parts.train, tuple(Window(start, start + length) for start in starts), parts.test)
    name = fingerprint("in pieces", PIECE_BARS, candles.fingerprint, windows, features)
    return Dataset(candles, build_table(candles, features, parts.train), cut, name)


def random_tower(spec: EncoderSpec, dataset: Dataset, path: Path) -> Path:
    """A checkpoint of a freshly initialised tower: what a frozen or fine-tuned one costs does not depend on numbers."""
    import torch

    torch.manual_seed(0)
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(spec, dataset.layout))}, path)
    return path


def shuffled_tower(weights: Path, path: Path, seed: int = 0) -> Path:
    """The same numbers, those of each tensor in random order: the scale of what was learned without its content."""
    import torch

    content, generator = read_checkpoint(weights), torch.Generator().manual_seed(seed)
    content["encoder_state_dict"] = {
        name: value.flatten()[torch.randperm(value.numel(), generator=generator)].view_as(value)
        for name, value in content["encoder_state_dict"].items()
    }
    torch.save(content, path)
    return path


def standardise_forecasts(weights: Path, dataset: Dataset) -> Path:
    """Scales what a checkpoint's encoder forecasts to a variance of 1, as pre-training does at its end.

    A shuffled tower needs it: its forecasts would hardly vary, and a policy would learn little for that alone.
    """
    import torch

    content = read_checkpoint(weights)
    encoder: Any = build_encoder(parse_member(EncoderSpec, content["encoder"]), dataset.layout)
    load_market_weights(encoder, content)
    bars = thin(dataset.table.decision_bars(dataset.windows.train), STANDARDISED_ON)
    table = torch.from_numpy(np.array(dataset.table.values))
    with torch.no_grad():
        encoder.standardise(gather_windows(table, torch.from_numpy(bars), dataset.layout.lookback).split(128))
    torch.save(content | {"encoder_state_dict": market_state_dict(encoder)}, weights)
    return weights


class Stopwatch:
    """Stands between an algorithm and its learners: what learning takes, and which bars are learned from."""

    def __init__(self, algorithm: Any):
        self.learning, self.n_bars, self.distinct = 0.0, 0, np.empty(0)
        self._update = algorithm.learner_group.update
        algorithm.learner_group.update = self

    def __call__(self, **given: Any) -> Any:
        start = time.perf_counter()
        results = self._update(**given)
        self.learning += time.perf_counter() - start
        return results


class BarCounter(Stopwatch):
    """For compact observations: bars seen, counted once where accounts share them, and which different ones."""

    def __init__(self, algorithm: Any, accounts_per_bar: int):
        super().__init__(algorithm)
        self.accounts_per_bar = accounts_per_bar

    def __call__(self, *, episodes: Sequence[Any], **given: Any) -> Any:
        bars = np.concatenate([np.asarray(episode.get_observations())[:-1, 0] for episode in episodes])
        self.n_bars += len(bars) // self.accounts_per_bar
        self.distinct = np.union1d(self.distinct, bars)
        return super().__call__(episodes=episodes, **given)


@dataclasses.dataclass(frozen=True)
class Job:
    """One training: which way, from which seed, and what is looked at.

    explored: the validation figure is that of the policy as it explores, not of its mean action.
    look_every: env steps between two looks at the least; 0 looks after each iteration.
    """

    market: str
    way: str
    seed: int
    dataset: Path
    encoder: EncoderSpec
    trading: TradingSpec
    ppo: PPOSpec
    weights: Path | None = None
    market_vectors: Path | None = None
    explored: bool = False
    look_every: int = 0


def curve(job: Job) -> list[dict[str, float]]:
    """Where a training stands before its first iteration and after each: steps, bars, seconds, validation growth.

    Seconds are those of the iterations: neither those of the start nor those of looking at the validation window.
    """
    import torch

    from ftray.agent.training import iterate, learner_module, ppo_config

    torch.manual_seed(job.seed)
    algorithm: Any = ppo_config(
        job.ppo,
        job.encoder,
        job.trading,
        dataset=job.dataset,
        weights=job.weights,
        market_vectors=job.market_vectors,
        seed=job.seed,
    ).build_algo()
    try:
        counter, dataset = BarCounter(algorithm, job.trading.accounts_per_bar), Dataset.load(job.dataset)
        module = learner_module(algorithm)
        row: dict[str, float] = {"env_steps": 0, "bars": 0, "distinct_bars": 0}
        seconds, rows = 0.0, []
        while True:
            ends = row["env_steps"] >= job.ppo.env_steps
            if not rows or ends or row["env_steps"] - rows[-1]["env_steps"] >= job.look_every:
                growth = module_growth(module, dataset, job.trading, explored=job.explored)
                rows.append(row | {"seconds": seconds, "growth": growth})
            if ends:
                return rows
            start = time.perf_counter()
            metrics = iterate(algorithm)
            seconds += time.perf_counter() - start
            row = {"env_steps": metrics["env_steps"], "bars": counter.n_bars, "distinct_bars": len(counter.distinct)}
            if "advantages/intraclass_correlation" in metrics:
                row["correlation"] = metrics["advantages/intraclass_correlation"]
    finally:
        algorithm.stop()


def module_growth(module: Any, dataset: Dataset, trading: TradingSpec, *, explored: bool = False) -> float:
    """Log growth per day on the validation window, by the mean action or by drawn ones (the same draws every time)."""
    import torch
    from ray.rllib.core.columns import Columns

    generator = torch.Generator().manual_seed(0)

    def act(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(np.concatenate([bars[:, None], accounts], axis=1).astype(np.float32))
        with torch.inference_mode():
            mean, log_std = module.forward_inference({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS].chunk(2, dim=-1)
            if explored:
                mean = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
            actions = mean.clamp(-1.0, 1.0).numpy()
        return outside_no_trade(actions, accounts[:, 1:], trading.no_trade)

    return growth_per_day(backtest(act, dataset, dataset.windows.validation, trading.rules), dataset)


def growth_per_day(outcome: Any, dataset: Dataset) -> float:
    return float(np.log(outcome.equity[-1] / outcome.initial_cash) / len(outcome) * dataset.candles.bars_per_day)


@contextlib.contextmanager
def shared_ray() -> Iterator[None]:
    """One local Ray for this process and all that it starts: RLlib wants one even where it has no remote actor."""
    import ray

    from ftray.capacity.local_ray import local_ray

    # Env runners must find these modules; threads that spin while they wait would take the cores from those that work.
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ.update(PYTHONPATH=os.pathsep.join(paths), PYTHONWARNINGS="ignore")
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with local_ray():
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        yield
        del os.environ["RAY_ADDRESS"]


@contextlib.contextmanager
def quiet_ray() -> Iterator[None]:
    """A child's connection to the Ray of its parent."""
    from ftray.capacity.local_ray import local_ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with local_ray(lambda _: None):
        yield


def curves(jobs: Sequence[Job], say: Say = print) -> list[list[dict[str, float]]]:
    """The curve of every job, as many at a time as there are cores."""
    found = []
    for job, rows in zip(jobs, in_processes(curve, jobs), strict=True):
        first, last = rows[0], rows[-1]
        say(
            f"{job.market}, {job.way}, seed {job.seed}: {first['growth']:+.4f} → {last['growth']:+.4f} a day "
            f"in {last['env_steps']:,} steps, {last['seconds']:.1f} s"
        )
        found.append(rows)
    return found


def in_processes(work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """What `work` returns of each task, in their order, as many at a time as there are cores; all share one Ray."""
    with shared_ray(), multiprocessing.get_context("spawn").Pool(os.cpu_count(), _connect) as pool:
        yield from pool.imap(work, tasks)
        pool.close()
        pool.join()  # leaving the block would kill them, and Ray would print it at length


def rows_kept(path: Path | None, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a file of `write` holds already. Raises: SystemExit where other settings were measured."""
    if path is None or not path.exists():
        return []
    held = json.loads(path.read_text())
    if held["settings"] != settings:
        raise SystemExit(f"{path} holds rows of other settings: {held['settings']}; give another file")
    return held["rows"]


_held = contextlib.ExitStack()
"""What a process of a pool holds on to until it ends."""


def _connect() -> None:
    _held.enter_context(quiet_ray())


def arguments(description: str | None, given: list[str] | None = None, **more: dict[str, Any]) -> argparse.Namespace:
    """What every RL benchmark is asked for, and more by name."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds: shows that it runs, proves nothing")
    parser.add_argument("--candles", type=Path, default=CANDLES, metavar="FOLDER", help=f"default: {CANDLES}")
    for name, options in more.items():
        parser.add_argument(f"--{name}", **options)
    return parser.parse_args(given)


def write(path: Path | None, benchmark: str, **content: Any) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"benchmark": benchmark, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        path.write_text(json.dumps(head | content, indent=1) + "\n")


def surroundings(device: str = "cpu") -> dict[str, Any]:
    return machine(device, PACKAGES)
