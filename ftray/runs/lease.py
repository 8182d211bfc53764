"""One driver at a time: on a disk a lock says so, on object storage, which has none, an object that is renewed.

Takes: a run folder's path, or its mirror. Gives: a block in which nobody else drives that run folder.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftray.errors import LockedError, RunFolderError, StorageError
from ftray.files import locked
from ftray.storage import Mirror

LEASE = ".driver.json"

STALE = 60.0
"""Seconds after its last sign of life that a driver counts as gone."""


@contextlib.contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder's copy on this disk; it falls with the process.

    Raises: RunFolderError if another process holds it, or if the file system has no locks.
    """
    with contextlib.ExitStack() as stack:
        try:
            is_locked = stack.enter_context(locked(folder / ".driver", patience=0))
        except LockedError as error:
            raise RunFolderError(
                f"{folder} is being run by another process ({error.holder or 'unknown'}); wait for it, or look with: "
                f"ftray results {folder}"
            ) from None
        if not is_locked:
            raise RunFolderError(
                f"{folder} must lie on a file system with locks, so that one process alone runs the study; name "
                "another folder with --runs, or mount this one with locks (NFS 4)"
            )
        yield


@contextlib.contextmanager
def leased(mirror: Mirror | None, say: Callable[[str], None] = print, stale: float = STALE) -> Iterator[None]:
    """Holds the lease of a run folder on object storage, renewed six times as often as it goes stale.

    What a driver that died left behind is waited for: nobody can tell it from one that is alive. Two drivers that start
    within the same moment both see none; each writes, waits and looks whose lease stands. A driver that slept, as a
    laptop does, looks whose lease stands before it writes anything: what the next one has written since is the truth.

    Raises: RunFolderError if another driver gives signs of life.
    """
    if mirror is None:
        yield
        return
    lease = _Lease(mirror, stale)
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
    """A driver's lease. Times are those of the wall clock: the other one stands still while a machine sleeps."""

    def __init__(self, mirror: Mirror, stale: float):
        self.mirror, self.stale = mirror, stale
        self.driver, self.id = f"{socket.gethostname()}:{os.getpid()}", secrets.token_hex(8)
        self._renewed, self._lost, self._lock = 0.0, "", threading.Lock()

    def take(self, say: Callable[[str], None]) -> None:
        """Watches an existing lease for as long as a living driver would need to renew it, and takes its place."""
        seen, until = self.mirror.read(LEASE), time.monotonic() + self.stale
        if seen is not None and not _of_a_dead_process_here(seen):
            driver = json.loads(seen)["driver"]
            say(f"{driver} drove {self.mirror.url} last: waiting {self.stale:.0f} s for a sign of life")
        while seen is not None and not _of_a_dead_process_here(seen) and time.monotonic() < until:
            time.sleep(self.stale / 20)
            if (now := self.mirror.read(LEASE)) != seen and now is not None:
                raise RunFolderError(
                    f"{self.mirror.url} is being run by another process ({json.loads(now)['driver']}); wait for it, or "
                    f"look with: ftray results {self.mirror.url}"
                )
            seen = seen if now is not None else None
        self._write()
        time.sleep(min(1.0, self.stale / 20))
        if (stands := self._stands()) and stands["id"] != self.id:
            raise RunFolderError(
                f"{self.mirror.url} is being run by another process ({stands['driver']}), which began at the same "
                "moment"
            )

    def keep(self, ended: threading.Event) -> None:
        """Renews it until then."""
        while not ended.wait(self.stale / 6):
            with contextlib.suppress(StorageError):  # the next one may come through; the study itself would say
                self._renew()

    def check(self) -> None:
        """Raises: StorageError where another driver holds it by now."""
        if self._lost or time.time() - self._renewed > self.stale / 2:
            self._renew()

    def give_back(self) -> None:
        if not self._lost:
            self.mirror.delete(LEASE)

    def _renew(self) -> None:
        with self._lock:
            stands = None if self._lost else self._stands()
            if stands is not None and stands["id"] != self.id:
                self._lost = str(stands["driver"])
            if self._lost:
                raise StorageError(
                    f"{self.mirror.url} was taken over by another process ({self._lost}) while this one gave no sign "
                    "of life: nothing that this one did since is written there, and its trials go on in the other"
                )
            self._write()

    def _write(self) -> None:
        lease = {"driver": self.driver, "id": self.id, "boot": _boot(), "at": time.time()}
        self.mirror.write(LEASE, json.dumps(lease).encode())
        self._renewed = time.time()

    def _stands(self) -> dict[str, Any] | None:
        found = self.mirror.read(LEASE)
        return None if found is None else {"id": "", **json.loads(found)}


def _boot() -> str:
    """What tells this machine, since it was started, from others that may have its name; empty where it is unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _of_a_dead_process_here(lease: bytes) -> bool:
    told = json.loads(lease)
    host, _, pid = told["driver"].rpartition(":")
    if host != socket.gethostname() or told.get("boot") != _boot():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()
