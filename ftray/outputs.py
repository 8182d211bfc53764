"""Output paths, checked before the work whose results go there; and what an error of the operating system means.

Takes: paths that a caller names, any OSError. Gives: an OutputError, or one line for people.

>>> check_output_file("/dev/null")
Traceback (most recent call last):
ftray.errors.OutputError: /dev/null must be a file, or not exist yet, but is a device: name a file
>>> describe_os_error(OSError(errno.ENOSPC, "No space left on device", "runs/demo/events.jsonl"))
'runs/demo/events.jsonl: No space left on device; delete something there, or name a place on another disk'
>>> describe_os_error(OSError("the peer hung up"))
'the peer hung up'
"""

import errno
import os
import stat
import tempfile
from pathlib import Path

from ftray.errors import OutputError

ADVICE = {
    errno.ENOSPC: "delete something there, or name a place on another disk",
    errno.EDQUOT: "delete something there, or name a place on another disk",
    errno.EFBIG: "name a place on a file system that holds files of this size",
    errno.EROFS: "name a place that is not mounted read-only",
    errno.EACCES: "name a place that this user may read and write, or change its permissions",
    errno.EPERM: "name a place that this user may read and write, or change its permissions",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "its symbolic links form a circle; name the file itself",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file is where a folder must be; check the path",
    errno.EISDIR: "it is a folder; name a file",
    errno.EEXIST: "delete it, or name another place",
    errno.ENOTEMPTY: "another process writes to it; end that one",
    errno.EBUSY: "another process uses it; end that one",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close files, or raise the machine's limit on open files",
    errno.ENOMEM: "end other processes: this machine's memory is used up",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the file system again",
}

NOUNS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}

PARTIAL = ".{}-12345678"
"""What a file or folder is called while it is written (`ftray.files`)."""


def check_output_file(path: Path | str) -> Path:
    """The path, if a file can be written there; the folders that lead to it need not exist yet. Creates nothing.

    Raises: OutputError for a folder or device, and for a place that is no folder or cannot be written.
    """
    return _checked(Path(path), stat.S_IFREG)


def check_output_folder(path: Path | str) -> Path:
    """The path, if files can be written into that folder; it need not exist yet. Creates nothing.

    Raises: OutputError for a file or device, and for a place that cannot be written.
    """
    return _checked(Path(path), stat.S_IFDIR)


def describe_os_error(error: OSError) -> str:
    """The path, what is wrong with it, and what to do, in one line."""
    if error.errno is None:  # raised with a text alone
        return " ".join(str(error).split()) or type(error).__name__
    what = error.strerror or os.strerror(error.errno)
    advised = "; ".join(filter(None, (what, ADVICE.get(error.errno))))
    return ": ".join(filter(None, (_names(error), advised)))


def _names(error: OSError) -> str:
    """The paths that an error is about, if it names any; of a descriptor its number is none."""
    found = (error.filename, error.filename2)
    return " → ".join(os.fsdecode(name) for name in found if isinstance(name, str | bytes | os.PathLike))


def _checked(path: Path, kind: int) -> Path:
    noun = NOUNS[kind]
    try:
        there = _kind(path)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from None
    if there not in (kind, None):
        raise OutputError(f"{path} must be {noun}, or not exist yet, but is {NOUNS[there]}: name {noun}")
    folder = path if there == kind == stat.S_IFDIR else path.parent
    missing = [path.name] * (folder != path)
    while not os.path.lexists(folder):
        missing.append(folder.name)
        folder = folder.parent
    if not folder.is_dir():
        what = NOUNS[stat.S_IFMT(folder.stat().st_mode)] if folder.exists() else "a link that leads nowhere"
        raise OutputError(f"{path} cannot be written: {folder} must be a folder, but is {what}; check the path")
    _try_to_write(path, folder, missing)
    return path


def _kind(path: Path) -> int | None:
    """What is at a path; None where nothing is."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _try_to_write(path: Path, folder: Path, missing: list[str]) -> None:
    """Writes a byte into a file without a name in the folder: its permissions alone do not say whether the disk is
    full or mounted read-only, and mean nothing to root."""
    try:
        for name in missing:
            _kind(folder / PARTIAL.format(name))  # of a name that is too long
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        error.filename = str(path if error.errno == errno.ENAMETOOLONG else folder)
        raise _refusal(path, error) from None


def _refusal(path: Path, error: OSError | ValueError) -> OutputError:
    why = describe_os_error(error) if isinstance(error, OSError) else str(error)
    return OutputError(f"{path} cannot be written: {why.removeprefix(f'{path}: ')}")
