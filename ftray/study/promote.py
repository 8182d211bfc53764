"""Promotion: trains the chosen configuration again on fresh seeds, and then reads the test window, once.

Takes: a run folder. Gives: a `Promotion`. The only code that reads the test window.

    RUN/promoted/trial-0007/seed-3/   a trial's folder: its events, last checkpoint and policy
    events.jsonl                      promotion_refused; test_window_read for every read

A trial may lead a study because its seeds were lucky, so its own metrics prove nothing: fresh seeds are trained on the
same train windows and validated on the same validation windows. Their mean Sharpe ratio and their mean active one have
to exceed what luck explains for that many trials, or the test window is not read.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ftray.analysis.looks import earlier_reads, looks_elsewhere, restore_looks
from ftray.analysis.test_window import describe_reads, reads_of, record_read
from ftray.capacity.local_ray import check_ray
from ftray.errors import RefusedError, RunFolderError, SpecError
from ftray.features.dataset import open_test_window
from ftray.market import load_market
from ftray.metrics import EQUAL_WEIGHT, VALIDATION, measure_of
from ftray.nets import Policy
from ftray.plugins import check_loaded
from ftray.runs import RunFolder, TrialFolder, TrialRecord
from ftray.runs.location import DRIVER
from ftray.runs.refused import without_new_data
from ftray.say import Say
from ftray.spec import LEAST_SEEDS, parse, parse_member
from ftray.storage import Location
from ftray.study.promotion.candidate import Ask, Candidate, announce, check_worth, chosen, fresh_seeds
from ftray.study.promotion.draws import draws_of
from ftray.study.promotion.gate import Gate, Metrics, describe_seeds
from ftray.study.promotion.outcome import Measures, Promotion
from ftray.study.promotion.training import is_trained, train_in_turn
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.attempt import TrialFn
from ftray.trial.judge import judge_bars
from ftray.trial.run import run_trial
from ftray.trial.windows import record_bars

ReadTestWindow = Callable[
    [RunFolder, Mapping[int, TrialSpec], Mapping[int, Path]], tuple[tuple[Measures, ...], dict[str, Measures]]
]


def read_test_window(
    run: RunFolder, specs: Mapping[int, TrialSpec], folders: Mapping[int, Path]
) -> tuple[tuple[Measures, ...], dict[str, Measures]]:
    """Every seed's policy on the test window, and the benchmarks there. Nothing else may read it."""
    measures: list[Measures] = []
    benchmarks: dict[str, Measures] = {}
    for seed, spec in specs.items():
        _, dataset = prepare_dataset(spec, run.path, spec.n_folds - 1)
        opened, window = open_test_window(dataset)
        backtests = judge_bars(Policy.load(folders[seed] / "policy"), spec, opened, window)
        even = backtests[EQUAL_WEIGHT]
        measures.append(backtests.pop("policy").performance(even))
        benchmarks = {name: found.performance(even) for name, found in backtests.items()}
    return tuple(measures), benchmarks


def promote(
    location: Location,
    trial: str | None = None,
    *,
    n_seeds: int = 5,
    force: bool = False,
    ask: Ask = lambda question: None,
    say: Say = print,
    show: Say = lambda line: None,
    read: ReadTestWindow = read_test_window,
    trial_fn: TrialFn = run_trial,
) -> Promotion:
    """Trains the best trial of a run, or a named one, on fresh seeds, then reads the test window.

    After a kill or a stop, the same call continues from its checkpoints; it does not train a seed twice. The caller has
    loaded the study's plug-ins (`ftray.load_plugins`): a module is not imported because a run folder names it.

    n_seeds: fresh seeds, at least 3. ask: whether to train them where the search's own ratios fail at the gate.
    say, show: print a line; the status line, in place of the last one.
    read: what reads the test window; it is called once, after every objection. trial_fn: what a training does.

    Raises: RefusedError, with the measures, if the test window was read before, the trial hardly trades, nobody agreed
        to train what will hardly pass, or luck explains what the fresh seeds show on the validation windows, which may
        be certain before all are trained; `force` reads it anyway, and is recorded. PluginError.
    """
    _check_seeds(n_seeds)
    run = _opened(location)
    record = chosen(run, trial)
    with run.driven(say):
        with without_new_data(run):
            candidate = _prepared(run, record, n_seeds, say)
            earlier = _earlier_reads(run, force)
            announce(candidate, say)
            if not force:
                check_worth(candidate, ask)
            if not all(map(is_trained, candidate.folders.values())):
                check_ray()
        found = _trained(candidate, force, say, show, trial_fn)
        shut = _shut(candidate, found, force)
        return _read(candidate, found, (*earlier, *shut), read)


