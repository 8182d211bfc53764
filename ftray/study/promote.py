"""Promotion: trains the chosen configuration again on fresh seeds, and then reads the test window, once.

Takes: a run folder. Gives: a `Promotion`, and lines that describe it. The only code that reads the test window.

    RUN/promoted/trial-0007/seed-3/   a trial's folder: its events, last checkpoint and policy
    events.jsonl                      promotion_refused; test_window_read for every read

A trial may lead a study because its seeds were lucky, so its own metrics prove nothing: fresh seeds are trained on the
same train windows and validated on the same validation windows. Their Sharpe ratio has to exceed what luck explains
for that many trials, or the test window is not read.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from ftray import stats
from ftray.analysis.luck import Luck, luck_of, scored_trials
from ftray.analysis.ranking import best_trial
from ftray.analysis.test_window import describe_reads, reads_of, record_read
from ftray.boards.terminal import align
from ftray.capacity.local_ray import local_ray
from ftray.errors import NoResultError, RefusedError, RunFolderError, SpecError
from ftray.market import load_market
from ftray.metrics import SHARPE, VALIDATION, format_metric, measure_of
from ftray.nets import Policy
from ftray.plugins import check_loaded
from ftray.runs import RunFolder, TrialFolder, TrialRecord
from ftray.runs.events import Event
from ftray.runs.location import DRIVER
from ftray.runs.records import JobKind
from ftray.say import Say
from ftray.search.objectives import constraints_of, objectives_of
from ftray.spec import parse
from ftray.storage import Location
from ftray.trading import Backtest
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.judge import judge, judge_bars
from ftray.trial.standalone import train_trial

MAX_COMPARED = 24
"""Policies that are backtested again to see how alike the trials are."""

Measures = dict[str, float]
ReadTestWindow = Callable[
    [RunFolder, Mapping[int, TrialSpec], Mapping[int, Path]], tuple[tuple[Measures, ...], dict[str, Measures]]
]


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What a promotion found. The measures are those of `stats.performance`.

    validation, test: by seed; on the validation windows, means over the folds; on the test window, the policy of the
        last fold, whose training ends last.
    benchmarks: on the test window, by name. forced: the objections that `force` overruled.
    """

    trial: str
    seeds: tuple[int, ...]
    luck: Luck
    validation: tuple[Measures, ...]
    test: tuple[Measures, ...]
    benchmarks: Mapping[str, Measures]
    forced: tuple[str, ...]


def read_test_window(
    run: RunFolder, specs: Mapping[int, TrialSpec], folders: Mapping[int, Path]
) -> tuple[tuple[Measures, ...], dict[str, Measures]]:
    """Every seed's policy on the test window, and the benchmarks there. Nothing else may read it."""
    measures: list[Measures] = []
    benchmarks: dict[str, Measures] = {}
    for seed, spec in specs.items():
        _, dataset = prepare_dataset(spec, run.path, spec.n_folds - 1)
        backtests = judge_bars(Policy.load(folders[seed] / "policy"), spec, dataset, dataset.windows.test)
        measures.append(backtests.pop("policy").performance())
        benchmarks = {name: found.performance() for name, found in backtests.items()}
    return tuple(measures), benchmarks


def promote(
    location: Location,
    trial: str | None = None,
    *,
    n_seeds: int = 5,
    force: bool = False,
    say: Say = print,
    read: ReadTestWindow = read_test_window,
) -> Promotion:
    """Trains the best trial of a run, or a named one, on fresh seeds, then reads the test window.

    After a kill or a stop, the same call continues from its checkpoints; it does not train a seed twice. The caller has
    loaded the study's plug-ins (`ftray.load_plugins`): a module is not imported because a run folder names it.

    read: what reads the test window; it is called once, after every objection.

    Raises: RefusedError, with the measures, if the test window was read before, or luck explains what the fresh seeds
        show on the validation windows; `force` reads it anyway, and is recorded. PluginError.
    """
    if n_seeds < 1:
        raise SpecError(f"a promotion trains at least 1 fresh seed, got {n_seeds}")
    run = _opened(location)
    with run.driven(say):
        record = chosen(run, trial)
        spec = parse(TrialSpec, record.spec, path=("trial",))
        _check_market(run, spec)
        earlier = _earlier_reads(run.events(), force)
        seeds = fresh_seeds(run.records(), n_seeds)
        specs = {seed: dataclasses.replace(spec, seed=seed, seeds=1) for seed in seeds}
        folders = {seed: run.path / "promoted" / record.id / f"seed-{seed}" for seed in seeds}
        say(f"{record.id} on fresh seeds {', '.join(map(str, seeds))}, in {run.path / 'promoted' / record.id}")
        _train(run, specs, folders, say)
        validation = tuple(_validation(folders[seed]) for seed in seeds)
        luck = _luck(run, record, validation)
        unlucky = None if luck.clears else _not_above_luck(run, record, seeds, validation, luck, force)
        forced = tuple(filter(None, (earlier, unlucky)))
        test, benchmarks = read(run, specs, folders)
        facts = {"forced": forced, "luck": dataclasses.asdict(luck), "validation": validation, "benchmarks": benchmarks}
        record_read(run, record.id, seeds, test, **facts)
    return Promotion(record.id, seeds, luck, validation, test, benchmarks, forced)


