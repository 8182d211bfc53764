"""SIGTERM ends a process like Ctrl-C, whatever Ray makes of it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from ftray.signals import keeping_sigterm, like_ctrl_c, sigterm_like_ctrl_c


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the test process, back after each test. Ctrl-C has Python's own within it: a study that ran in
    the same process before may have left Tune's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_does_what_a_library_made_of_ctrl_c():
    caught = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    with sigterm_like_ctrl_c() as came:
        sigterm()
    assert caught == [signal.SIGINT] and came == [signal.SIGTERM]


def test_the_handler_survives_a_library_that_replaces_it():
    with sigterm_like_ctrl_c() as came:
        with keeping_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt):
            sigterm()
    assert came == [signal.SIGTERM]


def test_a_process_without_a_handler_has_one_afterwards():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with keeping_sigterm():
        pass
    with pytest.raises(KeyboardInterrupt):
        sigterm()


def test_while_the_library_starts_it_ends_like_ctrl_c_too():
    with sigterm_like_ctrl_c() as came, pytest.raises(KeyboardInterrupt), keeping_sigterm():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # as Ray does
        sigterm()
    assert came == [signal.SIGTERM]


def test_in_a_thread_it_changes_nothing():
    before, after = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with sigterm_like_ctrl_c(), keeping_sigterm():
            after.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert after == [before] and before is not like_ctrl_c
