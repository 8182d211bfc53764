"""Does the demo find what can be found, and does it find nothing where there is nothing?

    python benchmarks/demo.py --json FILE [--quick] [--seeds 5] [--noise 59]

Runs the two studies that README.md begins with, as a reader does, on further draws of their markets: `ftray tune demo`,
and the same on a market whose returns nothing predicts. A row is one study: its best trial, the active Sharpe ratio of
that trial beside its luck line, the probability that it is truly above the line (deflated), and whether the gate before
the test window would open for it. No study here is the one of README.md: its settings were chosen on that draw.

Claims: of 5 studies of the demo's market at least 4 clear the luck line with 95 % confidence; of all studies of noise
at most 5 % do. None of 59 bounds their true fraction by 5 % (Clopper and Pearson 1934, one-sided, 95 % confidence).

A file that holds rows already is continued: rows of other settings are refused. Studies run one after the other on one
Ray, so that their seconds are without its start.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import table
from scipy.stats import beta
from trainings import arguments, rows_kept, shared_ray, surroundings, write

from ftray.analysis.luck import gate_opens, luck_of, luck_of_best
from ftray.analysis.ranking import best_trial, hardly_trading
from ftray.metrics import ROUND_TRIPS, SHARPE
from ftray.runs import RunFolder
from ftray.runs.labels import encoder_label, pretrained_label
from ftray.search.objectives import constraints_of, objectives_of
from ftray.study import load_study

DEMO, NOISE = "demo", "noise"
MARKETS = {DEMO: (), NOISE: ("trial.market.pattern=none", "trial.market.strength=0")}
"""What each study changes of the demo's."""
QUICK = ("search.n_trials=1", "search.min_round_trips=0", "trial.ppo.env_steps=1024")
FIRST_SEED = 101
"""Of the markets: those below are for choosing settings, and claims are made on others."""
MUST_CLEAR, MAY_CLEAR = 0.8, 0.05
"""Fractions of the studies: of the demo's market at least, of noise at most."""
CONFIDENCE = 0.95
RANKED = ("best", "encoder", "active_sharpe", "luck_line", "deflated", "sharpe", "round_trips")
"""What is unknown of a study none of whose trials has a rank."""


def study_of(market: str, seed: int, more: tuple[str, ...], root: Path) -> tuple[RunFolder, float]:
    """A study's run folder, and the seconds from its command to its end."""
    name = f"{market}_{seed}"
    given = (f"name={name}", f"trial.market.seed={seed}", *MARKETS[market], *more)
    words = ["tune", "demo", "--runs", str(root), *(word for one in given for word in ("--set", one))]
    start = time.perf_counter()
    command = [sys.executable, "-m", "ftray", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ftray {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
    return RunFolder.open(root / name), time.perf_counter() - start


def verdict_of(run: RunFolder) -> dict[str, Any]:
    """What a finished study found. Ratios and probabilities are None where no trial has a rank."""
    given = run.records(), objectives_of(run.study), constraints_of(run.study)
    best, active = best_trial(*given), luck_of_best(*given)
    row = {"hardly_trade": len(hardly_trading(given[0], given[2]))}
    if best is None or active is None:
        return row | dict.fromkeys(RANKED) | {"clears": False, "gate_opens": False}
    plain = luck_of(best.metrics, best.spec["windows"], active.n_trials, active.effective, SHARPE)
    return row | {
        "best": best.id,
        "encoder": f"{encoder_label(best.spec['encoder'])} {pretrained_label(best.spec['encoder'])}",
        "active_sharpe": active.value,
        "luck_line": active.luck_line,
        "deflated": active.deflated,
        "sharpe": best.metrics[SHARPE],
        "round_trips": best.metrics[ROUND_TRIPS],
        "clears": active.clears,
        "gate_opens": gate_opens(plain, active),
    }


def _described(row: dict[str, Any]) -> str:
    if row["best"] is None:
        return "no trial has a rank"
    return "active Sharpe {active_sharpe:.2f}, luck line {luck_line:.2f}, deflated {deflated:.0%}".format(**row)


def claims_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per market: studies, how many clear the luck line, a one-sided 95 % bound of their true fraction (a lower one of
    the demo's market, an upper one of noise), and whether the claim holds."""
    claims = []
    for market in MARKETS:
        own = [row for row in rows if row["market"] == market]
        n, k = len(own), sum(row["clears"] for row in own)
        if not n:
            continue
        if market == DEMO:
            bound, holds = (float(beta.ppf(1 - CONFIDENCE, k, n - k + 1)) if k else 0.0), k >= MUST_CLEAR * n
        else:
            bound, holds = (float(beta.ppf(CONFIDENCE, k + 1, n - k)) if k < n else 1.0), k <= MAY_CLEAR * n
        opens = sum(row["gate_opens"] for row in own)
        claims.append({"market": market, "studies": n, "clear": k, "gate_opens": opens, "bound": bound, "holds": holds})
    return claims


COLUMNS = {
    "market": lambda row: row["market"],
    "studies": lambda row: str(row["studies"]),
    "clear the luck line": lambda row: str(row["clear"]),
    "gate opens": lambda row: str(row["gate_opens"]),
    "true fraction, 95 %": lambda row: f"{'at least' if row['market'] == DEMO else 'at most'} {row['bound']:.3f}",
    "claim": lambda row: "holds" if row["holds"] else "does not hold",
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        seeds={"type": int, "default": 5, "metavar": "N", "help": "studies of the demo's market; default: 5, quick: 1"},
        noise={"type": int, "default": 59, "metavar": "N", "help": "studies of noise; default: 59, quick: 1"},
    )
    more = QUICK if options.quick else ()
    wanted = {DEMO: 1, NOISE: 1} if options.quick else {DEMO: options.seeds, NOISE: options.noise}
    identities = {market: load_study("demo", (*changes, *more)).identity for market, changes in MARKETS.items()}
    settings = json.loads(json.dumps(identities))
    rows = rows_kept(options.json, settings)
    done = {(row["market"], row["seed"]) for row in rows}
    tasks = [(market, FIRST_SEED + n) for market, count in wanted.items() for n in range(count)]
    tasks = [task for task in tasks if task not in done]
    machine = surroundings()
    with shared_ray():
        for n, (market, seed) in enumerate(tasks, start=1):
            with tempfile.TemporaryDirectory() as root:
                run, seconds = study_of(market, seed, more, Path(root))
                row = {"market": market, "seed": seed} | verdict_of(run) | {"seconds": seconds}
            rows.append(row)
            print(f"{n}/{len(tasks)} {market}, seed {seed}: {_described(row)}; {seconds:.0f} s", flush=True)
            write(options.json, "demo", machine=machine, settings=settings, claims=claims_of(rows), rows=rows)
    print(f"\n{table(COLUMNS, claims_of(rows))}")


if __name__ == "__main__":
    main()