def _opened(location: Location) -> RunFolder:
    run = RunFolder.open(location, DRIVER)
    check_loaded(run.study.get("plugins", {}), run.where)
    run.fetch()
    return run


def chosen(run: RunFolder, trial: str | None) -> TrialRecord:
    """The trial of that name, or the best that is complete and feasible by the study's objectives.

    Raises: QueryError for an unknown name; NoResultError for a trial that is not complete, or if there is none.
    """
    if trial is not None:
        record = run.record(trial)
        if record.kind != JobKind.TRIAL or record.state != "COMPLETE":
            raise NoResultError(f"a promotion needs a complete trial, and {trial} is a {record.kind}, {record.state}")
        return record
    best = best_trial(run.records(), objectives_of(run.study), constraints_of(run.study))
    if best is None or best.kind != JobKind.TRIAL:
        raise NoResultError(
            f"a promotion needs a complete, feasible trial, and {run.path} has none; see: ftray results {run.path}"
        )
    return best


def fresh_seeds(records: Iterable[TrialRecord], n: int) -> tuple[int, ...]:
    """The first `n` seeds beyond every one that the study trained with."""
    used = [record.spec["seed"] + record.spec["seeds"] for record in records if record.number is not None]
    first = max(used, default=0)
    return tuple(range(first, first + n))


def _check_market(run: RunFolder, spec: TrialSpec) -> None:
    """Refuses candles that changed since the study, and windows that leave nothing to test on."""
    known, found = run.study.get("candles"), load_market(spec.market).fingerprint[:16]
    if known not in (None, found):
        raise RunFolderError(
            f"{run.path} was searched on candles {known}, and its market has {found} now: the test window would be "
            "a different one. Restore the candles, or run the study again under another name"
        )
    if not len(prepare_dataset(spec, run.path)[1].windows.test):
        raise RunFolderError(f"{run.path} has no test window to read: its study has trial.windows.test 0")


def _earlier_reads(events: Sequence[Event], force: bool) -> str | None:
    """The objection that the test window was read before; None if it was not. Raises: RefusedError without `force`."""
    n = len(reads_of(events))
    earlier = f"the test window was read {'once' if n == 1 else f'{n} times'} before"
    if n and not force:
        reads = describe_reads(events)
        raise RefusedError("\n".join((*reads, f"{earlier}; --force reads it again, and is recorded")))
    return earlier if n else None


def _not_above_luck(
    run: RunFolder, record: TrialRecord, seeds: Sequence[int], validation: Sequence[Measures], luck: Luck, force: bool
) -> str:
    """The objection that luck may explain what the fresh seeds show. Raises: RefusedError without `force`, recorded."""
    if not force:
        run.append_event("promotion_refused", trial=record.id, seeds=seeds, luck=dataclasses.asdict(luck))
        raise RefusedError(
            "the test window was not read: luck may explain what the fresh seeds show on the validation windows\n"
            f"  {_spread(validation)}\n  {luck}\n"
            "Search on, or give the study longer validation windows; --force reads it anyway, and is recorded"
        )
    return (
        f"validation Sharpe ratio {luck.value:.2f} of the fresh seeds, luck line {luck.luck_line:.2f}, "
        f"deflated Sharpe ratio {luck.deflated:.0%}"
    )


def _train(run: RunFolder, specs: Mapping[int, TrialSpec], folders: Mapping[int, Path], say: Say) -> None:
    """Trains the seeds that are not trained yet, one after the other."""
    left = [seed for seed in specs if not _is_trained(folders[seed])]
    if not left:
        return
    with local_ray(say):
        for seed in left:
            say(f"seed {seed}")
            train_trial(specs[seed], TrialFolder(folders[seed]), run)


