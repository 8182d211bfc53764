"""Steps and seconds of PPO until its policy passes a validation threshold, with and without alternatives.

    python benchmarks/alternatives.py --json FILE [--quick] [--seeds 8] [--alternatives 15]

The market is the simulator whose volumes leak the next return; the threshold is half of what a greedy trader grows who
knows that return, less what untrained policies do (`sample_efficiency.py`). Ways, for an MLP and an FT-Transformer from
scratch:

defaults: PPO as most set it: gamma 0.99, lambda 0.95, batches of 2,048, minibatches of 256.
same batch: PPO with gamma 0 and the batches of the next way: what is learned here pays at the next bar.
alternatives: as `same batch`, with further actions of each account priced at each bar.

A run that never gets there counts as its whole budget. Ratios are of means over the seeds, the same seeds on both
sides, with 95 % bootstrap intervals over pairs of them. Seconds are of training alone, one thread a run.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import table
from sample_efficiency import FEATURES, FT, SIMULATOR, TRADING, greedy_growth, threshold_of
from trainings import Job, arguments, curves, dataset_in_pieces, surroundings, write

from ftray.agent import PPOSpec
from ftray.market import SimulatorSpec, WindowsSpec, load_market
from ftray.nets import EncoderSpec, MLPSpec

DEFAULTS, SAME, ALTERNATIVES = "defaults", "same batch", "alternatives"
ENCODERS: dict[str, EncoderSpec] = {"MLP-512": MLPSpec(), "FT from scratch": FT}
STEPS, QUICK_STEPS = 40_960, 2_048
LEARNING = {"learning_rate": 1e-3, "epochs": 4, "n_env_runners": 0, "envs_per_runner": 32}
LIMITS = {(SAME, "env_steps"): 0.35, (SAME, "seconds"): 0.5, (DEFAULTS, "env_steps"): 0.2}
"""How many of another way's steps or seconds alternatives may take."""
RESAMPLES = 10_000


def ways(alternatives: int, steps: int) -> dict[str, PPOSpec]:
    small = {"env_steps": steps, "train_batch_size": 512, "minibatch_size": 64, "gamma": 0.0, "gae_lambda": 0.0}
    same = PPOSpec(**(LEARNING | small))
    return {
        DEFAULTS: PPOSpec(env_steps=steps, n_env_runners=0, envs_per_runner=32),
        SAME: same,
        ALTERNATIVES: dataclasses.replace(same, alternatives=alternatives),
    }


def jobs_of(folder: Path, seeds: int, alternatives: int, quick: bool) -> tuple[list[Job], float]:
    """All trainings, and what a greedy trader grows a day."""
    market = SimulatorSpec(n_assets=3, n_bars=4_000 if quick else 12_000, drift=0.0, leak=1.0)
    candles = load_market(market)
    dataset, trading = dataset_in_pieces(candles, WindowsSpec(), FEATURES), TRADING[SIMULATOR]
    data = dataset.save(folder / "data" / dataset.fingerprint)
    found = [
        Job(market=encoder, way=way, seed=seed, dataset=data, encoder=spec, trading=trading, ppo=ppo)
        for seed in range(seeds)
        for encoder, spec in ENCODERS.items()
        for way, ppo in ways(alternatives, QUICK_STEPS if quick else STEPS).items()
    ]
    return found, greedy_growth(dataset, trading.rules)


def reached(rows: list[dict[str, float]], threshold: float) -> dict[str, float]:
    """Steps and seconds at the first look at or above the threshold, or at the end; whether it was reached."""
    first = next((row for row in rows if row["growth"] >= threshold), None)
    at = first or rows[-1]
    return {"env_steps": at["env_steps"], "seconds": at["seconds"], "reached": float(first is not None)}


