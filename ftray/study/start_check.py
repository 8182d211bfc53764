"""What a study starts from is there and fits: weights, a warm start, other places, a database, its run folder.

Takes: a study, and where its run folder would be. Gives: lines; it raises what `ftray tune` would raise, and writes
nothing.
"""

from collections.abc import Iterator

from ftray.analysis.looks import check_places
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
    """A line for each thing that the study starts from.

    runs: where run folders are; one with the study's name must be that of this study. candles: of its market.

    Raises: FtrayError, as `ftray tune` would.
    """
    search = spec.search
    for path, trial in {path: t for t in spec.corner_trials if (path := _own_weights(t))}.items():
        _check_weights(path, trial, candles)
        yield f"  weights       {path}: they fit, and saw no bar of the evaluated windows"
    if search.warm_start is not None:
        other = RunFolder.open(search.warm_start)
        taken, left_out = best_points(other, spec.space, search)
        yield f"  warm start    {len(taken)} points of {search.warm_start}; {len(left_out)} do not fit"
    check_places(search.also_counts)
    if search.storage is not None:
        check_database(search.storage)
        yield f"  database      {search.storage} answers"
    place = join(runs, spec.name)
    if is_run_folder(place):
        run = open_run(spec, runs)
        yield f"  run folder    {place} has {len(run.records())} jobs of this study, which `ftray tune` continues"


def _own_weights(trial: TrialSpec) -> str | None:
    """The file of weights that a trial names, if it names one."""
    named = isinstance(trial.encoder, FTSpec) and trial.encoder.pretrained not in ("none", "auto")
    return trial.encoder.pretrained if named else None  # type: ignore[union-attr]  # an FTSpec


def _check_weights(path: str, trial: TrialSpec, candles: Candles) -> None:
    """The weights in a file are those of the trial's encoder, and were not trained on what the trial is judged on."""
    from ftray.trial.run import check_no_leakage  # imports RLlib, which takes seconds

    weights = local(path)
    check_checkpoint(trial)
    for fold in range(trial.n_folds):
        check_no_leakage(weights, dataset_of(candles, trial.windows, trial.features, fold))
