"""Trials that only report, wait and misbehave as scripted: the study's machinery around them is real.

What a trial plays is sampled like any other value: it is the length of its episodes.
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftray.errors import OutOfMemoryError
from ftray.runs import TrialFolder
from ftray.study import StudySpec, parse_study
from ftray.trial import TrialSpec
from ftray.trial.attempt import Report
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.vram.probe import GpuFacts

from .tiny import TINY

STEPS = 4
"""Reports of a whole trial, each with a checkpoint."""
PACE = 0.1
"""Seconds per report, where nothing else is asked for."""
LONG = 600
"""Seconds that a trial waits that waits to be killed."""
PLAYS = (
    "ends well", "is bad", "raises", "reports NaN", "reports no metric", "needs a smaller plan", "fits in no plan",
    "dies once", "dies always", "waits", "raises once",
)  # fmt: skip
PART = "trial/trading/episode_bars"
"""The search parameter that says what a trial plays."""
FIRST = 1_001
"""Its least value that does; below, as in every study that was not made for a play, a trial ends well."""
PER_REPORT = TINY["trial"]["ppo"]["env_steps"] // STEPS


def study_of(name: str, plays: list[str], trial: Mapping[str, Any] | None = None, **search: Any) -> StudySpec:
    """A study whose trials play these parts, in this order. trial: what they would train, if they did."""
    pretended = trial or {"encoder": TINY["trial"]["encoder"]["choice"][0]}
    trial = TINY["trial"] | {"ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3}}
    trial |= {**pretended, "trading": {"episode_bars": {"int": [FIRST, 10_000]}}}
    points = [{PART: FIRST + len(PLAYS) * turn + PLAYS.index(play)} for turn, play in enumerate(plays)]
    search = {"n_trials": len(plays), "points": points, "max_concurrent": 2, "retry_after": 1} | search
    return parse_study({"name": name, "trial": trial, "search": search})


def fine() -> GpuFacts:
    """In place of a GPU probe, where Ray is given one that does not exist."""
    return GpuFacts("2.13.0+cu130", "13.0", "580.65.06", "a GPU that is not there", 1000.0)


def play_of(values: Any) -> str:
    return _part(values[PART])


def play(
    spec: TrialSpec,
    report: Report,
    *,
    folder: Path,
    resume: Path | None,
    memory_plan: MemoryPlan,
    pace: float = PACE,
    **elsewhere: Any,
) -> None:
    """Reports and checkpoints step by step, from the last checkpoint on, and does in the middle what its script has.

    pace: seconds per report.
    """
    part, own = _part(spec.trading.episode_bars), TrialFolder(folder)
    done = json.loads((resume / "step.json").read_text()) if resume else 0
    for step in range(min(done + 1, STEPS), STEPS + 1):  # the last row again: it may not have been received
        time.sleep(pace)
        if part == "dies always" and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        row: dict[str, Any] = {
            "iteration": step,
            "env_steps": step * PER_REPORT,
            "runs_done": spec.n_trainings * (step == STEPS),
        }
        if part != "reports no metric":
            row["validation/sharpe"] = {"is bad": -1.0, "reports NaN": float("nan")}.get(part, 1.0)
            row |= {"validation/max_drawdown": 0.1, "validation/round_trips": 100.0}
        with own.new_checkpoint(env_steps=row["env_steps"]) as empty:
            (empty / "step.json").write_text(json.dumps(step))
        report(row, checkpoint=own.checkpoint)
        if step >= 2:
            _misbehave(part, resume, memory_plan, own)


def _part(episode_bars: int) -> str:
    return PLAYS[max(0, episode_bars - FIRST) % len(PLAYS)]


def _misbehave(part: str, resume: Path | None, memory_plan: MemoryPlan, folder: TrialFolder) -> None:
    if part == "raises" or (part == "raises once" and not any(e["event"] == "failed" for e in folder.events())):
        raise ValueError("as scripted")
    if part == "fits in no plan" or (part == "needs a smaller plan" and memory_plan == FULL):
        raise OutOfMemoryError("too many samples at once")
    if part == "dies once" and resume is None:
        os.kill(os.getpid(), signal.SIGKILL)
    if part == "waits" and resume is None:
        time.sleep(LONG)
