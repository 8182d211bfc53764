"""One table: what the run folder, Optuna's storage and Tune's live state say of a trial, whatever happened to it.

| the run folder | Optuna   | Tune                                                                        |
|----------------|----------|-----------------------------------------------------------------------------|
| COMPLETE       | COMPLETE | TERMINATED                                                                  |
| PRUNED         | PRUNED   | TERMINATED                                                                  |
| FAILED         | FAIL     | TERMINATED where the process stored its error; ERROR where it died          |
| INTERRUPTED    | RUNNING  | a trial of its own for each stretch; the last one TERMINATED, or its driver is gone |
| RUNNING        | RUNNING  | RUNNING, or its driver was killed; the next one makes it INTERRUPTED        |

A trial whose process dies or runs out of memory is one of the folder's and Optuna's, and one of Tune's per stretch.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import ray
from ray import tune

from ftray.runs import RunFolder
from ftray.study.run import run_study

from .by_hand import assert_stores_agree, assert_tensorboard_agrees, stored_trials
from .played import PER_REPORT, STEPS, play, study_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

TABLE = {
    "ends well": ("COMPLETE", "COMPLETE", ["TERMINATED"]),
    "raises": ("FAILED", "FAIL", ["TERMINATED"]),
    "reports NaN": ("FAILED", "FAIL", ["TERMINATED"]),
    "reports no metric": ("FAILED", "FAIL", ["TERMINATED"]),
    "needs a smaller plan": ("COMPLETE", "COMPLETE", ["TERMINATED", "TERMINATED"]),
    "fits in no plan": ("FAILED", "FAIL", ["TERMINATED", "TERMINATED"]),
    "dies once": ("COMPLETE", "COMPLETE", ["ERROR", "TERMINATED"]),
    "dies always": ("FAILED", "FAIL", ["ERROR", "ERROR"]),  # the second process gets no further than the first
    "is bad": ("PRUNED", "PRUNED", ["TERMINATED"]),
}
ERRORS = {
    "raises": "ValueError: as scripted",
    "reports NaN": "validation/sharpe is None: not a number to compare",
    "reports no metric": "validation/sharpe is None: not a number to compare",
    "fits in no plan": "out of memory with every memory plan",
    "dies always": "its process died more than 1 times and got no further",
}

THE_DRIVER = """
import json, sys
from pathlib import Path
from ftray.errors import StudyInterruptedError
from ftray.study.run import run_study
from tests.study.played import play, study_of
from tests.study.test_states import Live
live, spec = Live(), study_of("stopped", ["ends well", "waits"])
try:
    run_study(spec, Path(sys.argv[1]), say=lambda line: None, trial_fn=play, callbacks=[live])
except StudyInterruptedError:
    print(json.dumps(live.statuses()))
