"""A worker whose head has gone stops itself: after a minute without it, and not for a short silence."""

from ftray.cluster.watch_head import EVERY, PATIENCE, is_reachable, watch


class Head:
    """Reachable while a test says so; time passes as it is slept away."""

    def __init__(self, *reachable: bool):
        self.looks, self.seconds = list(reachable), 0.0

    def reachable(self) -> bool:
        return self.looks.pop(0) if self.looks else False

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def watched_for(*reachable: bool) -> float:
    head = Head(*reachable)
    watch(head.reachable, lambda: head.seconds, head.sleep)
    return head.seconds


def test_a_head_that_is_gone_is_waited_for_for_a_minute_and_no_longer():
    assert watched_for() == PATIENCE
    assert watched_for(True, True) == 2 * EVERY + PATIENCE


def test_a_silence_shorter_than_that_is_none():
    short = int(PATIENCE / EVERY) - 1
    assert watched_for(*[False] * short, True) == (short + 1) * EVERY + PATIENCE


def test_nothing_is_reachable_where_there_is_no_head():
    assert is_reachable("127.0.0.255") is False
