"""What the machinery of a study costs per trial, with trials that sleep and report, and how fast results are read.

    python benchmarks/study.py --json FILE [--quick]

Everything but the training is real: searcher, Optuna's journal, run folder, scheduler, Tune, processes. Four studies
run. The crowded one gives out so many short trials that the driver's own part shows; it is counted over the last half
of the trials, when all processes run (they take seconds to start, and then one trial after the other). The chatty one
is the same with ten times the reports. The calm one has a driver with nothing to do, so what its trials lose is what
any trial loses between two others; that is held against trials of a minute. The one on a GPU is calm, too, and starts a
process for each trial, as any study on GPUs does; the GPU itself is a number that Ray gets, for nothing touches it.
Sleeping trials need no core: Ray is given one per trial. Then Optuna is asked for a configuration after so many
others, and a study is opened, continued and read that has so many trials. Reading is counted in processor seconds,
which a busy machine stretches less than wall time.

Linux: memory is read from /proc.
"""

import argparse
import dataclasses
import datetime
import functools
import json
import logging
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import ray
from measuring import machine, table

import ftray.study.run
from ftray.analysis.leaderboard import leaderboard_rows
from ftray.capacity.local_ray import ENVIRONMENT
from ftray.runs import RunFolder
from ftray.runs.events import to_json
from ftray.search.objectives import objectives_of
from ftray.spec import to_mapping
from ftray.study import StudySpec, parse_study
from ftray.study.searcher import StudySearcher
from ftray.tables.parquet import compact
from ftray.trial import TrialSpec
from ftray.vram.probe import GpuFacts

N_REPORTS = 4
STUDIES: dict[str, dict[str, Any]] = {
    "crowded": {"n_trials": 500, "seconds": 1.0, "at_once": 20},
    "chatty": {"n_trials": 100, "seconds": 4.0, "at_once": 8, "n_reports": 10 * N_REPORTS},
    "calm": {"n_trials": 40, "seconds": 10.0, "at_once": 4},
    "on a GPU": {"n_trials": 10, "seconds": 3.0, "at_once": 1, "gpu": True},
}
QUICK: dict[str, dict[str, Any]] = {
    "crowded": {"n_trials": 40, "seconds": 1.0, "at_once": 6},  # each process takes seconds of a core to start
    "chatty": {"n_trials": 12, "seconds": 2.0, "at_once": 6, "n_reports": 10 * N_REPORTS},
    "calm": {"n_trials": 6, "seconds": 3.0, "at_once": 2},
    "on a GPU": {"n_trials": 3, "seconds": 3.0, "at_once": 1, "gpu": True},
}
N_READ = 10_000
ASKED, QUICK_ASKED = (100, 1_000, 10_000), (100, 1_000)
"""Trials that Optuna knows when it is asked for the next one."""
N_ASKED = 5
MINUTE = 60.0
OVERHEAD, READING, GROWTH = 0.02, 1.0, 0.10
"""At most: share of a one-minute trial, seconds to read 10,000 trials, growth of memory over the last half."""

METRICS = {f"validation/{name}": 0.5 for name in ("sharpe", "total_return", "max_drawdown", "turnover", "exposure")} | {
    f"encoder/attention/asset/{i}": 0.5 for i in range(18)
}
"""As many figures as a trial reports."""


def simulated(spec: TrialSpec, report: Any, *, seconds: float, n_reports: int, **how: Any) -> None:
    """A trial that learns nothing."""
    for part in range(1, n_reports + 1):
        time.sleep(seconds / n_reports)
        done = int(part == n_reports)
        steps = spec.ppo.env_steps * part // n_reports
        figures = METRICS | {"validation/sharpe": spec.ppo.learning_rate * part}
        report({"env_steps": steps, "iteration": part, "run_done": done, "runs_done": done, **figures})


def sleeping_study(n_trials: int, at_once: int) -> StudySpec:
    """Four search parameters, one of them conditional; TPE after ten; no ASHA: every trial must take its time."""
    trial = {
        "market": {"kind": "simulator", "n_assets": 2, "n_bars": 1200},
        "features": {"lookback": 8, "indicators": ["close", "rsi"]},
        "encoder": {
            "choice": [
                {"kind": "mlp", "hidden": {"int": [64, 512, 64]}, "encoding_dim": 64},
                {"kind": "ft", "d_token": 32, "n_blocks": 1, "n_heads": 2, "encoding_dim": 256},
            ]
        },
        "ppo": {"learning_rate": {"log": [1e-5, 1e-3]}, "gamma": {"float": [0.9, 0.99]}, "n_env_runners": 0},
        "onnx": False,
    }
    return parse_study(
        {"name": "sleeping", "trial": trial, "search": {"n_trials": n_trials, "max_concurrent": at_once}}
    )