"""


class Live(tune.Callback):
    """Remembers Tune's own trials, to ask them for their state when all is over."""

    def __init__(self):
        self.trials = []

    def __getstate__(self):
        """Nothing: Tune pickles callbacks into a snapshot that is never restored."""
        return {}

    def on_step_end(self, iteration, trials, **info):
        self.trials = trials

    def statuses(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for trial in self.trials:
            found.setdefault(trial.config["id"], []).append(trial.status)
        return found


def assert_ended_once(run: RunFolder) -> None:
    """Every start of a trial has one end, and one of the ends is final."""
    events = [event for event in run.events() if event["event"] in ("trial_started", "trial_ended")]
    starts = Counter(event["id"] for event in events if event["event"] == "trial_started")
    ends = Counter(event["id"] for event in events if event["event"] == "trial_ended")
    final = [event["id"] for event in events if event.get("state", "INTERRUPTED") != "INTERRUPTED"]
    assert starts == ends and sorted(final) == sorted(record.id for record in run.records())


def test_all_three_stores_agree_on_what_happened_to_a_trial(tmp_path):
    spec = study_of("table", list(TABLE), max_failures=1, scheduler={"kind": "asha", "grace": 64, "reduction": 2})
    lines: list[str] = []
    live = Live()
    run = run_study(spec, tmp_path, say=lines.append, trial_fn=play, callbacks=[live])
    assert_tensorboard_agrees(run)
    stored, statuses = stored_trials(run), live.statuses()
    found = {
        part: (record.state, stored[record.number].state.name, statuses[record.id])
        for part, record in zip(TABLE, run.records(), strict=True)
    }
    for part, states in found.items():
        print(f"{part:24}{states}")
    assert found == TABLE
    died, once = (f"trial-{list(TABLE).index(part):04d}" for part in ("dies always", "dies once"))
    assert f"3 processes crashed ({died} 2 times, {once}); " in lines[-1]
    assert Path(lines[-1].split()[-1]).is_file()
    assert_stores_agree(spec, run)  # values, curves and parameters too
    assert_ended_once(run)
    for part, record in zip(TABLE, run.records(), strict=True):
        assert (record.error or "").startswith(ERRORS.get(part, "")) and bool(record.error) == (part in ERRORS), part
        assert record.metrics["cost/cpu_seconds"] > 0, part
    assert run.is_done


@pytest.mark.long
@pytest.mark.parametrize("event", ["Ctrl-C", "kill -9 of the driver", "kill -9 of everything"])
def test_all_three_stores_agree_on_what_happened_to_a_driver_and_the_same_command_continues(tmp_path, event):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    if event != "kill -9 of everything":  # of this Ray nothing is killed
        environment |= {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-c", THE_DRIVER, str(tmp_path)]
    pipe = subprocess.PIPE
    driver = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    run = _waits_alone(tmp_path / "stopped", driver)
    if event == "Ctrl-C":
        driver.send_signal(signal.SIGINT)
    else:
        os.killpg(driver.pid, signal.SIGKILL)
    out, errors = driver.communicate(timeout=100)

    states = [record.state for record in run.records()]
    assert states == ["COMPLETE", "INTERRUPTED" if event == "Ctrl-C" else "RUNNING"], errors
    assert [trial.state.name for trial in stored_trials(run)] == ["COMPLETE", "RUNNING"]
    spec = study_of("stopped", ["ends well", "waits"])
    assert_stores_agree(spec, run)
    if event == "Ctrl-C":
        assert json.loads(out.splitlines()[-1]) == {"trial-0000": ["TERMINATED"], "trial-0001": ["TERMINATED"]}
    kept, spent = run.record("trial-0000"), run.trial_folder("trial-0001").cost()["cost/cpu_seconds"]

    live = Live()
    run = run_study(spec, tmp_path, say=lambda line: None, trial_fn=play, callbacks=[live])
    assert [record.state for record in run.records()] == ["COMPLETE", "COMPLETE"]
    assert live.statuses() == {"trial-0001": ["TERMINATED"]}
    assert_stores_agree(spec, run)
    assert_ended_once(run)
    assert run.record("trial-0000") == kept
    steps = [row["env_steps"] for row in run.trial_folder("trial-0001").reports()]
    assert steps == [PER_REPORT * step for step in range(1, STEPS + 1)]  # on from where it was, nothing twice
    assert run.record("trial-0001").metrics["cost/cpu_seconds"] > spent > 0


def _waits_alone(path: Path, driver: subprocess.Popen[str]) -> RunFolder:
    """The run folder, as soon as the first trial has ended and the second one waits in the middle."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()
        if (path / "study.json").exists():
            run = RunFolder.open(path)
            if [record.state for record in run.records()] == ["COMPLETE", "RUNNING"]:
                ended, waits = stored_trials(run)  # the driver hears of both a moment later, in either order
                if ended.state.name == "COMPLETE" and len(waits.intermediate_values) == 2:
                    return run
        time.sleep(0.2)
    raise AssertionError(f"the second trial never waited: {driver.communicate()}")
