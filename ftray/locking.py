"""A lock between processes that want to make the same file or folder: one makes it, the others wait.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder, alone(Path(folder) / ".lock") as locked:
...     locked
True
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Only one process at a time is inside the block; the operating system releases the lock when that process ends,
    however it ends. False where the file system has no locks: several processes may then be inside.

    file: created for the lock, and deleted after it.
    """
    while True:
        with file.open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
            except OSError:
                locked = False
            else:
                locked = True
                if not _is_still(file, held.fileno()):  # its last holder deleted it
                    continue
            try:
                yield locked
            finally:
                file.unlink(missing_ok=True)
            return


def _is_still(file: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), file.stat())
    return False
