"""Backtests of a finished policy on one window, and of the benchmarks on it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ftray import stats
from ftray.agent.module import FTPolicy
from ftray.analysis.later import backtest_policy, candles_of, run_policy
from ftray.analysis.ranking import best_trial, describe_hardly_trading
from ftray.errors import NoResultError, SpecError, WeightsError
from ftray.features import Dataset, build_dataset, dataset_of
from ftray.features.history import History, check_interval, interval_of
from ftray.market import Pieces, market_symbols
from ftray.metrics import CANNOT_TRADE, EQUAL_WEIGHT
from ftray.nets import Policy, PolicyNetwork
from ftray.plugins import check_loaded
from ftray.runs import RunFolder
from ftray.runs.records import JobKind
from ftray.runs.version_0_1 import upgrade_trial
from ftray.search.objectives import constraints_of, objectives_of
from ftray.spec import parse, to_mapping
from ftray.storage import Location, is_url
from ftray.trading import Backtest, benchmarks, cannot_trade
from ftray.trial.bars import save_benchmarks
from ftray.trial.preparation import prepare_dataset
from ftray.trial.progress import Training, trainings_of
from ftray.trial.spec import TrialSpec

OPEN_WINDOWS = ("train", "validation")
"""Windows on which a policy may be tested any number of times."""


def export_policy(
    module: FTPolicy,
    spec: TrialSpec,
    dataset: Dataset,
    folder: Path,
    training: Training,
    pretrained_on: Sequence[Sequence[str]] = (),
) -> None:
    """Writes the policy of a training as a folder to deploy (see `ftray.nets.Policy`), in place of an earlier one.

    pretrained_on: the first and the last bar of each train window of its encoder's pre-training.
    """
    facts = {"dataset": dataset.fingerprint, "trial": to_mapping(spec), **dataclasses.asdict(training)}
    facts |= History.of(dataset, pretrained_on).to_facts()
    network = PolicyNetwork(module.encoder, module.policy_head, spec.trading.no_trade)
    Policy(network, dataset.table.scaler, facts).save(folder)


def has_onnx(spec: TrialSpec, training: Training) -> bool:
    """Whether the policy of a training is written as an ONNX file: that takes seconds, and the trial's folder keeps the
    policy of the last training alone."""
    return spec.onnx and training == trainings_of(spec)[-1]


def judge(policy: Policy, spec: TrialSpec, dataset: Dataset, window: str = "validation") -> dict[str, Backtest]:
    """Backtests by name: `policy`, and the benchmarks (`ftray.trading.benchmarks`), on an open window of the dataset.

    Raises: SpecError for the test window, which `ftray promote` alone reads; WeightsError if the policy was trained on
        another layout or scaling than the dataset has; DataError if on bars of another length.
    """
    if window not in OPEN_WINDOWS:
        closed = ": `ftray promote` alone reads the test window, and counts its reads" if window == "test" else ""
        raise SpecError(f"a policy is judged on one of {', '.join(OPEN_WINDOWS)}, got {window!r}{closed}")
    return judge_bars(policy, spec, dataset, getattr(dataset.windows, window))


def judge_bars(policy: Policy, spec: TrialSpec, dataset: Dataset, bars: Pieces) -> dict[str, Backtest]:
    """Does what `judge` does, on any bars; it does not check whether they may be read."""
    check_same_features(policy, dataset)
    return run_policy(policy, dataset, bars, spec.trading.rules)


def performance_table(backtests: dict[str, Backtest]) -> dict[str, dict[str, float]]:
    """Every measure of every backtest, and of equal weight at the policy's mean exposure: `exposure_matched`.

    The measures of backtests are also relative to equal weight: see `ftray.stats.active_performance`.
    """
    policy, even = backtests["policy"], backtests[EQUAL_WEIGHT]
    matched = stats.exposure_matched(even.returns, even.weights.sum(axis=1), policy.weights.sum(axis=1))
    table = {name: one.performance(even) for name, one in backtests.items()}
    return {
        "policy": table.pop("policy"),
        EQUAL_WEIGHT: table.pop(EQUAL_WEIGHT),
        "exposure_matched": stats.performance(matched, policy.bars_per_year),
        **table,
    }


def record_benchmarks(spec: TrialSpec, run: RunFolder) -> None:
    """Stores the benchmarks on the validation windows, which every trial is compared with.

    Metrics are means over the folds, as a trial's own are. A benchmark that cannot trade has none: those of an account
    that stays in cash would say that the market did not move.
    """
    metrics: dict[str, list[dict[str, float]]] = {}
    for fold in range(spec.n_folds):
        _, dataset = prepare_dataset(spec, run.path, fold)
        held = benchmarks(dataset, dataset.windows.validation, spec.trading.rules)
        save_benchmarks(run.path, fold, dataset, held)
        for name, one in held.items():
            metrics.setdefault(name, []).append(one.performance(held[EQUAL_WEIGHT]))
    run.sync("benchmarks")
    found = {name: {key: fmean(one[key] for one in folds) for key in folds[0]} for name, folds in metrics.items()}
    unable = cannot_trade(spec.trading.rules, market_symbols(spec.market))
    run.record_benchmarks(found | {name: {CANNOT_TRADE: why} for name, why in unable.items()})


def judge_folder(location: Location, trial: str | None, window: str) -> tuple[Path, dict[str, Backtest]]:
    """The policy folder behind a path (a policy, or a run and one of its trials) and its backtests.

    Raises: QueryError, NoResultError, WeightsError or PluginError, which say what is missing; DataError for candles of
        its study that changed since.
    """
    policy, _ = open_policy(location, trial)
    spec = parse(TrialSpec, upgrade_trial(policy.facts["trial"]), path=("trial",))
    return Path(policy.folder or "."), judge(policy, spec, own_dataset(policy, spec), window)


def judge_later(
    location: Location, trial: str | None, market: Location, *, from_: str | None, to: str | None, force: bool
) -> tuple[Path, dict[str, Backtest]]:
    """The policy folder behind a path and its backtests on later candles: see `ftray.backtest_policy`.

    Raises: as `open_policy` and `backtest_policy`.
    """
    policy, run = open_policy(location, trial)
    owner = None if run is None else run.location
    found = backtest_policy(policy, market, from_=from_, to=to, force=force, run=owner)
    return Path(policy.folder or "."), found


def open_policy(location: Location, trial: str | None) -> tuple[Policy, RunFolder | None]:
    """The policy behind a path (a policy, or a run and one of its trials), and that run.

    Raises: QueryError, NoResultError, WeightsError or PluginError, which say what is missing.
    """
    is_policy = not is_url(location) and (Path(location) / "policy.json").exists()
    run = None if is_policy else RunFolder.open(location)
    policy = Policy.load(Path(location) if run is None else policy_folder(run, trial))
    check_loaded(policy.facts.get("plugins") or {}, str(policy.folder))
    return policy, run


def own_dataset(policy: Policy, spec: TrialSpec) -> Dataset:
    """The dataset that a policy was trained on, under its own scaler; candles may have been appended since.

    Raises: DataError for candles of that time that are other ones now.
    """
    fold, history = policy.facts["fold"], History.from_facts(policy.facts)
    if history is None:  # of an earlier version: `check_same_features` compares the scaler that is fitted here
        return build_dataset(spec.market, spec.windows, spec.features, fold)
    candles = history.own_candles(candles_of(policy, spec.market))
    dataset = dataset_of(candles, spec.windows, spec.features, fold, scaler=policy.scaler)
    own = history.windows_in(candles)
    windows = dataclasses.replace(dataset.windows, train=own.train, validation=own.validation, test=own.test)
    return dataclasses.replace(dataset, windows=windows)


def policy_folder(run: RunFolder, trial: str | None = None) -> Path:
    """The policy folder of a trial, by default of the best one.

    Raises: QueryError for an unknown trial; NoResultError if no trial has finished.
    """
    if trial is None:
        records, constraints = run.records(), constraints_of(run.study)
        best = best_trial(records, objectives_of(run.study), constraints)
        if best is None or best.kind != JobKind.TRIAL:
            idle = "".join(f"; {line}" for line in describe_hardly_trading(records, constraints))
            raise NoResultError(f"{run.where} has no trial with a rank yet; see: ftray results {run.where}{idle}")
    else:
        best = run.record(trial)
    run.fetch(f"trials/{best.id}/policy")
    return run.trial_folder(best.id).folder / "policy"


def check_same_features(policy: Policy, dataset: Dataset) -> None:
    """Refuses a dataset on which the policy would see other numbers than it was trained on.

    Bars of a length that an earlier version did not record cannot be compared; the scaling is, whatever the version.
    """
    ours, theirs = policy.layout.to_mapping(), dataset.layout.to_mapping()
    for key in ours:
        if ours[key] != theirs[key]:
            raise WeightsError(f"the policy was trained with {key} {ours[key]}, and the dataset has {theirs[key]}")
    check_interval(interval_of(policy.facts), dataset.candles)
    if policy.scaler.to_mapping() != dataset.table.scaler.to_mapping():
        raise WeightsError(
            "the policy was trained on features scaled by another train window; "
            f"its dataset was {str(policy.facts.get('dataset'))[:12]}, this one is {dataset.fingerprint[:12]}. Where "
            "candles were appended, an earlier version's policy does not say which were its own: restore them"
        )
