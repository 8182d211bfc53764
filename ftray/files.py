"""Files and folders that several processes write and read: replaced whole, or locked by one process at a time.

Takes: paths. Gives: `replace_file`, `partial_file`, `replace_folder` and `create_folder`, which a reader finds as they
were before or as they are afterwards; `locked`, a lock that falls with its process; `undone`, which deletes what a
failed block created; `sha256`; `cache_dir`.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / ".lock") as is_locked:
...     replace_file(Path(folder) / "numbers.txt", b"1 2 3")
...     is_locked, (Path(folder) / "numbers.txt").read_text()
(True, '1 2 3')
"""

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock

from ftray.errors import LockedError

CACHE = "FTRAY_CACHE"
"""The variable that names the cache folder; by default it is ~/.cache/ftray."""

POLL_SECONDS = 0.1

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def cache_dir() -> Path:
    """The folder for whatever can be fetched or measured again."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "ftray")


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file: a reader sees the old content or the new, even after a crash of the machine."""
    with partial_file(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def partial_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path to write to; that file replaces `path` when the block ends without an error.

    durable: wait until it is on disk. Otherwise a crash of the machine may leave a damaged file.
    """
    new = [parent for parent in path.parents if not parent.exists()]
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        with named(path):
            yield partial
        partial.chmod(0o644)  # mkstemp makes files that other users of a cluster's disk cannot read
        if durable:
            _sync_file(partial)
        partial.replace(path)
    except BaseException:
        delete_new([partial, *new])
        raise
    if durable:
        _sync_folder(path.parent)


@contextlib.contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Names `path` in an OSError that names no file: a write to a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised with a text alone
            error.args = (": ".join(filter(None, (str(path), str(error)))),)
        elif error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def undone(path: Path) -> Iterator[None]:
    """A block that may create `path`, a file or folder: where it raises, what was not there before is deleted, with
    the parent folders that it created."""
    new = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    try:
        yield
    except BaseException:
        delete_new(new)
        raise


def delete_new(new: Sequence[Path]) -> None:
    """Deletes a file or folder, the first, whole, and of its parents, the others, those that are empty then."""
    for path in new[:1]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    for parent in new[1:]:
        with contextlib.suppress(OSError):  # another process has put something there
            parent.rmdir()


def sha256(path: Path) -> str:
    """The checksum of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_partials(path: Path) -> None:
    """Deletes what killed processes left of `path`; the caller must hold the lock of all its writers."""
    for partial in path.parent.glob(f".{path.name}-*"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def create_folder(path: Path) -> Iterator[Path]:
    """An empty folder to write to; it becomes `path` when the block ends without an error.

    Raises: FileExistsError if `path` is not free by then: nothing is ever replaced.
    """
    with _partial_folder(path) as partial:
        yield partial
        _make_durable(partial)
        move_folder(partial, path)


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """An empty folder to write to; it replaces `path` when the block ends without an error.

    No system call replaces a folder that holds files. For a moment the old one is `.NAME-old` and there is none at
    `path`; a process that is killed then leaves it so.
    """
    with _partial_folder(path) as partial:
        yield partial
        _make_durable(partial)
        old = path.with_name(f".{path.name}-old")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        move_folder(partial, path)
        shutil.rmtree(old, ignore_errors=True)


def move_folder(folder: Path, path: Path) -> None:
    """Renames a folder. Raises: FileExistsError if `path` is anything but free or an empty folder."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno in _TAKEN:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    patience: float | None = None,
    delete: bool = False,
    busy: Callable[[str], Exception] | None = None,
) -> Iterator[bool]:
    """Only one process at a time is inside the block. The operating system releases the lock when that process ends,
    also by `kill -9`. False where the file system has no locks: several processes may then be inside.

    path: the lock file, which names its holder. delete: delete it at the end of the block.
    patience: seconds to wait for another holder; None waits without limit. busy: makes the error to raise after that
        from the holder's name, which is empty if unknown; by default a LockedError.
    """
    path.touch()  # raises where nothing can be written: what `acquire` raises is about locks alone
    lock = filelock.FileLock(path, thread_local=False, poll_interval=POLL_SECONDS, fallback_to_soft=False)
    try:
        lock.acquire(timeout=-1 if patience is None else patience)
    except filelock.Timeout:
        holder = _read_holder(path)
        locked_by = f"{path} is locked by {holder or 'another process'}; wait for it, or end it"
        raise (LockedError(locked_by) if busy is None else busy(holder)) from None
    except OSError:  # network file systems without locks
        pass
    if lock.is_locked:
        with contextlib.suppress(OSError):  # a full disk
            path.write_text(f"{socket.gethostname()}:{os.getpid()}\n")
    try:
        yield lock.is_locked
    finally:
        if delete:
            path.unlink(missing_ok=True)  # before the release: who waits for it sees that it is deleted
        lock.release()


def _read_holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""


@contextlib.contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    new = [parent for parent in path.parents if not parent.exists()]
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with named(path):
            yield partial
    finally:
        delete_new([partial, *new])


def _make_durable(folder: Path) -> None:
    folder.chmod(0o755)  # mkdtemp makes folders that other users of a cluster's disk cannot read
    for parent, _, files in os.walk(folder):
        for file in files:
            _sync_file(Path(parent) / file)
        _sync_folder(Path(parent))


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
