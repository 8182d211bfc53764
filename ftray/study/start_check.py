"""What a study starts from is there and fits: weights, a warm start, other places, a database, its run folder.

Takes: a study, and where its run folder would be. Gives: lines; it raises what `ftray tune` would raise, and writes
nothing.
"""

from collections.abc import Iterator

from ftray.analysis.looks import check_places
from ftray.errors import SpecError, StorageError, WeightsError
from ftray.features import dataset_of
from ftray.market import Candles
from ftray.nets import FTSpec
from ftray.runs import RunFolder
from ftray.runs.location import is_run_folder
from ftray.storage import Location, join, local
from ftray.study.optuna.storage import check_database
from ftray.study.spec import StudySpec, open_run
from ftray.study.warm_start import best_points
from ftray.trial import TrialSpec
from ftray.trial.preparation import check_checkpoint


def describe_start(spec: StudySpec, runs: Location, candles: Candles) -> Iterator[str]:
    """A line for each place that the study starts from.

    runs: where run folders are; one with the study's name must be that of this study. candles: of its market.

    Raises: FtrayError, as `ftray tune` would.
    """
    search = spec.search
    for path, problem in check_weights(spec, candles).items():
        if problem is None:
            yield f"  weights       {path}: they fit, and saw no bar of the evaluated windows"
        else:
            yield f"  problem       trials with these weights will fail: {problem}"
    if search.warm_start is not None:
        other = RunFolder.open(search.warm_start)
        taken, left_out = best_points(other, spec.space, search)
        yield f"  warm start    {len(taken)} points of {search.warm_start}; {len(left_out)} do not fit"
    check_places(search.also_counts)
    if search.storage is not None:
        check_database(search.storage)
        yield f"  database      {search.storage} answers"
    try:
        place = join(runs, spec.name)
        if is_run_folder(place):
            n_jobs = len(open_run(spec, runs).records())
            yield f"  run folder    {place} has {n_jobs} jobs of this study, which `ftray tune` continues"
    except (SpecError, StorageError) as error:  # a cluster may reach it
        yield f"  run folder    unknown, as this machine does not reach it: {error}"


def check_weights(spec: StudySpec, candles: Candles | None = None) -> dict[str, str | None]:
    """The files of weights that trials name → why trials cannot start from them, None if they can.

    candles: with them it is also checked that the weights have seen no bar of the evaluated windows.

    Raises: WeightsError where no trial of the study could start.
    """
    found: dict[str, str | None] = {}
    problems: list[WeightsError] = []
    for trial in spec.corner_trials:
        path = _own_weights(trial)
        try:
            if path:
                _check_trial(path, trial, candles)
                found.setdefault(path, None)
        except WeightsError as error:
            problems.append(error)
            found[str(path)] = str(error)
    if len(problems) == len(spec.corner_trials):
        raise problems[0]
    return found


def _check_trial(path: str, trial: TrialSpec, candles: Candles | None) -> None:
    check_checkpoint(trial)
    if candles is None:
        return
    from ftray.trial.run import check_no_leakage  # imports RLlib, which takes seconds

    for fold in range(trial.n_folds):
        check_no_leakage(local(path), dataset_of(candles, trial.windows, trial.features, fold))


def _own_weights(trial: TrialSpec) -> str | None:
    """The file of weights that a trial names, if it names one."""
    named = isinstance(trial.encoder, FTSpec) and trial.encoder.pretrained not in ("none", "auto")
    return trial.encoder.pretrained if named else None  # type: ignore[union-attr]  # an FTSpec
