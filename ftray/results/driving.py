"""One driver at a time: on a disk a lock says so, on object storage, which has none, an object that is renewed.

Takes: a run folder's path, or its mirror. Gives: a block in which nobody else drives that run folder.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ftray.errors import RunFolderError, StorageError
from ftray.storage import Mirror

LEASE = ".driver.json"

STALE = 60.0
"""Seconds after its last sign of life that a driver counts as gone."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder's copy on this disk; it falls with the process.

    Raises: RunFolderError if another process holds it.
    """
    with (folder / ".driver").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"{folder} is being run by another process; wait for it, or look with: ftray results {folder}"
            ) from None
        yield


@contextlib.contextmanager
def leased(mirror: Mirror | None, say: Callable[[str], None] = print, stale: float = STALE) -> Iterator[None]:
    """Holds the lease of a run folder on object storage, renewed six times as often as it goes stale.

    What a driver that died left behind is waited for: nobody can tell it from one that is alive. Two drivers that start
    within the same moment both see none; each writes, waits and looks whose lease stands.

    Raises: RunFolderError if another driver gives signs of life.
    """
    if mirror is None:
        yield
        return
    me = f"{socket.gethostname()}:{os.getpid()}"
    _wait_for(mirror, me, say, stale)
    ended = threading.Event()
    renewer = threading.Thread(target=_renew, args=(mirror, me, stale / 6, ended), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        ended.set()
        renewer.join()
        mirror.delete(LEASE)


def _wait_for(mirror: Mirror, me: str, say: Callable[[str], None], stale: float) -> None:
    """Watches an existing lease for as long as a living driver would need to renew it."""
    seen, until = mirror.read(LEASE), time.monotonic() + stale
    if seen is not None and not _of_a_dead_process_here(seen):
        say(f"{json.loads(seen)['driver']} drove {mirror.url} last: waiting {stale:.0f} s for a sign of life")
    while seen is not None and not _of_a_dead_process_here(seen) and time.monotonic() < until:
        time.sleep(stale / 20)
        if (now := mirror.read(LEASE)) != seen and now is not None:
            holder = json.loads(now)["driver"]
            raise RunFolderError(
                f"{mirror.url} is being run by another process ({holder}); wait for it, or look with: "
                f"ftray results {mirror.url}"
            )
        seen = seen if now is not None else None
    mirror.write(LEASE, _lease(me))
    time.sleep(min(1.0, stale / 20))
    if (stands := json.loads(mirror.read(LEASE) or b"{}").get("driver")) != me:
        raise RunFolderError(f"{mirror.url} is being run by another process ({stands}), which began at the same moment")


def _renew(mirror: Mirror, me: str, every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        with contextlib.suppress(StorageError):  # the next one may come through; the study itself would say
            mirror.write(LEASE, _lease(me))


def _lease(me: str) -> bytes:
    return json.dumps({"driver": me, "at": time.time()}).encode()


def _of_a_dead_process_here(lease: bytes) -> bool:
    host, _, pid = json.loads(lease)["driver"].rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()
