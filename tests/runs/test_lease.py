"""One driver at a time on object storage, however slow it is, and whoever slept."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftray.errors import MissingDependencyError, RunFolderError, StorageError
from ftray.runs import RunFolder
from ftray.runs.lease import leased
from ftray.storage import Mirror
from tests.slow_storage import Slow, SlowStorage, slow_storage

ROOT = Path(__file__).parents[2]

DRIVER = """
import sys
from ftray.errors import RunFolderError
from ftray.runs.lease import leased
from ftray.storage import Mirror
print("ready", flush=True)
for url in iter(sys.stdin.readline, ""):
    try:
        with leased(Mirror(url.strip(), "driver"), lambda line: None, stale=1.0):
            print("drives", flush=True)
            sys.stdin.readline()
    except RunFolderError as error:
        print(error, flush=True)
"""


@pytest.fixture(scope="module")
def slow(bucket) -> Iterator[tuple[str, SlowStorage]]:
    with slow_storage(os.environ["AWS_ENDPOINT_URL"], ".driver.json") as made:
        yield made


@pytest.fixture(scope="module")
def drivers(slow) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that drive the run folder whose URL they read, until they read another line."""
    environment = os.environ | {"AWS_ENDPOINT_URL": slow[0]}
    words, pipe = [sys.executable, "-c", DRIVER], subprocess.PIPE
    started = [subprocess.Popen(words, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for driver in started:
        assert driver.stdout.readline() == "ready\n"  # type: ignore[union-attr]
    yield started
    for driver in started:
        driver.communicate()


def outcomes(drivers, url: str) -> list[str]:
    """What becomes of two drivers that begin at the same moment."""
    for driver in drivers:
        driver.stdin.write(f"{url}\n")
        driver.stdin.flush()
    found = [driver.stdout.readline().strip() for driver in drivers]
    for driver, outcome in zip(drivers, found, strict=True):
        if outcome == "drives":
            driver.stdin.write("\n")
            driver.stdin.flush()
    return found


@pytest.mark.parametrize("left_behind", [False, True], ids=["a free folder", "a dead driver's folder"])
@pytest.mark.parametrize(
    "slowness",
    [
        (Slow(), Slow(before=0.3)),
        (Slow(before=0.1), Slow(before=0.4)),
        (Slow(before=0.4), Slow(before=1.5)),
        (Slow(after=1.5), Slow()),
        (Slow(lost=True), Slow(before=0.3)),
    ],
    ids=["0 and 0.3 s", "0.1 and 0.4 s", "0.4 and 1.5 s", "a late answer", "a lost answer"],
)
def test_of_two_drivers_that_begin_at_the_same_moment_one_drives_however_long_a_write_takes(
    slowness, left_behind, bucket, slow, drivers, request
):
    url = f"{bucket}/{request.node.callspec.id.replace(' ', '-')}"
    mirror = Mirror(url, "look")
    if left_behind:
        mirror.write(".driver.json", lease(1))
    slow[1].expect(*slowness)
    one, other = sorted(outcomes(drivers, url), key=lambda outcome: outcome != "drives")
    assert one == "drives" and "is being run by another process" in other
    until = time.monotonic() + 60.0
    while mirror.names():  # the lease is given back
        assert time.monotonic() < until


def test_what_a_dead_driver_left_behind_is_waited_for_and_taken(bucket):
    mirror = Mirror(f"{bucket}/left", "driver")
    mirror.write(".driver.json", lease(1))
    began = time.monotonic()
    lines: list[str] = []
    with leased(mirror, lines.append, stale=1.0):
        assert time.monotonic() - began >= 1.0
    assert lines == [f"elsewhere:1 drove {mirror.url} last: waiting 1 s for a sign of life"]
    assert mirror.names() == []


def test_a_second_driver_is_refused_while_the_first_gives_signs_of_life(bucket):
    mirror, ended = Mirror(f"{bucket}/leased", "driver"), threading.Event()

    def live() -> None:
        for second in itertools.count():
            mirror.write(".driver.json", lease(second))
            if ended.wait(0.2):
                return

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(RunFolderError, match=r"being run by another process \(elsewhere:1\)"):  # noqa: SIM117
            with leased(Mirror(mirror.url, "another"), stale=20.0):
                pass
    finally:
        ended.set()
        thread.join()


def test_a_driver_that_slept_while_another_took_over_writes_nothing_more(bucket, machine):
    machine("here")
    run = RunFolder.create(f"{bucket}/slept", {"name": "slept"})
    mirror, awake = run.mirror, Mirror(run.mirror.url, "awake")
    with pytest.raises(StorageError, match=r"taken over by another process \(elsewhere:1\)"), run.driven():
        run.append_event("mine")
        run.sync("events.jsonl")
        before = awake.read("events.jsonl")
        awake.write(".driver.json", lease(1))
        mirror.guard.__self__._renewed -= 3600.0  # an hour with the lid closed
        run.append_event("mine, too late")
        run.sync("events.jsonl")
    assert awake.read("events.jsonl") == before
    assert awake.read(".driver.json") == lease(1), "the lease is the other one's"


def test_a_driver_that_slept_until_its_end_leaves_the_lease_of_the_next_one(bucket):
    mirror = Mirror(f"{bucket}/overslept", "driver")
    with leased(mirror, stale=60.0):
        mirror.write(".driver.json", lease(1))
        mirror.guard.__self__._renewed -= 3600.0
    assert mirror.read(".driver.json") == lease(1)


def test_a_lease_that_was_deleted_is_taken_again(bucket):
    mirror = Mirror(f"{bucket}/deleted", "driver")
    with leased(mirror, stale=60.0):
        Mirror(mirror.url, "somebody").delete(".driver.json")
        mirror.guard.__self__._renewed -= 3600.0
        mirror.write("a", b"1")
        mirror.guard()
        assert json.loads(mirror.read(".driver.json"))["driver"].endswith(f":{os.getpid()}")


def test_a_process_that_is_gone_is_waited_for_where_it_may_have_run_on_a_machine_of_the_same_name(bucket):
    mirror = Mirror(f"{bucket}/namesake", "driver")
    gone = {"driver": f"{socket.gethostname()}:{2**22 + 1}", "boot": "another one's", "at": 0}
    mirror.write(".driver.json", json.dumps(gone).encode())
    lines: list[str] = []
    with leased(mirror, lines.append, stale=0.5):
        pass
    assert len(lines) == 1


def test_a_damaged_lease_is_waited_for_like_any_other(bucket):
    mirror = Mirror(f"{bucket}/damaged", "driver")
    mirror.write(".driver.json", b"{")
    lines: list[str] = []
    with leased(mirror, lines.append, stale=0.5):
        pass
    assert lines[0].startswith("unknown drove")


def test_a_bucket_that_does_not_exist_is_named(bucket):
    with pytest.raises(StorageError, match=r"s3://nobodys/x/\.driver\.json must be readable and writable"):  # noqa: SIM117
        with leased(Mirror("s3://nobodys/x", "driver")):
            pass


def test_a_server_that_ignores_conditions_is_refused(bucket, slow, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", slow[0])
    monkeypatch.setattr(slow[1], "ignores_conditions", True)
    mirror = Mirror(f"{bucket}/old-server", "driver")
    with pytest.raises(StorageError, match="must lie on a server that honours If-None-Match"), leased(mirror):
        pass
    assert mirror.names() == []


def test_a_lease_finds_credentials_where_everything_else_does(bucket, slow, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = ofteam\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", slow[0])
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    mirror = Mirror(f"{bucket}/of-team", "driver")
    for part in (contextlib.nullcontext(), leased(mirror)):
        slow[1].keys.clear()
        with part:
            mirror.write("a", b"1")
        assert slow[1].keys == {"ofteam"}


def test_without_the_library_that_writes_it_a_lease_is_refused_with_the_line_that_installs_it(bucket, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(MissingDependencyError, match=r"obstore.*pip install 'ftray\[storage\]'"):  # noqa: SIM117
        with leased(Mirror(f"{bucket}/x", "driver")):
            pass


def lease(at: int) -> bytes:
    return json.dumps({"driver": "elsewhere:1", "at": at}).encode()