def ratio(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Mean over mean, and its interval over resampled pairs. Shape: (seeds,) each."""
    drawn = np.random.default_rng(seed).integers(len(ours), size=(RESAMPLES, len(ours)))
    low, high = np.quantile(ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1), [0.025, 0.975])
    return {"ratio": float(ours.mean() / theirs.mean()), "low": float(low), "high": float(high)}


def rows_of(jobs: list[Job], found: list[list[dict[str, float]]], reachable: float) -> list[dict[str, Any]]:
    """A row per encoder and way: how many got there, at what cost, and what alternatives take of that."""
    rows = []
    for encoder in ENCODERS:
        own = {way: [f for job, f in zip(jobs, found, strict=True) if (job.market, job.way) == (encoder, way)]
               for way in (DEFAULTS, SAME, ALTERNATIVES)}  # fmt: skip
        threshold = threshold_of([one[0]["growth"] for runs in own.values() for one in runs], reachable, 0.5)
        at = {way: [reached(one, threshold) for one in runs] for way, runs in own.items()}
        for way, ends in at.items():
            row = {"encoder": encoder, "way": way, "threshold": threshold, "seeds": len(ends)}
            row |= {name: float(np.mean([end[name] for end in ends])) for name in ("env_steps", "seconds")}
            row["reached"] = sum(end["reached"] for end in ends)
            row["growth"] = float(np.mean([one[-1]["growth"] for one in own[way]]))
            for name in ("env_steps", "seconds"):
                ours, theirs = (np.array([end[name] for end in at[one]]) for one in (ALTERNATIVES, way))
                row[f"ratio of {name}"] = ratio(ours, theirs)
            rows.append(row)
    return rows


def claims_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What alternatives must save, and whether they do."""
    claims = []
    for row in rows:
        for (way, name), limit in LIMITS.items():
            if row["way"] == way:
                found = row[f"ratio of {name}"]
                holds = found["ratio"] <= limit and found["high"] < 1.0
                claims.append(
                    {"claim": f"{row['encoder']}, {name} over {way}", "limit": limit} | found | {"holds": holds}
                )
    return claims


def _ratio(name: str) -> Any:
    return lambda row: "{ratio:.2f} [{low:.2f}, {high:.2f}]".format(**row[f"ratio of {name}"])


COLUMNS = {
    "encoder": lambda row: row["encoder"],
    "way": lambda row: row["way"],
    "reached": lambda row: f"{row['reached']:.0f} of {row['seeds']}",
    "steps": lambda row: f"{row['env_steps']:,.0f}",
    "seconds": lambda row: f"{row['seconds']:.1f}",
    "growth/day at the end": lambda row: f"{row['growth']:+.4f}",
    "alternatives / it, steps": _ratio("env_steps"),
    "alternatives / it, seconds": _ratio("seconds"),
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        seeds={"type": int, "default": 8, "metavar": "N", "help": "runs of each way; default: 8, with --quick 2"},
        alternatives={"type": int, "default": 15, "metavar": "K", "help": "further actions per account and bar"},
    )
    before, seeds = surroundings(), min(options.seeds, 2) if options.quick else options.seeds
    with tempfile.TemporaryDirectory() as folder:
        jobs, reachable = jobs_of(Path(folder), seeds, options.alternatives, options.quick)
        found = curves(jobs)
    rows = rows_of(jobs, found, reachable)
    claims = claims_of(rows)
    print(
        f"\n{table(COLUMNS, rows)}\n\ngreedy grows {reachable:.4f} a day; the threshold is {rows[0]['threshold']:.4f}"
    )
    for one in claims:
        met = "met" if one["holds"] else "missed"
        print(f"{one['claim']}: {one['ratio']:.2f} [{one['low']:.2f}, {one['high']:.2f}], limit {one['limit']}: {met}")
    write(
        options.json,
        "alternatives",
        quick=options.quick,
        machine=before,
        alternatives=options.alternatives,
        ppo={way: dataclasses.asdict(ppo) for way, ppo in ways(options.alternatives, jobs[0].ppo.env_steps).items()},
        reachable=reachable,
        rows=rows,
        claims=claims,
        curves=[
            {"encoder": job.market, "way": job.way, "seed": job.seed, "rows": rows}
            for job, rows in zip(jobs, found, strict=True)
        ],
    )


if __name__ == "__main__":
    main()
