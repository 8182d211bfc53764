"""Commands that are refused: they leave no run folder behind.

Takes: a run folder. Gives: `kept_if_used`, a block in which its study may still be refused.
"""

import contextlib
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


def _delete_unused(run: RunFolder) -> None:
    with driving(run.path), leased(run.mirror, lambda line: None):
        if run.records():
            return
        for name in run.mirror.names() if run.mirror else ():
            if name != LEASE:
                run.mirror.delete(name)  # type: ignore[union-attr]
        delete_new(run.created)
