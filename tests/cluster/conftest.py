"""One head of one's own for all tests here that submit to it."""

from collections.abc import Iterator

import pytest

from ftray.capacity.local_ray import WORKER_ENVIRONMENT
from ftray.cluster.dashboard import Dashboard

from .head import Head, a_head, board_of


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with a_head(tmp_path_factory.mktemp("home")) as running:
        assert not WORKER_ENVIRONMENT.keys() & running.environment.keys(), "the head must start without them"
        yield running


@pytest.fixture
def board(head: Head, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    with board_of(head, monkeypatch) as board:
        yield board
