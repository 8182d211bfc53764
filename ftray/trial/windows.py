"""Which bars a study judges its trials on, recorded in its run folder before the first of them."""

import dataclasses

from ftray.market import SimulatorSpec
from ftray.runs import RunFolder
from ftray.runs.seen_bars import SeenBars, StudyBars
from ftray.trial.preparation import prepare_dataset
from ftray.trial.spec import TrialSpec


def record_bars(spec: TrialSpec, run: RunFolder) -> None:
    """Records the bars of the validation windows and of the test window, unless they are recorded.

    spec: any trial of the study; they all have the same windows. The caller is the run folder's driver.
    """
    if run.bars is not None:
        return
    folds = [prepare_dataset(spec, run.path, fold)[1] for fold in range(spec.n_folds)]
    candles, closed = folds[0].candles, folds[0].windows.test
    bars = StudyBars(
        validation=SeenBars.of(candles, [window for one in folds for window in one.windows.validation]),
        test_window=SeenBars.of(candles, [closed]) if len(closed) else None,
        simulated=isinstance(spec.market, SimulatorSpec),
    )
    run.append_event("bars", **dataclasses.asdict(bars))
