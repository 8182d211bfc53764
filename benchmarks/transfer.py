"""Does what pre-training learned pay, or would any weights do?

    python benchmarks/transfer.py --json FILE [--quick] [--draws 16] [--only MARKET ...]

On markets whose state is spread over the window (`skill.py`), the same PPO with alternatives and a no-trade zone trains
heads on four towers of one small FT-Transformer:

scratch: a random tower that is trained along. forecasts: the frozen tower of a pre-training job on the train windows,
which shows the policy its forecasts (`readout: forecasts`). [CLS]: of such a job, whose tower shows its pooled vector.
shuffled: the tower of `forecasts`, the entries of every tensor in random order: its scale without its content.

Each draw of a market has jobs and trainings of its own, one seed each. Figures are log growth per day on the validation
window after all steps; differences are paired over draws, with 95 % bootstrap intervals. A file that holds rows already
is continued.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skill
from informed import informed_growth
from measuring import table
from trainings import (
    Job,
    arguments,
    curve,
    in_processes,
    rows_kept,
    shuffled_tower,
    standardise_forecasts,
    surroundings,
    write,
)

from ftray.agent.vectors import write_market_vectors
from ftray.market import expected_returns
from ftray.nets import PRESETS
from ftray.pretraining import pretrain
from ftray.spec import to_mapping

MARKETS = ("momentum", "motif", "lead-lag")
SCRATCH, FORECASTS, CLS, SHUFFLED = "scratch", "forecasts", "[CLS]", "shuffled"
WAYS = (SCRATCH, FORECASTS, CLS, SHUFFLED)
DIFFERENCES = ((FORECASTS, SCRATCH), (FORECASTS, SHUFFLED), (FORECASTS, CLS), (CLS, SCRATCH), (SHUFFLED, SCRATCH))
FT = PRESETS["small"]
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Draw:
    market: str
    draw: int
    settings: skill.Settings


def measured(draw: Draw) -> dict[str, Any]:
    """One row: pre-training and all four trainings on one draw of a market."""
    import torch

    torch.set_num_threads(1)
    task = skill.Task(draw.market, draw.draw, 0, FORECASTS, draw.settings)
    dataset = skill.dataset_of(task.spec)
    ppo, _ = draw.settings.ways()["alternatives"]
    trading = skill.NARROW_ZONE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = dataset.save(folder / dataset.fingerprint)
        spec = draw.settings.pretraining
        encoders = {CLS: FT, FORECASTS: skill.FORECASTER}
        towers = {way: pretrain(encoder, spec, dataset, folder / way).path for way, encoder in encoders.items()}
        shuffled = shuffled_tower(towers[FORECASTS], folder / "shuffled.pth", draw.draw)
        towers[SHUFFLED], encoders[SHUFFLED] = standardise_forecasts(shuffled, dataset), skill.FORECASTER
        curves = {}
        for way in WAYS:
            weights, encoder, vectors = towers.get(way), FT, None
            if weights is not None:
                encoder = dataclasses.replace(encoders[way], pretrained=str(weights), frozen=True)
                (folder / f"vectors of {way}").mkdir()
                vectors = write_market_vectors(encoder, weights, dataset, folder / f"vectors of {way}")
            job = Job(
                draw.market, way, 0, data, encoder, trading, ppo, weights, vectors, look_every=draw.settings.every
            )
            curves[way] = [{key: row[key] for key in ("env_steps", "seconds", "growth")} for row in curve(job)]
    informed = informed_growth(dataset, expected_returns(task.spec), skill.RULES)
    growth = {way: rows[-1]["growth"] for way, rows in curves.items()}
    return {"market": draw.market, "draw": draw.draw, "informed": informed, "growth": growth, "curves": curves}


def differences_of(rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Per market, and over all of them: mean difference of growth per day, and its interval over draws."""
    found = []
    for market in (*dict.fromkeys(row["market"] for row in rows), "all"):
        own = [row["growth"] for row in rows if market in (row["market"], "all")]
        for one, other in DIFFERENCES:
            each = np.array([growth[one] - growth[other] for growth in own])
            drawn = np.random.default_rng(seed).integers(len(each), size=(RESAMPLES, len(each)))
            low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975])
            row = {"market": market, "difference": f"{one} - {other}", "draws": len(each), "mean": float(each.mean())}
            found.append(row | {"low": float(low), "high": float(high), "above_0": int((each > 0).sum())})
    return found


COLUMNS = {
    "market": lambda row: row["market"],
    "difference": lambda row: row["difference"],
    "growth/day, 1e-3": lambda row: "{:+.2f} [{:.2f}, {:.2f}]".format(*(1e3 * row[k] for k in ("mean", "low", "high"))),
    "draws above 0": lambda row: f"{row['above_0']} of {row['draws']}",
}


def main(given: list[str] | None = None) -> None:
    options = arguments(
        __doc__,
        given,
        draws={"type": int, "default": 16, "metavar": "N", "help": "draws of each market; default: 16, quick: 1"},
        steps={"type": int, "default": 40_000, "metavar": "N", "help": "env steps; default: 40,000, quick: 1,024"},
        only={"nargs": "+", "default": list(MARKETS), "choices": list(skill.MARKETS), "metavar": "MARKET"},
    )
    settings = skill.Settings(1_024, 2_000, 1) if options.quick else skill.Settings(options.steps)
    encoders = {"encoder": to_mapping(skill.FORECASTER), "pretraining": to_mapping(settings.pretraining)}
    recorded = json.loads(json.dumps(dataclasses.asdict(settings) | encoders))
    rows = rows_kept(options.json, recorded)
    done = {(row["market"], row["draw"]) for row in rows}
    draws = [
        Draw(market, skill.FIRST_DRAW + draw, settings)
        for draw in range(1 if options.quick else options.draws)
        for market in options.only
        if (market, skill.FIRST_DRAW + draw) not in done
    ]
    machine = surroundings()
    for n, row in enumerate(in_processes(measured, draws), start=1):
        rows.append(row)
        growth = ", ".join(f"{way} {1e3 * value:+.2f}" for way, value in row["growth"].items())
        print(f"{n}/{len(draws)} {row['market']}, draw {row['draw']}: {growth}, informed {1e3 * row['informed']:.2f}")
        differences = differences_of(rows)
        write(options.json, "transfer", machine=machine, settings=recorded, differences=differences, rows=rows)
    print(f"\n{table(COLUMNS, differences_of(rows))}")


if __name__ == "__main__":
    main()