class Memory(threading.Thread):
    """This process's resident memory, noted every half second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int]] = []
        self.began, self.ended = time.perf_counter(), threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append((time.perf_counter() - self.began, pages * os.sysconf("SC_PAGE_SIZE")))

    def growth(self) -> dict[str, Any]:
        """Medians of the third and of the last quarter of the time: the first half fills caches."""
        mib = [size / 2**20 for _, size in self.samples]
        quarter = max(1, len(mib) // 4)
        before, after = (statistics.median(part) for part in (mib[2 * quarter : 3 * quarter] or mib, mib[-quarter:]))
        return {
            "mib_before": before,
            "mib_after": after,
            "growth": after / before - 1.0,
            "mib": mib[:: max(1, quarter // 5)],
        }


def no_gpu_is_needed() -> GpuFacts:
    """The answer of a GPU that is only a number that Ray was given."""
    return GpuFacts("none", device="none", gib=1000.0)


def run_sleeping(
    n_trials: int, seconds: float, at_once: int, n_reports: int = N_REPORTS, gpu: bool = False
) -> dict[str, Any]:
    """A study from its first line to its last, and what its trials cost beyond their sleep."""
    spec, memory = sleeping_study(n_trials, at_once), Memory()
    there = {"num_gpus": 1, "resources": {"accelerator_type:T4": 1}} if gpu else {}
    ray.init(num_cpus=at_once, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **there)
    memory.start()
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as root:
        work = functools.partial(simulated, seconds=seconds, n_reports=n_reports)
        run = ftray.study.run.run_study(spec, Path(root), say=lambda line: None, trial_fn=work, probe=no_gpu_is_needed)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        records = run.records()
        states = {record.state for record in records}
        journal = (run.path / "optuna.journal").stat().st_size
    memory.ended.set()
    ray.shutdown()
    assert states == {"COMPLETE"} and len(records) == n_trials, states
    return {
        "n_trials": n_trials,
        "seconds": seconds,
        "at_once": at_once,
        "n_reports": n_reports,
        "gpu": gpu,
        "wall_seconds": wall,
        "driver_cpu_per_trial": cpu / n_trials,
        "journal_bytes_per_trial": journal / n_trials,
        "ideal_seconds": n_trials * seconds / at_once,
        "overhead_per_trial": overhead(records, at_once, seconds) if n_trials >= 4 * at_once else None,
        "lost_per_trial": statistics.median(lost(records, at_once, seconds)),
        "memory": memory.growth(),
    }


def overhead(records: list[Any], at_once: int, seconds: float) -> float:
    """Wall seconds per trial beyond the ideal, over the last half of the trials to end."""
    ends = sorted(record.ended_at for record in records)
    late = ends[len(ends) // 2 - 1 :]
    return (late[-1] - late[0]).total_seconds() / (len(late) - 1) - seconds / at_once


def lost(records: list[Any], at_once: int, seconds: float) -> list[float]:
    """Of each trial but the first ones, which wait for their processes: seconds between the end of the one that made
    room for it and its own end, beyond those that it sleeps."""
    ends = sorted(record.ended_at for record in records)
    by_start = sorted(records, key=lambda record: record.started_at)
    return [(record.ended_at - ends[i]).total_seconds() - seconds for i, record in enumerate(by_start[at_once:])]


def asking(n_trials: int) -> dict[str, Any]:
    """Processor seconds for a configuration by TPE after so many complete trials, and to go on with such a study."""
    spec = sleeping_study(n_trials, 1)
    with tempfile.TemporaryDirectory() as root:
        run = RunFolder.create(Path(root) / "many", spec.identity)
        write_events(run, spec, n_trials)
        more = dataclasses.replace(spec, search=dataclasses.replace(spec.search, n_trials=n_trials + N_ASKED))
        began = time.process_time()
        searcher = StudySearcher(more, RunFolder.open(run.path))
        continued = time.process_time() - began
        began = time.process_time()
        for _ in range(N_ASKED):
            spec.space.sample(searcher.optuna_study.ask())
        return {
            "n_trials": n_trials,
            "continue_seconds": continued,
            "ask_seconds": (time.process_time() - began) / N_ASKED,
        }


def read_many(n_trials: int) -> dict[str, Any]:
    """Processor seconds to read a finished study, as a notebook does: the records, the leaderboard, the table."""
    spec = sleeping_study(n_trials, 1)
    with tempfile.TemporaryDirectory() as root:
        run = RunFolder.create(Path(root) / "many", spec.identity)
        write_events(run, spec, n_trials)
        result: dict[str, Any] = {"n_trials": n_trials, "mib": (run.path / "events.jsonl").stat().st_size / 2**20}
        began = time.process_time()
        opened = RunFolder.open(run.path)
        assert len(opened.records()) == n_trials
        result["records_seconds"] = time.process_time() - began
        assert leaderboard_rows(opened.records(), objectives_of(opened.study))
        result["leaderboard_seconds"] = time.process_time() - began
        began = time.process_time()
        compact(opened)
        result["compact_seconds"] = time.process_time() - began
    return result


def write_events(run: RunFolder, spec: StudySpec, n_trials: int) -> None:
    """The events that so many trials would have left, without waiting for a disk after each; their values are drawn."""
    trial = to_mapping(spec.corner_trials[0])
    draw = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with (run.path / "events.jsonl").open("a") as file:
        for number in range(n_trials):
            name, values = f"trial-{number:04d}", spec.space.sample(draw.ask())[0]
            added = {"id": name, "number": number, "kind": "trial", "values": values, "spec": trial}
            ended = {
                "id": name,
                "state": "COMPLETE",
                "metrics": METRICS | {"validation/sharpe": number % 97 / 97},
                "error": None,
            }
            for event, facts in (("trial_added", added), ("trial_started", {"id": name}), ("trial_ended", ended)):
                at += datetime.timedelta(seconds=1)
                file.write(to_json({"event": event, "at": at.isoformat(timespec="microseconds"), **facts}) + "\n")


def verdicts(rows: list[dict[str, Any]], reading: dict[str, Any]) -> list[dict[str, Any]]:
    crowded, calm, on_gpu = (next(row for row in rows if row["name"] == n) for n in ("crowded", "calm", "on a GPU"))
    figures = [
        ("lost between trials, of a one-minute trial", calm["lost_per_trial"] / MINUTE, OVERHEAD),
        ("the same with a process for each trial, as on a GPU", on_gpu["lost_per_trial"] / MINUTE, OVERHEAD),
        ("growth of the driver's memory over the last half", crowded["memory"]["growth"], GROWTH),
        (f"seconds to read {N_READ:,} trials", reading["records_seconds"], READING),
    ]
    return [
        {"target": f"{name}: under {limit:g}", "measured": value, "met": value < limit}
        for name, value, limit in figures
    ]


COLUMNS = {
    "study": lambda row: row["name"],
    "trials": lambda row: str(row["n_trials"]),
    "seconds each": lambda row: f"{row['seconds']:g}",
    "at once": lambda row: str(row["at_once"]),
    "wall s": lambda row: f"{row['wall_seconds']:.1f}",
    "ideal s": lambda row: f"{row['ideal_seconds']:.1f}",
    "overhead per trial s": lambda row: (
        "-" if row["overhead_per_trial"] is None else f"{row['overhead_per_trial']:.3f}"
    ),
    "lost per trial s": lambda row: f"{row['lost_per_trial']:.3f}",
    "driver CPU ms per trial": lambda row: f"{1_000 * row['driver_cpu_per_trial']:.0f}",
    "driver MiB": lambda row: f"{row['memory']['mib_after']:.0f}",
}


ASKED_COLUMNS = {
    "trials known": lambda row: f"{row['n_trials']:,}",
    "CPU s to continue": lambda row: f"{row['continue_seconds']:.2f}",
    "CPU s per configuration": lambda row: f"{row['ask_seconds']:.3f}",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds")
    options = parser.parse_args(arguments)
    before, began = machine("cpu", ("ray", "optuna")), time.perf_counter()
    reading = read_many(N_READ)
    os.environ.update(ENVIRONMENT)
    asked = [asking(n) for n in (QUICK_ASKED if options.quick else ASKED)]
    rows = [{"name": name, **run_sleeping(**how)} for name, how in (QUICK if options.quick else STUDIES).items()]
    targets = verdicts(rows, reading)
    print(table(COLUMNS, rows))
    print()
    print(table(ASKED_COLUMNS, asked))
    print(
        f"\n{reading['n_trials']:,} trials, {reading['mib']:.0f} MiB of events: records "
        f"{reading['records_seconds']:.2f} s, with leaderboard {reading['leaderboard_seconds']:.2f} s, "
        f"compacting {reading['compact_seconds']:.2f} s"
    )
    for verdict in targets:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.4f}")
    if options.json:
        content = {
            "benchmark": "study",
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": before,
            "seconds": time.perf_counter() - began,
            "rows": rows,
            "asked": asked,
            "reading": reading,
            "targets": targets,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
