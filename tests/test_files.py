"""The ground floor: what is replaced is whole before and after, and a lock has one holder, who is named."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftray.errors import LockedError
from ftray.files import cache_dir, create_folder, locked, partial_file, replace_file, replace_folder

ROOT = Path(__file__).parents[1]

HOLDER = """
import sys, time
from pathlib import Path
from ftray.files import locked
with locked(Path(sys.argv[1]), delete=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock `lock` until its standard input ends."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_file_is_replaced_whole_or_stays_as_it_was_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "new" / "a.txt"
    replace_file(file, b"old")
    with pytest.raises(RuntimeError), partial_file(file) as partial:
        partial.write_bytes(b"ha")
        raise RuntimeError("half written")
    assert file.read_bytes() == b"old"
    replace_file(file, b"new")
    assert file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_is_replaced_whole_or_stays_as_it_was_and_leaves_nothing_else(tmp_path):
    for content in ("old", "new"):
        with replace_folder(tmp_path / "a") as folder:
            (folder / "content").write_text(content)
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "a") as folder:
        raise RuntimeError("half written")
    assert (tmp_path / "a" / "content").read_text() == "new" and (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_folder_that_is_created_never_replaces_one(tmp_path):
    with (
        create_folder(tmp_path / "a") as first,
        pytest.raises(FileExistsError),
        create_folder(tmp_path / "b") as folder,
    ):
        (first / "content").write_text("first")
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "theirs").touch()
        (folder / "ours").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "a", "a/content", "b", "b/theirs",
    ]  # fmt: skip


def test_what_is_replaced_reaches_the_disk_and_so_does_its_name(tmp_path, monkeypatch):
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    replace_file(tmp_path / "a.txt", b"1")
    assert synced[0].startswith(".a.txt-") and synced[1:] == [tmp_path.name]
    synced.clear()
    with replace_folder(tmp_path / "b") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "c").touch()
    assert {"c", "deep"} < set(synced) and synced[-1] == tmp_path.name
    synced.clear()
    with partial_file(tmp_path / "copy", durable=False) as partial:
        partial.write_bytes(b"can be fetched again")
    assert synced == []


def test_a_lock_that_another_process_holds_is_refused_with_its_name(holder, tmp_path):
    for patience in (0.0, 0.2):
        with pytest.raises(LockedError, match=rf"lock is locked by \S+:{holder.pid};"):  # noqa: SIM117
            with locked(tmp_path / "lock", patience=patience):
                pass
    with (
        pytest.raises(RuntimeError, match=rf":{holder.pid}$"),
        locked(tmp_path / "lock", patience=0, busy=RuntimeError),
    ):
        pass


def test_a_lock_is_waited_for_and_its_file_is_deleted_by_each_holder(holder, tmp_path):
    found: list[bool] = []

    def wait() -> None:
        with locked(tmp_path / "lock", delete=True) as is_locked:
            found.append(is_locked)

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    waiting[0].join(0.3)
    assert all(thread.is_alive() for thread in waiting) and found == []
    holder.stdin.close()
    for thread in waiting:
        thread.join()
    assert holder.wait() == 0 and found == [True] * 3 and list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "lock", patience=5.0) as is_locked:
        assert is_locked and (tmp_path / "lock").read_text().endswith(f":{os.getpid()}\n")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_no_process_out_and_says_so(number, tmp_path, monkeypatch):
    def unknown(file, operation) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock", delete=True) as second:
        assert not first and not second
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_file_system_without_locks(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere" / "lock"):
        pass


def test_the_cache_is_where_its_variable_says(monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("FTRAY_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "ftray"
