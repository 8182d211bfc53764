"""One Ray cluster per test session, and the real candles where they lie beside the project."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two torch threads per test process on a shared machine are slower

# Hypothesis without a stopwatch: on a shared machine an example may take as long as it likes.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

CANDLES = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever shares a Ray runs in one worker, so that one cluster serves it all, and what starts its own Ray in
    another; hosts in a third, one lab at a time; any other file in one, so that what it makes is made once."""
    for item in items:
        group = str(item.path)
        if item.get_closest_marker("ray"):
            group = "the shared Ray" if "cluster" in getattr(item, "fixturenames", ()) else "a Ray of one's own"
        if item.get_closest_marker("hosts"):
            group = "hosts"
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("real_data") and not CANDLES.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no candles at {CANDLES}"))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)  # the longest groups first; else order is kept


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A local Ray with two CPUs, as on a small laptop."""
    import ray

    small_ray()
    yield
    ray.shutdown()


def small_ray() -> None:
    import ray

    from ftray.capacity.local_ray import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    # "local": another Ray may run on this machine, and without an address this one would join it.
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of a real S3 server."""
    from .object_storage import s3_server

    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def bucket(s3: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a bucket of the module's own."""
    from .object_storage import s3_bucket

    with s3_bucket(s3, request.module.__name__.rpartition(".")[2].replace("_", "-")) as url:
        yield url


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Makes this a machine that has seen nothing yet, of that name; where its copies of object storage lie."""

    def named(name: str) -> Path:
        monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / name))
        return tmp_path / name

    return named
