"""Trains fresh seeds of a configuration, one after the other, and prints how far they are.

Takes: a spec and a folder per seed. Gives: each seed once it is trained; one that is trained already at once.

Each seed trains in a process of Ray, as the trials of a study do: what Ray and RLlib write there is in the logs of
Ray's session, and not on the terminal. The progress is read from the trial's folder.
"""

import contextlib
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ftray.agent.names import name_process
from ftray.capacity.cluster_view import nodes_at_hand
from ftray.capacity.local_ray import local_ray
from ftray.errors import TrainingError
from ftray.metrics import ACTIVE_SHARPE, SHARPE, format_metric
from ftray.plugins import carried, load_carried
from ftray.runs import RunFolder, TrialFolder
from ftray.runs.events import Event, EventReader
from ftray.say import Say
from ftray.trial import TrialSpec, place_trial
from ftray.trial.attempt import TrialFn
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.standalone import train_trial
from ftray.units import DURATION

EVERY = 0.5
"""Seconds between two looks at the events of a seed that trains."""


def train_in_turn(
    run: RunFolder,
    specs: Mapping[int, TrialSpec],
    folders: Mapping[int, Path],
    expected: float | None,
    say: Say,
    show: Say,
    trial_fn: TrialFn,
) -> Generator[int]:
    """Trains the seeds that are not trained yet; yields each seed in its turn, trained.

    expected: seconds of a whole seed, as far as is known. say, show: print a line; the status line, in place of the
    last one. trial_fn: what a training does. Raises: FtrayError for what the user can fix.
    """
    progress = _Progress(specs, folders, expected, say, show)
    with contextlib.ExitStack() as until_the_last:
        for seed, spec in specs.items():
            if not is_trained(folders[seed]):
                until_the_last.enter_context(local_ray(say))
                _train(run, seed, spec, folders[seed], progress, trial_fn)
            yield seed


def is_trained(folder: Path) -> bool:
    last = TrialFolder(folder).last_event()
    return last is not None and last["event"] == "finished"


def _train(run: RunFolder, seed: int, spec: TrialSpec, folder: Path, progress: "_Progress", trial_fn: TrialFn) -> None:
    """Trains a seed in a process of this machine, which ends with this one."""
    progress.begin(seed)
    process: Any = ray.remote(**_options(spec))(_SeedProcess).remote(folder, carried())  # type: ignore[attr-defined]
    task = process.train.remote(spec, run, trial_fn)
    try:
        while not ray.wait([task], timeout=EVERY)[0]:
            progress.follow(seed)
        ray.get(task)
        progress.follow(seed)
    except RayTaskError as error:
        raise error.cause from None  # as it was raised there
    except RayError as error:
        raise TrainingError(
            f"the process that trains seed {seed} must live until its end, but died: {str(error).splitlines()[0]} The "
            "same command continues from the last checkpoint"
        ) from None
    finally:
        ray.kill(process)


def _options(spec: TrialSpec) -> dict[str, Any]:
    """On this node, where the run folder is. The learner's share of a GPU is booked as it is in a study."""
    here = ray.get_runtime_context().get_node_id()
    has_gpu = any(node["NodeID"] == here and node["Resources"].get("GPU") for node in ray.nodes())
    return {
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
        "num_cpus": 0,
        "num_gpus": float(place_trial(spec, nodes_at_hand()).shares.learner) if has_gpu else 0.0,
    }


class _SeedProcess:
    """The process that trains a seed. It imports plug-ins first: the spec that arrives later may hold their objects."""

    def __init__(self, folder: Path, plugins: list[dict[str, str]]):
        load_carried(plugins)
        self.folder = TrialFolder(folder)

    def __repr__(self) -> str:
        return f"{self.folder.folder.parent.name} {self.folder.folder.name}"

    def train(self, spec: TrialSpec, run: RunFolder, trial_fn: TrialFn) -> None:
        name_process(self, repr(self))
        torch.set_num_threads(place_trial(spec, ()).threads)
        with self.folder.write_lock():  # a process that a killed command left behind may still be ending
            train_trial(spec, self.folder, run, trial_fn=trial_fn)


class _Progress:
    """What a promotion prints while it trains: how far the seed is, which of how many it is, the time left."""

    def __init__(
        self,
        specs: Mapping[int, TrialSpec],
        folders: Mapping[int, Path],
        expected: float | None,
        say: Say,
        show: Say,
    ):
        self.specs, self.expected, self.say, self.show = specs, expected, say, show
        self._readers = {seed: EventReader(folder / "events.jsonl") for seed, folder in folders.items()}
        self._steps = dict.fromkeys(specs, 0)
        for seed, reader in self._readers.items():
            for event in reader.new():
                self._count(seed, event)
        self._first, self._began = sum(self._steps.values()), time.monotonic()

    def begin(self, seed: int) -> None:
        steps = self._steps[seed]
        again = f", continued after {steps:,} of {self.specs[seed].env_steps:,} steps" if steps else ""
        self.say(f"{self._name(seed)}{again}{self._left()}")
        self.show(f"{self._name(seed)}{self._left()}")

    def follow(self, seed: int) -> None:
        """Prints what the seed has reported since the last call."""
        for event in self._readers[seed].new():
            self._count(seed, event)
            if event["event"] == "out_of_memory":
                tried, smaller = (event[plan] and MemoryPlan(**event[plan]) for plan in ("shape", "next"))
                retried = f"; retried with {smaller.describe(self.specs[seed])}" if smaller else ""
                self.say(f"{self._name(seed)}: out of memory with {tried.describe(self.specs[seed])}{retried}")
            elif event["event"] == "report" and SHARPE in event["metrics"]:
                self.say(f"{self._name(seed)}: {self._shown(seed, event['metrics'])}{self._left()}")
        self.show(f"{self._name(seed)}{self._left()}; Ctrl-C stops, the same command continues")

    def _shown(self, seed: int, metrics: Mapping[str, Any]) -> str:
        ratios = {"validation Sharpe": SHARPE, "active": ACTIVE_SHARPE}
        values = (f"{name} {format_metric(ratio, metrics.get(ratio))}" for name, ratio in ratios.items())
        return f"{self._steps[seed]:,}/{self.specs[seed].env_steps:,} steps, {', '.join(values)}"

    def _count(self, seed: int, event: Event) -> None:
        if event["event"] == "report":
            self._steps[seed] = min(event["metrics"].get("env_steps") or 0, self.specs[seed].env_steps)

    def _name(self, seed: int) -> str:
        return f"seed {seed}, {list(self.specs).index(seed) + 1} of {len(self.specs)}"

    def _left(self) -> str:
        """The time left, by the pace of this command and that of the trial in the search."""
        total = sum(spec.env_steps for spec in self.specs.values())
        done = sum(self._steps.values()) - self._first
        seconds = time.monotonic() - self._began
        if self.expected is not None:  # counts like a seed that was trained already: a process takes a while to start
            done, seconds = done + total / len(self.specs), seconds + self.expected
        left = total - sum(self._steps.values())
        return f", about {DURATION.format(left * seconds / done)} left" if done else ""
