"""`draft_study`: a study file for a folder of candles, as large as the candles and this machine allow.

Takes: a folder of candles, hours. Gives: a `Draft`: the file's text, and what it was made from. Touches no Ray.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ftray.capacity.nodes import Node, this_machine
from ftray.errors import DataError, SpecError
from ftray.features import FeatureSpec
from ftray.market import Survey, survey_candles
from ftray.storage import Location, is_url
from ftray.study.draft_text import Plan, study_text
from ftray.study.estimate import estimate
from ftray.study.fitting import LOOKBACKS, Fit, fits
from ftray.study.pace import Paces
from ftray.study.spec import StudySpec, parse_study
from ftray.study.speed import Clock, seconds_per_sample
from ftray.yaml_reader import read_yaml

HOURS = 8.0
"""Of a study by default: a night."""

PLANNED = 0.8
"""The share of the hours that is planned with; the rest is for what an estimate misses."""

ENOUGH_TRIALS, MOST_TRIALS, LEAST_TRIALS = 20, 60, 4
"""Enough trials to compare the encoders; the most, as each one raises the luck line; one of each kind of encoder."""

BATCH, LEAST_STEPS, MOST_STEPS = 2_048, 8_192, 400_000
"""Env steps of an iteration, and of a training."""


class Ambition(NamedTuple):
    """How much a study does. passes: over the longest train window. wide: whether it searches the encoder's shape."""

    n_folds: int
    passes: int
    wide: bool


AMBITIONS = (
    Ambition(4, 4, True),
    Ambition(4, 2, True),
    Ambition(4, 1, True),
    Ambition(2, 1, True),
    Ambition(1, 2, True),
    Ambition(1, 1, True),
    Ambition(1, 1, False),
)
"""The largest first. A draft is the first of them that leaves time for enough trials."""


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """A study file that is not written yet, and what it was made from."""

    text: str
    plan: Plan
    study: StudySpec


def draft_study(
    path: Location,
    file: Path,
    *,
    name: str | None = None,
    interval: str | None = None,
    symbols: Sequence[str] | None = None,
    hours: float = HOURS,
    runs: Location = "runs",
    machine: Node | None = None,
    clock: Clock = seconds_per_sample,
) -> Draft:
    """A study file for the candles in a folder, or at a URL of object storage.

    file: where it will be written. name: the study's; by default the file's.
    interval, symbols: which candles to take; see `survey_candles`.
    hours: that the study may take on this machine; at most that many are in its budget.
    runs: a folder of run folders; the speed of trials of the same shapes there is used for the estimate.
    machine, clock: what it will run on, and how a learner's step is timed there.

    Raises: DataError with the reason per file for candles that cannot work; SpecError for options that cannot.
    """
    if not 0 < hours < math.inf:
        raise SpecError(f"must be a finite number above 0, got {hours:g}", ("hours",))
    path = path if is_url(path) else Path(path).expanduser().absolute()
    survey = survey_candles(path, FeatureSpec().warm_up + LOOKBACKS[0], interval, symbols)
    choices, machine = _choices(survey), machine or this_machine()
    plans = [_plan(survey, fit, machine, hours, ambition) for ambition, fit in choices]
    plan = _largest(plans, file, Paces(runs), functools.cache(clock))
    text = study_text(plan, str(file), name)
    return Draft(text, plan, _parsed(text, file))


def _choices(survey: Survey) -> list[tuple[Ambition, Fit]]:
    """What may be done with the candles, the greatest first. Raises: DataError for too few, with the bars per file."""
    try:
        by_folds = {fit.n_folds: fit for fit in fits(survey.segments)}
    except DataError as error:
        files = "".join(
            f"\n  {file.name.path.name}: {len(file.times):,} bars, {file.span}, {file.n_gaps} gaps, costs the others "
            f"{survey.costs[file.name.symbol]:,} usable bars"
            for file in survey.files
        )
        raise DataError(f"{survey.path}: {error}{files}") from None
    return [(one, by_folds[one.n_folds]) for one in AMBITIONS if one.n_folds in by_folds]


def _largest(plans: Sequence[Plan], file: Path, paces: Paces, clock: Clock) -> Plan:
    """The first plan with time for enough trials, else the last, with its trials counted."""
    counted: list[Plan] = []
    for plan in plans:
        study = _parsed(study_text(plan, str(file), None), file)
        costs = estimate(study, len(plan.survey.times), plan.machine, paces, clock)
        n_trials = costs.n_trials(PLANNED * plan.hours, MOST_TRIALS)
        counted.append(dataclasses.replace(plan, n_trials=max(n_trials, LEAST_TRIALS), estimate=costs))
        if n_trials >= ENOUGH_TRIALS:
            break
    return counted[-1]


def study_name(path: Location) -> str:
    """The name of a study by the name of its folder of candles.

    >>> study_name("data/binance_1h/"), study_name("s3://bucket/my candles")
    ('binance_1h', 'my_candles')
    """
    last = (
        str(path).rstrip("/").rpartition("/")[2] if is_url(path) else Path(path).expanduser().absolute().resolve().name
    )
    return re.sub(r"[^\w.-]+", "_", last).strip("._-") or "study"


def _plan(survey: Survey, fit: Fit, machine: Node, hours: float, ambition: Ambition) -> Plan:
    steps = min(max(ambition.passes * max(fit.n_train), LEAST_STEPS), MOST_STEPS)
    return Plan(survey, fit, machine, hours, env_steps=-(-steps // BATCH) * BATCH, wide=ambition.wide)


def _parsed(text: str, file: Path) -> StudySpec:
    return parse_study(read_yaml(text), default_name=file.stem)
