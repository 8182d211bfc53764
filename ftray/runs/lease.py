"""One driver at a time: a lock on a disk; on object storage, which has no locks, a lease that is renewed.

Takes: a run folder's path, or its mirror. Gives: a block in which no other process drives that run folder.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftray.errors import RunFolderError, StorageError
from ftray.files import locked
from ftray.say import Say
from ftray.storage import Location, Mirror
from ftray.versioned import ChangedError, Version, VersionedObject

LEASE = ".driver.json"

STALE = 60.0
"""Seconds after its last renewal that a driver counts as dead."""


@contextlib.contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder's copy on this disk, a file that is deleted at the end of the block; the operating
    system releases it when the process ends.

    Raises: RunFolderError if another process holds it, or if the file system has no locks.
    """
    file = folder / ".driver"
    with locked(file, patience=0, delete=True, busy=lambda holder: _busy(folder, holder)) as is_locked:
        if not is_locked:
            raise RunFolderError(
                f"{folder} must be on a file system with locks, so that one process alone runs the study; name "
                "another folder with --runs, or mount this one with locks (NFS 4)"
            )
        yield


@contextlib.contextmanager
def leased(mirror: Mirror | None, say: Say = print, stale: float = STALE) -> Iterator[None]:
    """Holds the lease of a run folder on object storage, renewed six times as often as it goes stale.

    Every write of the lease is conditional, so that of two drivers that take it at the same moment one is refused,
    however slow their requests are. A new driver waits for the lease of a dead one to go stale, as it cannot tell it
    from a live one. A driver that slept, as a laptop does, renews its lease before it writes anything, and stops if
    another driver has taken it since.

    Raises: RunFolderError if another driver renews it; StorageError, at a later write, if another driver took it.
    """
    if mirror is None:
        yield
        return
    lease = _Lease(mirror.url, stale)
    lease.take(say)
    ended = threading.Event()
    renewer = threading.Thread(target=lease.keep, args=(ended,), daemon=True)
    renewer.start()
    mirror.guard = lease.check
    try:
        yield
    finally:
        ended.set()
        renewer.join()
        mirror.guard = None
        lease.give_back()


class _Lease:
    """A driver's lease. Times are from the wall clock: the monotonic one stops while a machine sleeps."""

    def __init__(self, url: str, stale: float):
        self.url, self.stale = url, stale
        self.object = VersionedObject(f"{url}/{LEASE}")
        self.driver, self.id = f"{socket.gethostname()}:{os.getpid()}", secrets.token_hex(8)
        self._version: Version | None = None
        self._renewed, self._lost_to, self._lock = 0.0, "", threading.Lock()

    def take(self, say: Say) -> None:
        """Raises: RunFolderError if another driver renews the lease, or takes it first."""
        if holder := self._write(self._wait_until_free(say)):
            raise _busy(self.url, holder)
        self.object.check_conditions()

    def keep(self, ended: threading.Event) -> None:
        """Renews it until then."""
        while not ended.wait(self.stale / 6):
            with contextlib.suppress(StorageError):  # the next one may succeed; the study's own writes would raise
                self._renew()

    def check(self) -> None:
        """Raises: StorageError if another driver holds it."""
        if self._lost_to or time.time() - self._renewed > self.stale / 2:
            self._renew()

    def give_back(self) -> None:
        """Deletes it, unless another driver holds it."""
        with contextlib.suppress(StorageError):
            self.check()
            self.object.delete()

    def _wait_until_free(self, say: Say) -> Version | None:
        """The version to replace, None for none. An existing lease is watched for as long as a live driver
        needs to renew it."""
        seen = self.object.read()
        if seen is None or _is_of_dead_process_here(seen.content):
            return seen and seen.version
        say(f"{_parse(seen.content)['driver']} drove {self.url} last: waiting {self.stale:.0f} s for a sign of life")
        until = time.monotonic() + self.stale
        while time.monotonic() < until:
            time.sleep(self.stale / 20)
            now = self.object.read()
            if now is None:
                return None
            if now.content != seen.content:
                raise _busy(self.url, _parse(now.content)["driver"])
        return seen.version

    def _renew(self) -> None:
        with self._lock:
            self._lost_to = self._lost_to or self._write(self._version)
            if self._lost_to:
                raise StorageError(
                    f"{self.url} was taken over by another process ({self._lost_to}) while this one gave no sign of "
                    "life: nothing that this one did since is written there, and its trials continue in the other"
                )

    def _write(self, replaces: Version | None) -> str:
        """Writes the lease in place of that version; returns the other driver if one holds it."""
        began = time.time()  # what others see of it is younger
        lease = {"driver": self.driver, "id": self.id, "boot": _boot(), "at": began}
        try:
            self._version = self.object.put(json.dumps(lease).encode(), replaces)
        except ChangedError:
            found = self.object.read()
            if found is None:  # another process deleted it
                return self._write(None)
            holder = _parse(found.content)
            if holder["id"] != self.id:
                return str(holder["driver"])
            self._version = found.version  # the answer to an earlier write was lost
        self._renewed = began
        return ""


def _busy(location: Location, holder: str) -> RunFolderError:
    return RunFolderError(
        f"{location} is being run by another process ({holder or 'unknown'}); wait for it, or see: "
        f"ftray results {location}"
    )


def _boot() -> str:
    """Identifies this boot of this machine: others may have its name. Empty if unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _parse(content: bytes) -> dict[str, Any]:
    unknown = {"driver": "unknown", "id": "", "boot": None}
    with contextlib.suppress(ValueError, TypeError):
        return unknown | json.loads(content)
    return unknown


def _is_of_dead_process_here(content: bytes) -> bool:
    lease = _parse(content)
    host, _, pid = lease["driver"].rpartition(":")
    if host != socket.gethostname() or lease["boot"] != _boot():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()
