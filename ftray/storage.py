"""Object storage: folders at a URL, and their copies on this machine's disk.

Takes: locations, as a path or as `s3://bucket/folder`, `gs://…`, `abfs://…`. Gives: `Mirror`, which copies files from
and to object storage; other modules work with the copy and see no URLs.

Credentials are found as the provider's own tools find them (environment, `~/.aws`, a machine's role), never in a URL.
A single object is replaced whole, so that a reader sees the old content or the new; several objects are not. Files that
mark others as complete (`DONE`, `*.json`) are therefore copied last, in both directions.

>>> is_url("s3://bucket/runs"), is_url("/mnt/runs")
(True, False)
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftray.errors import StorageError
from ftray.files import cache_dir, partial_file

SCHEMES = ("s3", "gs", "abfs", "abfss")

Location = Path | str
"""A path, or a URL of object storage as text: `Path` would fold its slashes."""


def is_url(location: Location) -> bool:
    """Whether a location is on object storage.

    Raises: StorageError for a scheme that is not known, or a URL that holds a password.
    """
    found = re.match(r"(\w[\w+.-]*)://?(.*)", str(location)) if not isinstance(location, Path) else None
    if found is None:
        return False
    if found[1] not in SCHEMES:
        raise StorageError(f"a location must be a path or one of {', '.join(SCHEMES)}://…, got {found[1]}://…")
    if "@" in found[2].split("/")[0] and not found[1].startswith("abfs"):  # abfs://container@account is no password
        raise StorageError(
            "a location must hold no credentials: leave them to the environment (AWS_ACCESS_KEY_ID, ~/.aws, a role)"
        )
    return True


def join(location: Location, name: str) -> Location:
    """A file or folder within a location."""
    return f"{str(location).rstrip('/')}/{name}" if is_url(location) else Path(location) / name


def local(location: Location) -> Path:
    """A file or folder as a path: downloaded first if it is on object storage."""
    if not is_url(location):
        return Path(location)
    mirror = Mirror(location, role="read")
    mirror.pull()
    return mirror.local


class Mirror:
    """A folder or file on object storage, and its copy on this disk.

    role: each role has a copy of its own: a study's driver reads what a trial's process on the same machine is still
        writing.
    """

    def __init__(self, url: Location, role: str):
        self.url, self.role = str(url).rstrip("/"), role
        is_url(self.url)
        self.local = cache_dir() / role / self.url.replace("://", "/")
        self._pushed: dict[str, tuple[int, int]] = {}
        self._connected: Any = None
        self._left_at, self._took = 0.0, 0.0
        self.guard: Callable[[], None] | None = None
        """Called before anything is uploaded or deleted; it raises if this process may no longer do so."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connected": None, "guard": None}

    @property
    def parent(self) -> "Mirror":
        """The parent folder, in the same role."""
        return Mirror(self.url.rpartition("/")[0], self.role)

    def folders(self) -> list[str]:
        """The names of the folders on object storage, without those that begin with a dot."""
        from pyarrow import fs

        with _translate_errors(self.url):
            system, root = self._system
            listed = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
        folders = (info.base_name for info in listed if info.type == fs.FileType.Directory)
        return [name for name in folders if name[0] != "."]

    def pull(self, *names: str) -> None:
        """Downloads files and folders, by default all. Skips what has not changed, and names that do not exist.

        Raises: StorageError.
        """
        for name in names or ("",):
            for found, info in self._listed(name):
                self._bring(found, info)

    def push(self, *names: str) -> None:
        """Uploads files and folders, by default all. Skips what has not changed and, in folders, names that begin with
        a dot.

        Raises: StorageError.
        """
        for name in names or ("",):
            for path in self._files(name):
                self._send(path.relative_to(self.local).as_posix(), path)

    def follow(self, name: str) -> None:
        """Downloads a file, or deletes its copy if it no longer exists."""
        found = list(self._listed(name))
        for there, info in found:
            self._bring(there, info)
        if not found:
            (self.local / name).unlink(missing_ok=True)

    def push_throttled(self, name: str) -> None:
        """Uploads a growing file, at most a twentieth of the time."""
        if time.monotonic() - self._left_at >= 20 * self._took:
            began = time.monotonic()
            self.push(name)
            self._left_at = time.monotonic()
            self._took = self._left_at - began

    def read(self, name: str) -> bytes | None:
        """The content of one file on object storage; None if there is none."""
        with _translate_errors(self.url):
            system, root = self._system
            try:
                with system.open_input_stream(f"{root}/{name}") as stream:
                    return stream.readall()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Replaces one file on object storage."""
        with _translate_errors(self.url):
            system, root = self._system
            with system.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

    def delete(self, name: str) -> None:
        """Deletes a file or folder on object storage; a missing one is no error."""
        if self.guard:
            self.guard()
        with _translate_errors(self.url):
            system, root = self._system
            for found, _ in list(self._listed(name)):
                system.delete_file(f"{root}/{found}".rstrip("/"))
                self._pushed.pop(found, None)

    def names(self, name: str = "") -> list[str]:
        """The files at or below a name on object storage, relative to the mirror."""
        return [found for found, _ in self._listed(name)]

    @property
    def _system(self) -> tuple[Any, str]:
        if self._connected is None:
            self._connected = system_of(self.url)
        return self._connected

    def _listed(self, name: str) -> Iterator[tuple[str, Any]]:
        """The same with pyarrow's file info; files that mark others as complete come last."""
        from pyarrow import fs

        with _translate_errors(self.url):
            system, root = self._system
            place = f"{root}/{name}".rstrip("/")
            found = system.get_file_info(place)
            if found.type == fs.FileType.File:
                listed = [found]
            else:
                listed = system.get_file_info(fs.FileSelector(place, recursive=True, allow_not_found=True))
        files = [info for info in listed if info.type == fs.FileType.File]
        for info in sorted(files, key=lambda info: _completes(info.path)):
            yield info.path[len(root) :].lstrip("/"), info

    def _files(self, name: str) -> list[Path]:
        place = self.local / name
        if place.is_file():
            return [place]
        found = (Path(folder) / file for folder, _, files in os.walk(place) for file in files)
        shown = [path for path in found if not any(part[0] == "." for part in path.relative_to(place).parts)]
        return sorted(shown, key=lambda path: _completes(path.name))

    def _bring(self, name: str, info: Any) -> None:
        target = self.local / name if name else self.local
        try:
            here = target.stat()
            if here.st_size == info.size and here.st_mtime_ns == info.mtime_ns:
                return
        except FileNotFoundError:
            pass
        with _translate_errors(self.url):
            system, _ = self._system
            # Not durable: a copy that a crash damages differs in size or time, and is downloaded again.
            with partial_file(target, durable=False) as partial:
                with partial.open("wb") as file, system.open_input_stream(info.path) as stream:
                    shutil.copyfileobj(stream, file, 1 << 22)
                os.utime(partial, ns=(info.mtime_ns, info.mtime_ns))
        self._pushed[name] = (info.size, info.mtime_ns)

    def _send(self, name: str, path: Path) -> None:
        here = path.stat()
        if self._pushed.get(name) == (here.st_size, here.st_mtime_ns):
            return
        if self.guard:
            self.guard()
        with _translate_errors(self.url), path.open("rb") as file:
            system, root = self._system
            with system.open_output_stream(f"{root}/{name}") as stream:
                shutil.copyfileobj(file, stream, 1 << 22)
        self._pushed[name] = (here.st_size, here.st_mtime_ns)


def system_of(url: str) -> tuple[Any, str]:
    """pyarrow's file system of a URL, and the path there."""
    from pyarrow import fs  # takes a while, and only object storage needs it

    # Without it each small file takes the three requests of a large one.
    return fs.FileSystem.from_uri(url + ("?allow_delayed_open=true" if url.startswith("s3://") else ""))


def _completes(path: str) -> tuple[bool, bool]:
    """Sorts files that mark others as complete behind these."""
    name = path.rpartition("/")[2]
    return (name == "DONE", name.endswith(".json"))


@contextlib.contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    """Translates whatever the storage's client raises to a StorageError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # a disk here
            raise
        raise storage_error(url, error) from None


def storage_error(url: str, error: Exception) -> StorageError:
    """The error of a storage's client, with the URL and without anything that may be a credential."""
    problem = re.sub(r"\?\S+", "", str(error).splitlines()[0])  # the query of a signed URL
    return StorageError(
        f"{url} must be readable and writable, but: {problem}; check the URL, the credentials and the region"
    )
