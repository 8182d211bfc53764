"""Steps and seconds of PPO until its policy passes a validation threshold: what pre-training saves, and what it costs.

    python benchmarks/sample_efficiency.py --json FILE [--quick] [--seeds 5] [--threshold SHARE] [--candles FOLDER]

Five ways to train one small FT-Transformer or an MLP, on two markets of three assets, with the same PPO:

pre-trained, fine-tuned / pre-trained, frozen: the tower of one pre-training job on the train window (its seconds have
    a column of their own; all seeds share the job, so the intervals know nothing of other jobs). from scratch: a random
    tower.
shuffled: fine-tuned from the pre-trained tower with the entries of every tensor in random order: its scale alone.
MLP: 512 wide.

Simulator: volumes leak the next return. The figure is the log growth per day of the mean action on the validation
window, and what can be reached is what a greedy trader grows who knows the next return.
Real candles: at 0.3 % a trade no return of an hour is worth a trade; what so few steps can teach is to stop paying.
The figure is that of the policy as it explores (its mean action starts in cash), and what can be reached is cash.

The threshold is a rule fixed before any training: half of the way (`--threshold`) from what untrained policies grow,
the mean over all ways and seeds, to what can be reached. Steps and seconds are those at the first look at or above it,
one look per iteration. A run that never gets there counts as its whole budget; how many got there is printed. Means are
interquartile over the seeds, with 95 % bootstrap intervals. Seconds are of training alone, one thread a run and as many
runs at a time as there are cores.
"""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import table
from trainings import (
    Job,
    arguments,
    curves,
    dataset_in_pieces,
    growth_per_day,
    real_candles,
    shuffled_tower,
    surroundings,
    write,
)

from ftray.agent import PPOSpec
from ftray.features import Dataset, FeatureSpec
from ftray.market import Candles, SimulatorSpec, WindowsSpec, load_market
from ftray.nets import PRESETS, EncoderSpec, MLPSpec
from ftray.pretraining import PretrainingSpec, pretrain
from ftray.stats import interquartile_mean, interquartile_mean_interval
from ftray.trading import MarketRules, TradingSpec, backtest

SCRATCH, TUNED, FROZEN = "from scratch", "pre-trained, fine-tuned", "pre-trained, frozen"
SHUFFLED, MLP = "shuffled, fine-tuned", "MLP-512"
WAYS = (TUNED, FROZEN, SCRATCH, SHUFFLED, MLP)
SIMULATOR, REAL = "simulator", "real candles"
FT = PRESETS["small"]
FEATURES = FeatureSpec(lookback=12)
STEPS, QUICK_STEPS = 61_440, 4_096
PPO = PPOSpec(
    env_steps=STEPS,
    train_batch_size=2_048,
    minibatch_size=256,
    epochs=4,
    learning_rate=1e-3,
    gamma=0.0,  # what is learned here pays at the next bar
    gae_lambda=0.0,
    n_env_runners=0,
    envs_per_runner=32,
)
PRETRAINING = PretrainingSpec(epochs=20, batch_size=128, learning_rate=3e-3, windows_per_epoch=8_192, device="cpu")
TRADING = {
    SIMULATOR: TradingSpec(rules=MarketRules(fee=0.0002, slippage=0.0, min_order=0.0), episode_bars=100),
    REAL: TradingSpec(episode_bars=100),
}


def markets(folder: Path, quick: bool) -> dict[str, Candles]:
    n_bars = 4_000 if quick else None
    return {
        SIMULATOR: load_market(SimulatorSpec(n_assets=3, n_bars=n_bars or 12_000, drift=0.0, leak=1.0)),
        REAL: real_candles(folder, n_bars, symbols=("BTC", "ETH", "LINK")),
    }


