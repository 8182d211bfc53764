"""Which trials of a study are best: the one ranking that every table, board and command uses.

Takes: trial records, and the objectives and constraints of their study. Gives: the ranked trials, the best one, and the
front of those that no other dominates.
"""

import math
import operator
from collections.abc import Iterable, Sequence

from ftray.metrics import ROUND_TRIPS
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, hardly_trades, is_feasible

Gains = tuple[float, ...]


def rank_trials(
    records: Iterable[TrialRecord], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[TrialRecord]:
    """The finished, feasible trials whose objectives are all known, best first.

    The first objective decides; ties go to the next one, and at last to the trial that was added first. Jobs without a
    number only serve the trials and are never ranked.
    """
    return [record for _, record in _ranked(records, objectives, constraints)]


def best_trial(
    records: Iterable[TrialRecord], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> TrialRecord | None:
    """The first of `rank_trials`; None if no trial has a rank."""
    return next(iter(rank_trials(records, objectives, constraints)), None)


def pareto_front(
    records: Iterable[TrialRecord], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[TrialRecord]:
    """The ranked trials that no other dominates: none is at least as good in every objective and better in one.

    Best first. Of a study with one objective, the best trial and its equals.
    """
    kept: list[tuple[Gains, TrialRecord]] = []
    for gains, record in _ranked(records, objectives, constraints):  # whatever dominates a trial is ranked before it
        if not any(better != gains and all(map(operator.ge, better, gains)) for better, _ in kept):
            kept.append((gains, record))
    return [record for _, record in kept]


def hardly_trading(records: Iterable[TrialRecord], constraints: Sequence[Constraint]) -> list[TrialRecord]:
    """The finished trials that make too few round trips to be ranked."""
    finished = (record for record in records if record.state == "COMPLETE" and record.number is not None)
    return [record for record in finished if hardly_trades(record.metrics, constraints)]


def describe_hardly_trading(records: Sequence[TrialRecord], constraints: Sequence[Constraint]) -> list[str]:
    """How many trials hardly trade, and what to do about it: a line, or none."""
    idle = hardly_trading(records, constraints)
    if not idle:
        return []
    finished = sum(record.state == "COMPLETE" and record.number is not None for record in records)
    shown = ", ".join(record.id for record in idle[:3]) + (", ..." if len(idle) > 3 else "")
    bound = next(one.bound for one in constraints if one.metric == ROUND_TRIPS)
    return [
        f"{len(idle)} of {finished} finished trials ({shown}) hardly trade: fewer than {bound:g} round trips on the "
        "validation windows. They have no rank; longer training (trial.ppo.env_steps) or a lower "
        "search.min_round_trips changes that"
    ]


def _ranked(
    records: Iterable[TrialRecord], objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> list[tuple[Gains, TrialRecord]]:
    known = []
    for record in records:
        if record.state == "COMPLETE" and record.number is not None and is_feasible(record.metrics, constraints):
            gains = tuple(objective.gain(record.metrics) for objective in objectives)
            if not any(map(math.isnan, gains)):
                known.append((gains, record))
    return sorted(known, key=lambda pair: pair[0], reverse=True)  # `reverse` keeps the order of equals
