"""Learning with several accounts at each bar: what they save in time, and what their likeness costs in learning.

    python benchmarks/accounts_per_bar.py --json FILE [--quick] [--seeds 5] [--candles FOLDER]

1, 4 or 8 accounts share a bar, and with it the market tower's work; the env steps are the same, so the bars seen are as
many times fewer. Those that share a bar start with random holdings, single ones in cash. A small FT-Transformer is
trained from scratch on the two markets of sample_efficiency.py, with the same PPO, and judged by the same figure: log
growth per day on the validation window (simulator: by the mean action; real candles: as the policy explores), as
interquartile means over seeds with 95 % bootstrap intervals:

at equal steps: at the end. at equal bars: where those with the fewest bars end. at equal time: when the fastest end.

Correlation: the intraclass correlation of advantages among the accounts of a bar, the mean over the whole training: 0
and each account is worth a bar of its own, 1 and all of them are worth one.
"""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sample_efficiency
from measuring import table
from trainings import Job, arguments, curves, dataset_in_pieces, surroundings, write

from ftray.market import WindowsSpec
from ftray.stats import interquartile_mean, interquartile_mean_interval

ACCOUNTS = (1, 4, 8)
STEPS, QUICK_STEPS = 61_440, 4_096
Curve = list[dict[str, float]]


def jobs_of(candles_folder: Path, folder: Path, seeds: int, quick: bool) -> list[Job]:
    jobs = []
    for market, candles in sample_efficiency.markets(candles_folder, quick).items():
        dataset = dataset_in_pieces(candles, WindowsSpec(), sample_efficiency.FEATURES)
        data = dataset.save(folder / dataset.fingerprint)
        jobs += [
            Job(
                market=market,
                way=f"{n} account{'s' * (n > 1)} per bar",
                seed=seed,
                dataset=data,
                encoder=sample_efficiency.FT,
                trading=dataclasses.replace(sample_efficiency.TRADING[market], accounts_per_bar=n),
                ppo=dataclasses.replace(sample_efficiency.PPO, env_steps=QUICK_STEPS if quick else STEPS),
                explored=market == sample_efficiency.REAL,
            )
            for seed in range(seeds)
            for n in ACCOUNTS
        ]
    return jobs


def growth_at(rows: Curve, of: str, value: float) -> float:
    """The validation figure where a curve's `of` had reached a value: a straight line between two looks."""
    return float(np.interp(value, [row[of] for row in rows], [row["growth"] for row in rows]))


def rows_of(market: str, found: dict[int, list[Curve]]) -> list[dict[str, Any]]:
    """A line per number of accounts. found: its curves, one per seed."""

    def least(of: str) -> float:
        return min(rows[-1][of] for own in found.values() for rows in own)

    at = {of: least(of) for of in ("env_steps", "bars", "seconds")}
    lines = []
    for n, own in found.items():
        line: dict[str, Any] = {"market": market, "accounts_per_bar": n, "seeds": len(own)}
        for of, value in at.items():
            scores = [[growth_at(rows, of, value)] for rows in own]
            low, high = interquartile_mean_interval(scores)
            line[f"growth_at_equal_{of}"] = {"mean": interquartile_mean(scores), "low": low, "high": high, "at": value}
        for of in ("env_steps", "bars", "distinct_bars", "seconds"):
            line[of] = interquartile_mean([[rows[-1][of]] for rows in own])
        correlations = [row["correlation"] for rows in own for row in rows if "correlation" in row]
        line["correlation"] = float(np.mean(correlations)) if correlations else None
        lines.append(line)
    return lines


def _growth(of: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row[f"growth_at_equal_{of}"])


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "market": lambda row: row["market"],
    "accounts per bar": lambda row: str(row["accounts_per_bar"]),
    "steps": lambda row: f"{row['env_steps']:,.0f}",
    "bars": lambda row: f"{row['bars']:,.0f}",
    "different ones": lambda row: f"{row['distinct_bars']:,.0f}",
    "seconds": lambda row: f"{row['seconds']:.1f}",
    "growth a day at equal steps": _growth("env_steps"),
    "at equal bars": _growth("bars"),
    "at equal time": _growth("seconds"),
    "correlation": lambda row: "-" if row["correlation"] is None else f"{row['correlation']:.2f}",
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        seeds={"type": int, "default": 5, "metavar": "N", "help": "runs of each; default: 5, with --quick 1"},
    )
    started, before = time.perf_counter(), surroundings()
    seeds = min(options.seeds, 1) if options.quick else options.seeds
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(options.candles, Path(folder), seeds, options.quick)
        pairs = list(zip(jobs, curves(jobs), strict=True))
    rows = []
    for market in dict.fromkeys(job.market for job in jobs):
        found: dict[int, list[Curve]] = {n: [] for n in ACCOUNTS}
        for job, curve in pairs:
            if job.market == market:
                found[job.trading.accounts_per_bar].append(curve)
        rows += rows_of(market, found)
    print(f"\n{table(COLUMNS, rows)}\n")
    print(f"{before['device']}, {os.cpu_count()} runs at a time; load before {before['load'][0]:.1f}")
    write(
        options.json,
        "accounts per bar",
        quick=options.quick,
        machine=before,
        seconds=time.perf_counter() - started,
        ppo=dataclasses.asdict(jobs[0].ppo),
        rows=rows,
        curves=[
            {"market": job.market, "accounts_per_bar": job.trading.accounts_per_bar, "seed": job.seed, "rows": curve}
            for job, curve in pairs
        ],
    )


if __name__ == "__main__":
    main()