def greedy_growth(dataset: Dataset, rules: MarketRules) -> float:
    """Growth per day of knowing the return from the next fill to the one after: all in the asset, or the cash, that
    brings most after the costs of changing over."""
    opens, n_assets = dataset.candles.column("open"), dataset.layout.n_assets
    returns, choices = np.zeros_like(opens), np.vstack([np.zeros(n_assets), np.eye(n_assets)])
    returns[:-2] = opens[2:] / opens[1:-1] - 1

    def greedy(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        traded = np.abs(choices - accounts[:, None, 1:]).sum(axis=-1)
        return choices[np.argmax(returns[bars] @ choices.T - rules.cost * traded, axis=1)]

    return growth_per_day(backtest(greedy, dataset, dataset.windows.validation, rules), dataset)


def jobs_of(market: str, candles: Candles, folder: Path, seeds: int, quick: bool) -> tuple[list[Job], dict[str, float]]:
    """The trainings on one market, and what is known of it beforehand: what can be reached, seconds of pre-training."""
    from ftray.agent.vectors import write_market_vectors

    dataset, trading = dataset_in_pieces(candles, WindowsSpec(), FEATURES), TRADING[market]
    data = dataset.save(folder / "data" / dataset.fingerprint)
    start = time.perf_counter()
    spec = dataclasses.replace(PRETRAINING, epochs=2, windows_per_epoch=1_024) if quick else PRETRAINING
    weights = pretrain(FT, spec, dataset, folder / "encoders" / dataset.fingerprint).path
    known = {"reachable": greedy_growth(dataset, trading.rules) if market == SIMULATOR else 0.0}
    known["pretraining_seconds"] = time.perf_counter() - start
    tuned = dataclasses.replace(FT, pretrained=str(weights))
    frozen = dataclasses.replace(tuned, frozen=True)
    vectors = write_market_vectors(frozen, weights, dataset, folder)
    ppo = dataclasses.replace(PPO, env_steps=QUICK_STEPS if quick else STEPS)

    def job(way: str, seed: int) -> Job:
        encoder: EncoderSpec = {SCRATCH: FT, FROZEN: frozen, MLP: MLPSpec()}.get(way, tuned)
        shuffled = shuffled_tower(weights, folder / f"shuffled-{seed}-{weights.parent.name}.pth", seed)
        return Job(
            market=market,
            way=way,
            seed=seed,
            dataset=data,
            encoder=encoder,
            trading=trading,
            ppo=ppo,
            weights={TUNED: weights, FROZEN: weights, SHUFFLED: shuffled}.get(way),
            market_vectors=vectors if way == FROZEN else None,
            explored=market == REAL,
        )

    return [job(way, seed) for seed in range(seeds) for way in WAYS], known


def threshold_of(untrained: list[float], reachable: float, share: float) -> float:
    """A share of the way from what untrained policies grow to what can be reached."""
    start = float(np.mean(untrained))
    return start + share * (reachable - start)


def crossing(rows: list[dict[str, float]], threshold: float) -> dict[str, float]:
    """The first look at or above the threshold, or the last one."""
    passed = [row for row in rows if row["growth"] >= threshold]
    at = passed[0] if passed else rows[-1]
    return {"env_steps": at["env_steps"], "seconds": at["seconds"], "reached": bool(passed)}


def row_of(market: str, way: str, found: list[list[dict[str, float]]], threshold: float) -> dict[str, Any]:
    """A line of the table: interquartile means and intervals over the seeds' curves."""
    crossings = [crossing(rows, threshold) for rows in found]
    row: dict[str, Any] = {"market": market, "way": way, "seeds": len(found)}
    row["reached"] = sum(each["reached"] for each in crossings)
    for name in ("env_steps", "seconds"):
        scores = [[each[name]] for each in crossings]
        low, high = interquartile_mean_interval(scores)
        row[name] = {"mean": interquartile_mean(scores), "low": low, "high": high}
    row["seconds_in_all"] = interquartile_mean([[rows[-1]["seconds"]] for rows in found])
    row["growth"] = interquartile_mean([[rows[-1]["growth"]] for rows in found])
    return row


def judged(
    jobs: list[Job], found: list[list[dict[str, float]]], known: dict[str, dict[str, float]], share: float
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """The table's rows, and what is known of each market with its threshold."""
    rows, thresholds = [], {}
    pairs = list(zip(jobs, found, strict=True))
    for market, facts in known.items():
        untrained = [curve[0]["growth"] for job, curve in pairs if job.market == market]
        threshold = threshold_of(untrained, facts["reachable"], share)
        thresholds[market] = facts | {"untrained": float(np.mean(untrained)), "threshold": threshold}
        for way in WAYS:
            own = [curve for job, curve in pairs if (job.market, job.way) == (market, way)]
            rows.append(row_of(market, way, own, threshold))
    return rows, thresholds


def _interval(name: str, form: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: "{mean:{form}} [{low:{form}}, {high:{form}}]".format(form=form, **row[name])


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "market": lambda row: row["market"],
    "way": lambda row: row["way"],
    "reached": lambda row: f"{row['reached']} of {row['seeds']}",
    "steps to threshold": _interval("env_steps", ",.0f"),
    "seconds to threshold": _interval("seconds", ".1f"),
    "whole run": lambda row: f"{row['seconds_in_all']:.1f} s",
    "growth a day at its end": lambda row: f"{row['growth']:+.4f}",
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        seeds={"type": int, "default": 5, "metavar": "N", "help": "runs of each way; default: 5, with --quick 1"},
        threshold={"type": float, "default": 0.5, "metavar": "SHARE", "help": "of the way to go; default: 0.5"},
    )
    started, before = time.perf_counter(), surroundings()
    seeds = min(options.seeds, 1) if options.quick else options.seeds
    jobs, known = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for market, candles in markets(options.candles, options.quick).items():
            own, known[market] = jobs_of(market, candles, Path(folder), seeds, options.quick)
            print(f"{market}: pre-training took {known[market]['pretraining_seconds']:.0f} s", flush=True)
            jobs += own
        found = curves(jobs)
    rows, thresholds = judged(jobs, found, known, options.threshold)
    print(f"\n{table(COLUMNS, rows)}\n")
    for market, facts in thresholds.items():
        print(
            f"{market}: threshold {facts['threshold']:+.4f} a day, {options.threshold:.0%} of the way from untrained "
            f"{facts['untrained']:+.4f} to {facts['reachable']:+.4f}; pre-training {facts['pretraining_seconds']:.0f} s"
        )
    print(f"{before['device']}, {os.cpu_count()} runs at a time; load before {before['load'][0]:.1f}")
    write(
        options.json,
        "sample efficiency",
        quick=options.quick,
        machine=before,
        seconds=time.perf_counter() - started,
        threshold_share=options.threshold,
        ppo=dataclasses.asdict(jobs[0].ppo),
        pretraining=dataclasses.asdict(PRETRAINING),
        markets=thresholds,
        rows=rows,
        curves=[
            {"market": job.market, "way": job.way, "seed": job.seed, "rows": rows}
            for job, rows in zip(jobs, found, strict=True)
        ],
    )


if __name__ == "__main__":
    main()
