"""Opening a study's run folder."""

from pathlib import Path

from ftray.market import load_market
from ftray.results import RunFolder
from ftray.study.spec import StudySpec


def open_run(study: StudySpec, root: Path) -> RunFolder:
    """The run folder `root/NAME`: made now, or opened for this very study on these very candles.

    Candles are part of what a study is: figures on other bars are not comparable, however equal the file's path.

    Raises: DataError for candles that cannot be read; RunFolderError, with what differs, for another study's folder.
    """
    candles = load_market(study.trial(next(iter(study.space.ends()))).market)
    return RunFolder.create(root / study.name, {**study.identity, "candles": candles.fingerprint[:16]})
