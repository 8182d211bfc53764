"""Stops Ray on a worker of your own machines once it cannot reach its head for a minute.

`ray down` stops Ray on the head alone; a worker's raylet then ends by itself, but the processes that it started keep
running. Where the network failed, trials that still run on the worker hold their folders, while the head has restarted
them elsewhere.

    python -m ftray.cluster.watch_head ADDRESS      watches in the background; a second watcher ends at once
"""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ftray.errors import LockedError
from ftray.files import locked

PORT, EVERY, PATIENCE = 6379, 10.0, 60.0
"""The head's port; seconds between two looks; seconds without the head: as long as the head waits for a silent node."""


def watch(reachable: Callable[[], bool], clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Returns when the head was not reachable for `PATIENCE`."""
    seen = clock()
    while clock() - seen < PATIENCE:
        sleep(EVERY)
        if reachable():
            seen = clock()


def is_reachable(address: str) -> bool:
    """Whether a head answers at that address."""
    with contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=5):
        return True
    return False


def main() -> None:
    address, *watching = sys.argv[1:]
    if not watching:
        words = [sys.executable, "-m", "ftray.cluster.watch_head", address, "watching"]
        nowhere = subprocess.DEVNULL
        subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
        return
    try:
        with locked(Path(tempfile.gettempdir()) / "ftray-watch-head", patience=0):
            watch(lambda: is_reachable(address), time.monotonic, time.sleep)
    except LockedError:
        return
    subprocess.run([str(Path(sys.executable).with_name("ray")), "stop", "--force"], check=False)


if __name__ == "__main__":
    main()
