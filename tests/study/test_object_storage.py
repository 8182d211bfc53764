"""A study whose run folder lies on object storage: the same as on a disk, wherever it is run, read and continued."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ftray.errors import RunFolderError, StorageError
from ftray.nets import Policy
from ftray.pretraining import read_card
from ftray.runs import RunFolder
from ftray.runs.lease import leased
from ftray.storage import Mirror

from .kills import problems
from .tiny import tiny_file

ROOT = Path(__file__).parents[2]

PLAYED = """
import sys
from ftray.study.run import run_study
from tests.study.played import play, study_of
run_study(study_of("played", ["ends well"] * 4 + ["dies once", "raises"]), sys.argv[1], work=play)
"""


def command(*words: str, **how) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, text=True, **how)


def done(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.long
@pytest.mark.ray
def test_a_study_on_object_storage_is_all_there_for_whoever_opens_it(bucket, machine, tmp_path):
    machine("driver")
    file, runs = tiny_file(tmp_path), f"{bucket}/runs"
    tune = ("-m", "ftray", "tune", str(file), "--runs", runs)
    done(command(*tune, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    machine("laptop")
    run = RunFolder.open(f"{runs}/tiny")
    states = [record.state for record in run.records() if record.number is not None]
    assert states == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"] and run.is_done
    assert run.trial_folder("trial-0000").reports() == []  # nobody asked for it yet
    run.fetch()
    assert run.trial_folder("trial-0000").reports()[-1]["runs_done"] == 1
    assert "no such checkpoint" in (run.trial_folder("trial-0001").folder / "error.txt").read_text()
    assert len(Policy.load(run.trial_folder("trial-0000").folder / "policy").layout.symbols) == 2
    (encoder,) = run.encoders_folder.iterdir()
    assert read_card(encoder).validation_loss > 0.0
    assert not [name for name in Mirror(f"{runs}/tiny", "any").names() if ".making" in name or ".driver" in name]
    shown = done(command("-m", "ftray", "results", f"{runs}/tiny", stdout=subprocess.PIPE))
    assert "trial-0000" in shown and "COMPLETE" in shown
    again = done(command(*tune, stdout=subprocess.PIPE))
    assert "is finished: nothing to run" in again


@pytest.mark.long
@pytest.mark.ray
def test_a_study_killed_on_one_machine_goes_on_from_its_checkpoints_on_another(bucket, machine):
    cache, runs = machine("first"), f"{bucket}/killed"
    with command("-c", PLAYED, runs, start_new_session=True, stdout=subprocess.DEVNULL) as driver:
        there = Mirror(f"{runs}/played", "watch")
        wait_until(lambda: any(name.endswith("checkpoint.json") for name in there.names("trials")))
        os.killpg(driver.pid, signal.SIGKILL)
    assert RunFolder.open(f"{runs}/played").is_done is False and cache.exists()
    machine("second")
    done(command("-c", PLAYED, runs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    run = RunFolder.open(f"{runs}/played", "look")
    run.fetch()
    assert problems(run, 6) == []
    assert [record.state for record in run.records()] == ["COMPLETE"] * 5 + ["FAILED"]


def test_what_a_dead_driver_left_behind_is_waited_for_and_taken(bucket, machine):
    machine("here")
    mirror = Mirror(f"{bucket}/left", "driver")
    mirror.write(".driver.json", lease(1))
    began = time.monotonic()
    said: list[str] = []
    with leased(mirror, said.append, stale=1.0):
        assert time.monotonic() - began >= 1.0
    assert said == [f"elsewhere:1 drove {mirror.url} last: waiting 1 s for a sign of life"]
    assert mirror.names() == []


def test_a_second_driver_is_refused_while_the_first_gives_signs_of_life(bucket, machine):
    machine("here")
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


def test_a_process_that_is_gone_is_waited_for_where_it_may_have_run_on_a_machine_of_the_same_name(bucket, machine):
    machine("here")
    mirror = Mirror(f"{bucket}/namesake", "driver")
    gone = {"driver": f"{socket.gethostname()}:{2**22 + 1}", "boot": "another one's", "at": 0}
    mirror.write(".driver.json", json.dumps(gone).encode())
    said: list[str] = []
    with leased(mirror, said.append, stale=0.5):
        pass
    assert len(said) == 1


def lease(at: int) -> bytes:
    return json.dumps({"driver": "elsewhere:1", "at": at}).encode()


def wait_until(condition, seconds: float = 180.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        with contextlib.suppress(InterruptedError):
            time.sleep(0.1)
