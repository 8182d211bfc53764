"""Searched studies and fresh seeds that only report: the promotion around them is real."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftray.metrics import ACTIVE_SHARPE, ROUND_TRIPS, SHARPE
from ftray.runs import RunFolder, TrialFolder
from ftray.spec import parse, to_mapping
from ftray.trial import TrialSpec
from tests.simulations.promotions import metrics_of

from .tiny import TINY

SPEC = {name: TINY["trial"][name] for name in ("market", "windows", "features", "trading", "ppo")}
SPEC |= {"encoder": TINY["trial"]["encoder"]["choice"][0], "ppo": SPEC["ppo"] | {"learning_rate": 1e-3}}

Metrics = dict[str, Any]


def ratios(plain: float, active: float | None = None, round_trips: float = 100.0) -> Metrics:
    """What a trial or a seed reports. active: the same as `plain` by default."""
    return metrics_of(plain, plain if active is None else active) | {ROUND_TRIPS: round_trips}


def searched(path: Path, trials: Sequence[Metrics], **search: Any) -> RunFolder:
    """A study of complete trials that reported this, each with one seed."""
    objectives = [{"metric": SHARPE, "direction": "maximize"}]
    run = RunFolder.create(
        path, {"name": path.name, "search": {"objectives": objectives, "min_round_trips": 10} | search}
    )
    for number, metrics in enumerate(trials):
        trial = f"trial-{number:04d}"
        own = {"fold": 0, "seed": 0, **{ratio: metrics[ratio] for ratio in (SHARPE, ACTIVE_SHARPE)}}
        run.add_trial(trial, number, "trial", {}, to_mapping(parsed()))
        run.trial_started(trial)
        run.trial_ended(trial, "COMPLETE", {**metrics, "runs": [own]})
    return run


def parsed() -> TrialSpec:

    return parse(TrialSpec, SPEC)


def trained(run: RunFolder, trial: str, seeds: Mapping[int, Metrics]) -> None:
    """Fresh seeds of a trial that were trained earlier."""
    for seed, metrics in seeds.items():
        folder = TrialFolder(run.path / "promoted" / trial / f"seed-{seed}")
        folder.started()
        folder.report({"env_steps": parsed().env_steps, **metrics})
        folder.finished()
