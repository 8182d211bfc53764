"""SIGTERM ends a process like Ctrl-C.

`kill`, `ray job stop`, batch systems and containers send it, and a process that does not handle it ends on the spot.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


def like_ctrl_c(signum: int, frame: Any) -> None:
    """A handler that does what Ctrl-C does now: what a library made of it, like Ray Tune, or a KeyboardInterrupt, also
    where a shell lets its background processes ignore Ctrl-C."""
    ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(ctrl_c):
        ctrl_c(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_like_ctrl_c() -> Iterator[list[int]]:
    """Within the block SIGTERM does what Ctrl-C does. Yields the list of the signals that came."""
    came: list[int] = []

    def handle(signum: int, frame: Any) -> None:
        came.append(signum)
        like_ctrl_c(signum, frame)

    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main one alone
        yield came
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def keeping_sigterm() -> Iterator[None]:
    """For `ray.init`, which replaces SIGTERM's handler: at first by one that exits, then, in its C++ core, by one that
    prints a native stack and aborts.

    The process's own handler is back after the block; where it had none, SIGTERM ends it like Ctrl-C from then on.
    """
    before = signal.getsignal(signal.SIGTERM)
    own = before if callable(before) else like_ctrl_c
    try:
        yield
    except SystemExit:  # SIGTERM came while Ray started
        own(signal.SIGTERM, None)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)
