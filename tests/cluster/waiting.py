"""Waits for a condition, and fails with what was waited for."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.25) -> Any:
    """What `condition` gives once it is true of anything. Raises: AssertionError if that takes longer than so long."""
    end = time.monotonic() + seconds
    while True:
        if given := condition():
            return given
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(every)
