"""What a promoted trial was chosen from: how many independent trials its study is worth, and how far seeds are apart.

Takes: a run folder. Gives: `Draws`. It backtests policies on their validation windows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ftray import stats
from ftray.analysis.luck import RATIOS, looks_taken, scored_trials
from ftray.metrics import ACTIVE_SHARPE, EQUAL_WEIGHT, SHARPE
from ftray.nets import Policy
from ftray.runs import RunFolder, TrialRecord
from ftray.search.objectives import is_number
from ftray.spec import parse
from ftray.study.promotion.gate import LEAST_FREEDOM, Draws, Spread
from ftray.trading import Backtest
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.judge import judge

MAX_COMPARED = 24
"""Policies that are backtested again to see how alike the trials are."""


def draws_of(run: RunFolder, n_elsewhere: float = 0) -> Draws:
    """What the best trial of a run was chosen from. n_elsewhere: looks of other studies at the same bars.

    Where trials select among their evaluations, so do fresh seeds of them: on the same bars, as often.
    """
    records = run.records()
    scored = scored_trials(records)
    looks = looks_taken(scored)
    effective = effective_numbers(run, scored, looks + n_elsewhere)
    spread = {ratio: spread_of_seeds(records, ratio) for ratio in RATIOS}
    return Draws(len(scored), n_elsewhere, effective, spread, looks)


def effective_numbers(run: RunFolder, trials: Sequence[TrialRecord], n_looks: float) -> dict[str, float]:
    """By ratio, how many independent ones `n_looks` are worth, by the correlation of these trials' policies on the
    validation windows: that of their returns for the Sharpe ratio, and of their active returns for the active one.

    All policies that hold assets move with the market, so returns are more alike than active returns. The policies that
    are backtested are picked evenly from the best to the worst; those on other bars than most are left out. Trials
    without a policy count like those that have one, and evaluations of one training, which resemble each other more
    than policies of two trials do, like trials.
    """
    known = [one for one in trials if one.state == "COMPLETE" and (_policy_of(run, one) / "policy.json").exists()]
    ranked = sorted(known, key=_rank)
    picked = np.unique(np.linspace(0, len(ranked) - 1, min(MAX_COMPARED, len(ranked))).astype(int))
    backtests = [_backtests(run, ranked[i]) for i in picked]
    bars = Counter(one["policy"].times.tobytes() for one in backtests).most_common(1)
    alike = [one for one in backtests if one["policy"].times.tobytes() == bars[0][0]]
    returns = {SHARPE: [one["policy"].returns for one in alike], ACTIVE_SHARPE: [_active(one) for one in alike]}
    return {ratio: _worth(of, n_looks) for ratio, of in returns.items()}


def spread_of_seeds(records: Iterable[TrialRecord], ratio: str) -> Spread:
    """How far trainings of one configuration are apart, pooled over the complete trials of a study.

    Where trials have one seed, or too few have more: how far the trials are apart, in which their configurations
    differ too, so that it is rather too wide than too narrow.
    """
    trials = [_by_seed(record, ratio) for record in records if record.number is not None and record.state == "COMPLETE"]
    within = sum((Spread.of(values) for values in trials), Spread())
    if within.freedom >= LEAST_FREEDOM:
        return within
    return Spread.of([value for values in trials for value in values])


def _by_seed(record: TrialRecord, ratio: str) -> list[float]:
    """A trial's ratio by seed, each a mean over the folds."""
    by_seed: defaultdict[int, list[Any]] = defaultdict(list)
    for training in record.metrics.get("runs") or ():
        by_seed[training["seed"]].append(training.get(ratio))
    return [fmean(values) for values in by_seed.values() if all(map(is_number, values))]


def _rank(trial: TrialRecord) -> float:
    value = trial.metrics[SHARPE]
    return value if is_number(value) else float("-inf")


def _worth(returns: Sequence[np.ndarray], n_looks: float) -> float:
    """ρ + (1 − ρ) N, ρ the mean correlation of the returns; N where fewer than two are known."""
    n = len(returns)
    if n < 2:
        return float(max(1, n_looks))
    correlation = (n - stats.effective_trials(np.array(returns))) / (n - 1)
    return correlation + (1.0 - correlation) * max(1, n_looks)


def _active(backtests: Mapping[str, Backtest]) -> np.ndarray:
    policy, even = backtests["policy"], backtests[EQUAL_WEIGHT]
    exposures = even.weights.sum(axis=1), policy.weights.sum(axis=1)
    return policy.returns - stats.exposure_matched(even.returns, *exposures)


def _policy_of(run: RunFolder, trial: TrialRecord) -> Path:
    return run.trial_folder(trial.id).folder / "policy"


def _backtests(run: RunFolder, trial: TrialRecord) -> dict[str, Backtest]:
    policy, spec = Policy.load(_policy_of(run, trial)), parse(TrialSpec, trial.spec, path=("trial",))
    return judge(policy, spec, prepare_dataset(spec, run.path, policy.facts["fold"])[1])