def _prepared(run: RunFolder, record: TrialRecord, n_seeds: int, say: Say) -> Candidate:
    """What is promoted, once it is recorded which bars its study judges on, and who else saw them."""
    spec = parse(TrialSpec, record.spec, path=("trial",))
    _check_market(run, spec)
    record_bars(spec, run)
    restore_looks(run, say)
    return Candidate(run, record, spec, fresh_seeds(run.records(), n_seeds), draws_of(run, looks_elsewhere(run).n))


def _read(candidate: Candidate, seeds: Sequence[Metrics], forced: tuple[str, ...], read: ReadTestWindow) -> Promotion:
    """Reads the test window, and records it before anything of it is shown."""
    gate, validation = candidate.gate(seeds), tuple(_measures(one) for one in seeds)
    test, benchmarks = read(candidate.run, candidate.specs, candidate.folders)
    facts = {"forced": forced, **gate.facts(), "validation": validation, "benchmarks": benchmarks}
    record_read(candidate.run, candidate.record.id, candidate.seeds, test, **facts)
    return Promotion(candidate.record.id, candidate.seeds, gate, validation, test, benchmarks, forced)


def _check_seeds(n_seeds: int) -> None:
    if parse_member(int, n_seeds, path=("n_seeds",)) < LEAST_SEEDS:
        raise SpecError(
            f"a promotion trains at least {LEAST_SEEDS} fresh seeds, got {n_seeds}: the mean of fewer is again one "
            "lucky or unlucky seed, and has no error worth the name"
        )


def _opened(location: Location) -> RunFolder:
    run = RunFolder.open(location, DRIVER)
    check_loaded(run.study.get("plugins", {}), run.where)
    run.fetch()
    return run


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


def _earlier_reads(run: RunFolder, force: bool) -> list[str]:
    """The objections that the test window was read before, by this study or by another one on bars that the two share.

    Raises: RefusedError without `force`.
    """
    own, others = reads_of(run.events()), earlier_reads(run)
    objections = []
    if own:
        objections.append(f"the test window was read {_times(len(own))} before")
    if others:
        objections.append(f"other studies read bars of the test window {_times(len(others))} before")
    if objections and not force:
        lines = [*describe_reads(run.events()), *(f"read elsewhere: {look}" for look in others)]
        raise RefusedError("\n".join((f"{'; '.join(objections)}; --force reads it again, and is recorded", *lines)))
    return objections


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _trained(candidate: Candidate, force: bool, say: Say, show: Say, trial_fn: TrialFn) -> tuple[Metrics, ...]:
    """The metrics of all fresh seeds, trained now or earlier. Raises: RefusedError, recorded, as soon as those that are
    left cannot open the gate, without `force`; those that are trained stay."""
    folders, found = candidate.folders, []
    turns = train_in_turn(candidate.run, candidate.specs, folders, candidate.seconds, say, show, trial_fn)
    with contextlib.closing(turns):
        for seed in turns:
            found.append(TrialFolder(folders[seed]).last_metrics())
            reason = None if force else candidate.hopeless(found)
            if reason is not None:
                _refuse(candidate, found, candidate.gate(found), f"no seed that is left can open the gate: {reason}")
    return tuple(found)


def _shut(candidate: Candidate, seeds: Sequence[Metrics], force: bool) -> list[str]:
    """The objection that luck may explain what the fresh seeds show; none if the gate is open.

    Raises: RefusedError without `force`, recorded.
    """
    gate = candidate.gate(seeds)
    if gate.is_open:
        return []
    if not force:
        _refuse(candidate, seeds, gate, "luck may explain what the fresh seeds show on the validation windows")
    return [f"on the validation windows the fresh seeds have {'; '.join(gate.shut_by.values())}"]


def _refuse(candidate: Candidate, seeds: Sequence[Metrics], gate: Gate, why: str) -> None:
    trained = candidate.seeds[: len(seeds)]
    candidate.run.append_event("promotion_refused", trial=candidate.record.id, seeds=trained, why=why, **gate.facts())
    lines = [*describe_seeds(seeds), *gate.lines()]
    raise RefusedError(
        f"the test window was not read: {why}\n"
        + "".join(f"  {line}\n" for line in lines)
        + "Search on, or give the study longer validation windows; --force reads it anyway, and is recorded"
    )


def _measures(metrics: Metrics) -> Measures:
    return {measure_of(name): value for name, value in metrics.items() if name.startswith(VALIDATION)}
