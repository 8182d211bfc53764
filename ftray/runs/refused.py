"""Commands that are refused: they leave no run folder behind.

Takes: a run folder. Gives: `kept_if_used`, a block in which its study may still be refused; `without_new_data`, one in
which a command on a finished study may be.
"""

import contextlib
import shutil
from collections.abc import Iterator

from ftray.errors import FtrayError, StudyInterruptedError
from ftray.files import delete_new
from ftray.runs.folder import RunFolder
from ftray.runs.lease import LEASE, driving, leased


@contextlib.contextmanager
def kept_if_used(run: RunFolder) -> Iterator[None]:
    """A block that may refuse the study. Where it raises before there is a job, the run folder is deleted again if
    this process created it. What is stopped stays: the same command continues it."""
    try:
        yield
    except (FtrayError, OSError) as error:
        if run.created and not isinstance(error, StudyInterruptedError):
            with contextlib.suppress(FtrayError, OSError):  # another process drives it by now; the disk is gone
                _delete_unused(run)
        raise


@contextlib.contextmanager
def without_new_data(run: RunFolder) -> Iterator[None]:
    """A block of the driver that may refuse a command: where it raises, the datasets that it prepared are deleted."""
    folder = run.path / "data"
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except (FtrayError, OSError):
        for new in set(folder.glob("*")) - (before or set()):
            shutil.rmtree(new, ignore_errors=True)
        if before is None:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _delete_unused(run: RunFolder) -> None:
    with driving(run.path), leased(run.mirror, lambda line: None):
        if run.records():
            return
        for name in run.mirror.names() if run.mirror else ():
            if name != LEASE:
                run.mirror.delete(name)  # type: ignore[union-attr]
        delete_new(run.created)
