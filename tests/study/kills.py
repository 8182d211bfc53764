"""A study whose driver is killed with -9, and sometimes Ray with it, again and again: `python -m tests.study.kills`.

Takes: how many kills, a seed. Gives: what every kill met, and whether in the end every trial is recorded once, in the
same state in the run folder and in Optuna's storage.

A kill comes after a random number of new lines in the study's event files, so that it hits the same places on slow and
fast machines, and a moment later. The trials only report and wait; everything around them is the real thing.
"""

import argparse
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ftray.runs import RunFolder
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials

from .by_hand import stored_trials
from .played import STEPS, play, play_of, study_of

ROOT = Path(__file__).parents[2]
PARTS = ("ends well", "ends well", "is bad", "raises", "ends well", "reports NaN")
EXPECTED = {
    "ends well": {"COMPLETE"}, "is bad": {"COMPLETE", "PRUNED"}, "raises": {"FAILED"}, "reports NaN": {"FAILED"},
    "dies once": {"COMPLETE"},
}  # fmt: skip
PATIENCE = 180
"""Seconds without a sign of life after which something hangs."""


def the_study(n_trials: int):
    plays = [PARTS[number % len(PARTS)] for number in range(n_trials)]
    return study_of("killed", plays, scheduler={"kind": "asha", "grace": 64, "reduction": 2})


def drive(n_trials: int, runs: Path) -> None:
    """The driver that is killed; it begins on request, so that its imports are not timed."""
    from ftray.study.run import run_study

    os.environ["RAY_ADDRESS"] = sys.stdin.readline().strip() or sys.exit("nobody needs this driver")
    run_study(the_study(n_trials), runs, say=lambda line: None, trial_fn=play)


def keep_ray() -> None:
    """A Ray that outlives the drivers, and dies with this process."""
    import ray

    from ftray.capacity.local_ray import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(context.address_info["gcs_address"], flush=True)
    time.sleep(100_000)


class Killer:
    """Starts drivers and Rays and kills them. outcomes: a row for each kill: what was killed, and what it met."""

    def __init__(self, n_trials: int, runs: Path, seed: int):
        self.n_trials, self.runs, self.random = n_trials, runs, random.Random(seed)
        self.folder = runs / "killed"
        self.ray: subprocess.Popen[str] | None = None
        self.outcomes: list[tuple[str, int, str]] = []

    def run(self, n_kills: int) -> None:
        """Kills as often as that, and lets the last driver come to its end."""
        try:
            driver = self._spawn("--drive")
            for number in range(n_kills + 1):
                spare = self._spawn("--drive") if number < n_kills else None  # imports while the other one runs
                with _ended_after(driver):
                    finished = self._one(driver, kill=number < n_kills)
                if finished:
                    if spare is not None:
                        _kill(spare)
                    return
                driver = spare
                assert driver is not None
        finally:
            if self.ray is not None:
                _kill(self.ray)

    def _one(self, driver: subprocess.Popen[str], kill: bool) -> bool:
        """One driver's life; whether it came to its own end."""
        if self.ray is None:
            self.ray = self._spawn("--ray")
            assert self.ray.stdout is not None
            self.address = self.ray.stdout.readline().strip()
        before, wait = self._n_lines(), self.random.randint(1, 12)
        pause, with_ray = self.random.random() / 2, self.random.random() < 0.3
        print(self.address, file=driver.stdin, flush=True)
        alive_at, seen = time.monotonic(), before
        while driver.poll() is None:
            if self._n_lines() != seen:
                alive_at, seen = time.monotonic(), self._n_lines()
            if kill and seen >= before + wait:
                time.sleep(pause)
                _kill(driver)
                if with_ray:
                    _kill(self.ray)
                    self.ray = None
                self.outcomes.append(("driver and Ray" if with_ray else "driver", seen - before, self.states()))
                return False
            assert time.monotonic() - alive_at < PATIENCE, f"nothing happened for {PATIENCE} s: {self.states()}"
            time.sleep(0.05)
        assert driver.returncode == 0, f"after {self.outcomes}, with {self.address}: {driver.communicate()[1]}"
        return True

    def states(self) -> str:
        """What the folder says now, as anyone would read it."""
        if not (self.folder / "study.json").exists():
            return "nothing yet"
        counts = Counter(record.state for record in RunFolder.open(self.folder).records())
        return ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "no trial yet"

    def _spawn(self, what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.study.kills", what, "--trials", str(self.n_trials), str(self.runs)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            cwd=ROOT,
            # Ray asks for a token by default, and a driver that was imported before the address is known offers none.
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token"},
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.PIPE if what == "--drive" else subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def _n_lines(self) -> int:
        files = [self.folder / "events.jsonl", *self.folder.glob("trials/*/events.jsonl")]
        return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


@contextlib.contextmanager
def _ended_after(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def problems(run: RunFolder, n_trials: int) -> list[str]:
    """Whatever is not as it must be in the end."""
    records, found = sampled_trials(run.records()), []
    if [record.number for record in records] != list(range(n_trials)):
        found.append(f"trials {[record.number for record in records]} in place of {n_trials}")
    final = Counter(e["id"] for e in run.events() if e["event"] == "trial_ended" and e["state"] != "INTERRUPTED")
    if final != Counter(record.id for record in records):
        found.append(f"not each recorded once: {final}")
    stored = {trial.number: trial for trial in stored_trials(run)}
    for record in records:
        if record.state not in EXPECTED[play_of(record.values)]:
            found.append(f"{record.id} {play_of(record.values)} and is {record.state}: {record.error}")
        if stored[record.number].state != OPTUNA_STATES.get(record.state):
            found.append(f"{record.id} is {record.state}, and {stored[record.number].state.name} for Optuna")
        steps = [row["iteration"] for row in run.trial_folder(record.id).reports()]
        lost = [(a, b) for a, b in itertools.pairwise(steps) if b <= a and (a, b) != (STEPS, STEPS)]
        if lost:  # the last row may be reported again: it may not have been received
            found.append(f"{record.id} lost what it had done: {steps}")
    if len(stored) != len(records) or not run.is_done:
        found.append(f"{len(stored)} trials for Optuna, {len(records)} in the folder, done: {run.is_done}")
    return found


def table(killer: Killer) -> Iterator[str]:
    yield f"{'kill':>4}  {'of':15}{'after new lines':>16}  the folder then"
    for number, (what, lines, states) in enumerate(killer.outcomes, start=1):
        yield f"{number:4}  {what:15}{lines:16}  {states}"
    yield f" end  {'':15}{'':16}  {killer.states()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="?", help="where the run folder lies (default: a new one)")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, help="default: as many as kills, at least 12")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ray", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    n_trials = given.trials or max(12, given.kills)
    if given.ray:
        keep_ray()
    if given.drive:
        drive(n_trials, given.runs)
        return 0
    killer = Killer(n_trials, given.runs or Path(tempfile.mkdtemp()), given.seed)
    started = time.monotonic()
    killer.run(given.kills)
    found = problems(RunFolder.open(killer.folder), n_trials)
    print("\n".join([*table(killer), *found]))
    print(f"{len(killer.outcomes)} kills, {n_trials} trials, {len(found)} problems, {time.monotonic() - started:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
