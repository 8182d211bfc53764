"""On a worker of one's own: once its head cannot be reached for a minute, everything of Ray there is stopped.

`ray down` stops the head alone; a worker's raylet then ends by itself, and not what it had started. And where it is the
cable that was cut, trials that still run there hold their folders, while the head has started them elsewhere.

    python -m ftray.cluster.watch_head ADDRESS      watches in the background, once however often it is started
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
"""The head's; seconds between two looks; seconds without the head: as many as the head waits for a silent node."""


def watch(reachable: Callable[[], bool], clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Returns when nothing was reachable for `PATIENCE`."""
    seen = clock()
    while clock() - seen < PATIENCE:
        sleep(EVERY)
        if reachable():
            seen = clock()


def answers(address: str) -> bool:
    """Whether a head answers there."""
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
            watch(lambda: answers(address), time.monotonic, time.sleep)
    except LockedError:
        return
    subprocess.run([str(Path(sys.executable).with_name("ray")), "stop", "--force"], check=False)


if __name__ == "__main__":
    main()
