"""A study whose run folder lies on object storage: the same as on a disk, wherever it is run, read and continued."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftray.nets import Policy
from ftray.pretraining import read_card
from ftray.runs import RunFolder
from ftray.storage import Mirror

from .kills import problems
from .tiny import tiny_file

ROOT = Path(__file__).parents[2]

PLAYED = """
import sys
from ftray.study.run import run_study
from tests.study.played import play, study_of
run_study(study_of("played", ["ends well"] * 4 + ["dies once", "raises"]), sys.argv[1], trial_fn=play)
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
def test_a_study_on_object_storage_is_complete_for_every_reader(bucket, machine, tmp_path):
    machine("driver")
    file, runs = tiny_file(tmp_path), f"{bucket}/runs"
    tune = ("-m", "ftray", "tune", str(file), "--runs", runs)
    done(command(*tune, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    machine("laptop")
    run = RunFolder.open(f"{runs}/tiny")
    states = [record.state for record in run.records() if record.number is not None]
    assert states == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"] and run.is_done
    assert run.trial_folder("trial-0000").reports() == []  # not requested yet
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
def test_a_study_killed_on_one_machine_continues_from_its_checkpoints_on_another(bucket, machine):
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


def wait_until(condition, seconds: float = 180.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        with contextlib.suppress(InterruptedError):
            time.sleep(0.1)