def _is_trained(folder: Path) -> bool:
    last = TrialFolder(folder).last_event()
    return last is not None and last["event"] == "finished"


def _validation(folder: Path) -> Measures:
    row = TrialFolder(folder).last_metrics()
    return {measure_of(name): value for name, value in row.items() if name.startswith(VALIDATION)}


def _luck(run: RunFolder, record: TrialRecord, validation: Sequence[Measures]) -> Luck:
    names = ("sharpe", "skewness", "kurtosis", "n_bars", "years")
    means = {VALIDATION + name: fmean(one[name] for one in validation) for name in names}
    scored = scored_trials(run.records())
    luck = luck_of(means, record.spec["windows"], len(scored), effective_number(run, scored))
    if luck is None:
        raise NoResultError(f"{record.id} was validated on too few bars to tell skill from luck: {means}")
    return luck


def effective_number(run: RunFolder, trials: Sequence[TrialRecord]) -> float:
    """How many independent trials these are worth, by the correlation of their policies on the validation windows.

    The policies that are backtested are picked evenly from the best to the worst; those on other bars than most are
    left out. Trials without a policy count like those that have one.
    """
    known = [one for one in trials if one.state == "COMPLETE" and (_policy_of(run, one) / "policy.json").exists()]
    ranked = sorted(known, key=lambda one: one.metrics[SHARPE])
    picked = np.unique(np.linspace(0, len(ranked) - 1, min(MAX_COMPARED, len(ranked))).astype(int))
    backtests = [_backtest(run, ranked[i]) for i in picked]
    bars = Counter(one.times.tobytes() for one in backtests).most_common(1)
    returns = [one.returns for one in backtests if one.times.tobytes() == bars[0][0]]
    n = len(returns)
    if n < 2:
        return float(max(1, len(trials)))
    alike = (n - stats.effective_trials(np.array(returns))) / (n - 1)  # their mean correlation
    return alike + (1.0 - alike) * len(trials)


def _policy_of(run: RunFolder, trial: TrialRecord) -> Path:
    return run.trial_folder(trial.id).folder / "policy"


def _backtest(run: RunFolder, trial: TrialRecord) -> Backtest:
    policy, spec = Policy.load(_policy_of(run, trial)), parse(TrialSpec, trial.spec, path=("trial",))
    return judge(policy, spec, prepare_dataset(spec, run.path, policy.facts["fold"])[1])["policy"]


def describe_promotion(promotion: Promotion) -> list[str]:
    """A promotion as lines: a table of the seeds and the benchmarks, the luck line, and what was overruled."""
    rows = [["seed", "validation Sharpe", "test Sharpe", "test return", "test max drawdown"]]
    for seed, validation, test in zip(promotion.seeds, promotion.validation, promotion.test, strict=True):
        rows.append([str(seed), f"{validation['sharpe']:.2f}", *_shown(test)])
    test_columns = [[one[name] for one in promotion.test] for name in ("sharpe", "total_return", "max_drawdown")]
    own = _mean_and_error([one["sharpe"] for one in promotion.validation], ".2f")
    shown = (_mean_and_error(column, how) for column, how in zip(test_columns, (".2f", ".1%", ".1%"), strict=True))
    rows.append(["mean ± standard error", own, *shown])
    rows += [[name, "", *_shown(measures)] for name, measures in promotion.benchmarks.items()]
    lines = [f"{promotion.trial}, trained again on {len(promotion.seeds)} fresh seeds", *align(rows)]
    lines += ["", str(promotion.luck)]
    return lines + [f"forced, despite: {reason}" for reason in promotion.forced]


def _shown(measures: Measures) -> list[str]:
    return [format_metric(VALIDATION + name, measures[name]) for name in ("sharpe", "total_return", "max_drawdown")]


def _spread(validation: Sequence[Measures]) -> str:
    sharpes = [one["sharpe"] for one in validation]
    each = ", ".join(f"{sharpe:.2f}" for sharpe in sharpes)
    return f"validation Sharpe ratios of the {len(sharpes)} fresh seeds: {each}; {_mean_and_error(sharpes, '.2f')}"


def _mean_and_error(values: Sequence[float], how: str) -> str:
    error = f"{stdev(values) / math.sqrt(len(values)):{how}}" if len(values) > 1 else "?"
    return f"{fmean(values):{how}} ± {error}"
