"""Opening a study's run folder."""

from ftray.market import load_market
from ftray.runs import RunFolder
from ftray.storage import Location, join
from ftray.study.spec import StudySpec


def open_run(study: StudySpec, root: Location) -> RunFolder:
    """The run folder `root/NAME`: made now, or opened for this very study on these very candles.

    Candles are part of what a study is: figures on other bars are not comparable, however equal the file's path.

    Raises: DataError for candles that cannot be read; RunFolderError, with what differs, for another study's folder.
    """
    trials = study.corner_trials
    candles = load_market(trials[0].market)
    run = RunFolder.create(join(root, study.name), {**study.identity, "candles": candles.fingerprint[:16]})
    if any(trial.encoder_to_pretrain for trial in trials):
        run.fetch_sibling_encoders()
    return run
