"""One Ray and one finished study per test process, and the real candles where they are stored next to the project."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ftray.runs import RunFolder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two torch threads per test process on a shared machine are slower

# Hypothesis without a stopwatch: on a shared machine an example may take as long as it likes. `make test` draws few
# examples, the same in every run; `make test-long` draws all of them, new ones each time.
settings.register_profile("few", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("many", deadline=None)
settings.load_profile("few")

collect_ignore = ["sample_plugin"]
"""Somebody else's package: `testing/test_sample_plugin.py` runs its tests in a process of its own."""

CANDLES = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need Ray come first: they take longest. `--dist loadfile` runs each file in one worker, so that its
    fixtures are made once: under pytest 9.2, xdist 3.8 loses every `xdist_group`."""
    for item in items:
        if item.get_closest_marker("real_data") and not CANDLES.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no candles at {CANDLES}"))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)  # stable: within a file the order stays


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


@dataclasses.dataclass(frozen=True)
class Finished:
    """A study that ran to its end. file: its description; lines: what it said."""

    run: RunFolder
    file: Path
    lines: tuple[str, ...]


@pytest.fixture(scope="session")
def finished(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny study, really trained, for tests that only read it; a test that changes it changes a copy."""
    from ftray.study import load_study
    from ftray.study.run import run_study

    from .study.tiny import tiny_file

    folder, lines = tmp_path_factory.mktemp("finished"), []
    file = tiny_file(folder, max_concurrent=1)
    run = run_study(load_study(file), folder / "runs", say=lines.append)
    return Finished(run, file, tuple(lines))


@pytest.fixture(scope="module")
def without_probes() -> Iterator[None]:
    """Pre-trained encoders are not probed: that takes ten times as long as the training of such small ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftray.pretraining.probes.PROBES", {})
        yield


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
