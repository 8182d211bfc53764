"""What it costs to write the results of many trials, and how long a notebook waits for them.

    python benchmarks/results.py --json FILE [--quick]

A study of 10,000 trials with 100 reports of 40 figures each is written as its processes write it, and compacted while
it grows, as its driver does; then a process that has just started opens it and asks. 100,000 trials come with 10
reports each: what grows with the number of trials is all there, and the events fit on a laptop's disk. It is compared
with pandas over the files that Ray Tune itself leaves of a real experiment with 1,000 trials and 10 reports each, and
with ftray over as many. Seconds are processor time, all threads together, which a busy machine stretches less than wall
time; what is read is read three times, and the least counts. Opening begins with Python itself and its imports.
"""

import argparse
import datetime
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, table

from ftray.runs import RunFolder, TrialFolder
from ftray.tables.parquet import compact

N_FIGURES = 40
COMPACTIONS = 100
"""So often the tables are brought up to date while a study grows; a driver does so ever more rarely, the longer it
takes, so that it takes 2 % of its time."""

SIZES = {"10,000 × 100": (10_000, 100), "100,000 × 10": (100_000, 10)}
QUICK_SIZES = {"400 × 100": (400, 100), "2,000 × 10": (2_000, 10)}
OPENED, MINUTE, SHARE = 1.0, 60.0, 0.01
"""At most: seconds to open and filter 10,000 trials, and the share of a one-minute trial that writing it costs."""

FIGURES = ("sharpe", "total_return", "max_drawdown", "turnover", "exposure", "skewness", "kurtosis")
NAMES = [f"validation/{name}" for name in FIGURES]
NAMES += [f"encoder/attention/asset/{i}" for i in range(N_FIGURES - len(FIGURES))]
SPEC = {"encoder": {"kind": "mlp", "hidden": 128}, "seed": 0, "seeds": 1, "ppo": {"env_steps": 102_400}}

ASK = """
import json, sys, time
import ftray
study = ftray.open_study(sys.argv[1])
trials = study.trials
figures = {"open": time.process_time(), "n_trials": len(trials)}
steps = {
    "filter": lambda: trials[(trials["state"] == "COMPLETE") & (trials["validation/sharpe"] > 0.9)],
    "rows": lambda: study.sql('select trial, env_steps from metrics where "validation/sharpe" > 0.99'),
    "curve": lambda: study.curve(trials["trial"].iloc[len(trials) // 2], "validation/sharpe"),
    "best": lambda: study.best(),
}
for name, step in steps.items():
    began = time.process_time()
    figures["n_" + name] = len(step()) if name != "best" else (step(), 1)[1]
    figures[name] = time.process_time() - began
print(json.dumps(figures))
"""

ASK_TUNE = """
import json, sys, time
import pandas as pd
from ray.tune import ExperimentAnalysis
analysis = ExperimentAnalysis(sys.argv[1])
trials = analysis.dataframe()
figures = {"open": time.process_time(), "n_trials": len(trials)}
steps = {
    "filter": lambda: trials[trials["validation/sharpe"] > 0.9],
    "rows": lambda: pd.concat(analysis.trial_dataframes.values()).query("`validation/sharpe` > 0.99"),
    "curve": lambda: next(iter(analysis.trial_dataframes.values()))["validation/sharpe"],
    "best": lambda: analysis.get_best_trial("validation/sharpe", "max"),
}
for name, step in steps.items():
    began = time.process_time()
    figures["n_" + name] = len(step()) if name != "best" else (step(), 1)[1]
    figures[name] = time.process_time() - began
print(json.dumps(figures))
"""
"""ResultGrid reads through the same class."""


def row(draw: random.Random, step: int) -> dict[str, Any]:
    """One report's metrics."""
    return {"env_steps": 1024 * step, "iteration": step, **{name: draw.random() for name in NAMES}}


def report_seconds(folder: Path, n_reports: int) -> float:
    """Seconds per report, as a trial's process writes it."""
    trial, draw = TrialFolder(folder), random.Random(0)
    rows = [row(draw, step) for step in range(n_reports)]
    began = time.process_time()
    for metrics in rows:
        trial.report(metrics)
    return (time.process_time() - began) / n_reports


def write_study(path: Path, n_trials: int, n_reports: int) -> dict[str, Any]:
    """Writes a study and compacts it as it grows; what the compacting took."""
    run, draw = RunFolder.create(path, {"name": path.name, "trial": {}}), random.Random(0)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    took: list[float] = []
    with (path / "events.jsonl").open("a") as events:
        for number in range(n_trials):
            name = f"trial-{number:04d}"
            at += datetime.timedelta(seconds=1)
            last = _write_trial(path / "trials" / name, draw, n_reports, at)
            values = {"trial/ppo/learning_rate": draw.random(), "trial/ppo/gamma": draw.random()}
            added = {"id": name, "number": number, "kind": "trial", "values": values, "spec": SPEC}
            ended = {"id": name, "state": "COMPLETE", "metrics": last, "error": None}
            for event, facts in (("trial_added", added), ("trial_started", {"id": name}), ("trial_ended", ended)):
                events.write(_line(event, at, facts))
            if (number + 1) % (n_trials // COMPACTIONS or 1) == 0:
                events.flush()
                began = time.process_time()
                compact(run)
                took.append(time.process_time() - began)
    began = time.process_time()
    compact(run, whole=True)
    run.mark_done()
    done = time.process_time() - began
    size = sum(file.stat().st_size for file in (path / "tables").rglob("*.parquet"))
    return {
        "compact_seconds_per_trial": (sum(took) + done) / n_trials,
        "compact_seconds_longest": max([*took, done]),
        "done_seconds": done,
        "tables_mib": size / 2**20,
    }


def _write_trial(folder: Path, draw: random.Random, n_reports: int, at: datetime.datetime) -> dict[str, Any]:
    folder.mkdir(parents=True)
    rows = [row(draw, step) for step in range(n_reports)]
    (folder / "events.jsonl").write_text("".join(_line("report", at, {"metrics": metrics}) for metrics in rows))
    return rows[-1]


def _line(event: str, at: datetime.datetime, facts: dict[str, Any]) -> str:
    return json.dumps({"event": event, "at": at.isoformat(timespec="microseconds"), **facts}) + "\n"


def asked(script: str, location: Path, times: int = 3) -> dict[str, Any]:
    """What a fresh process says of a study: figures of the first time, the least seconds of all."""
    answers = []
    for _ in range(times):
        command = [sys.executable, "-c", script, str(location)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: min(one[key] for one in answers) for key in answers[0]}


def tuned(path: Path, n_trials: int, n_reports: int) -> Path:
    """A real experiment of Ray Tune with as many trials and reports, on the Ray at hand; it leaves its own files."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        draw = random.Random(config["seed"])
        for step in range(n_reports):
            tune.report(row(draw, step))

    kept = {name: os.environ.pop(name, None) for name in ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS",)}
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    try:
        tune.Tuner(
            trainable,
            param_space={"seed": tune.randint(0, 2**31), "learning_rate": tune.loguniform(1e-5, 1e-3)},
            tune_config=tune.TuneConfig(num_samples=n_trials, reuse_actors=True),
            run_config=tune.RunConfig(name=path.name, storage_path=str(path.parent), verbose=0),
        ).fit()
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})
    return path


def write_with_tune(path: Path, n_trials: int, n_reports: int) -> None:
    """The same on a Ray of its own, which lets eight trials run at once."""
    import ray

    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        tuned(path, n_trials, n_reports)
    finally:
        ray.shutdown()


def verdicts(rows: list[dict[str, Any]], report: float) -> list[dict[str, Any]]:
    first = rows[0]
    n_reports = first["n_reports"]
    written = (report * n_reports + first["compact_seconds_per_trial"]) / MINUTE
    figures = [
        (f"seconds to open {first['name']}, from the imports on", first["open"], OPENED),
        (f"seconds to filter the reports of {first['name']}", first["rows"], OPENED),
        (f"share of a one-minute trial that writing {n_reports} reports and compacting them costs", written, SHARE),
    ]
    return [
        {"target": f"{name}: under {limit:g}", "measured": value, "met": value < limit}
        for name, value, limit in figures
    ]


def measured(root: Path, sizes: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """A row per size of a study."""
    rows = []
    for i, (name, (n_trials, n_reports)) in enumerate(sizes.items()):
        written = write_study(root / f"study-{i}", n_trials, n_reports)
        facts = {"name": name, "n_reports": n_reports}
        rows.append({**facts, **written, **asked(ASK, root / f"study-{i}")})
    return rows


def compared(root: Path, n_trials: int, n_reports: int) -> list[dict[str, Any]]:
    """The same number of trials and reports in Tune's own files and in ftray's."""
    write_with_tune(root / "tune", n_trials, n_reports)
    name = f"{n_trials:,} × {n_reports}"
    with_pandas = {"name": f"Tune's files, pandas: {name}", **asked(ASK_TUNE, root / "tune")}
    write_study(root / "same", n_trials, n_reports)
    return [with_pandas, {"name": f"ftray: {name}", **asked(ASK, root / "same")}]


COLUMNS = {
    "trials × reports": lambda row: row["name"],
    "compact ms per trial": lambda row: _shown(row.get("compact_seconds_per_trial"), 1e3),
    "longest s": lambda row: _shown(row.get("compact_seconds_longest")),
    "tables MiB": lambda row: _shown(row.get("tables_mib")),
    "open s": lambda row: _shown(row["open"]),
    "filter trials s": lambda row: _shown(row["filter"]),
    "filter reports s": lambda row: _shown(row["rows"]),
    "one curve s": lambda row: _shown(row["curve"]),
    "best s": lambda row: _shown(row["best"]),
}


def _shown(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{scale * value:.3g}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="under 100 seconds")
    options = parser.parse_args(arguments)
    before, began = machine("cpu", ("ray", "pandas", "pyarrow", "duckdb")), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        report = report_seconds(root / "reports", 10_000)
        rows = measured(root, QUICK_SIZES if options.quick else SIZES)
        with_tune = compared(root, *((50, 5) if options.quick else (1_000, 10)))
    targets = verdicts(rows, report)
    print(table(COLUMNS, [*rows, *with_tune]))
    print(f"\na report: {1e6 * report:.0f} µs, {1 / report:,.0f} per second")
    for verdict in targets:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.4f}")
    if options.json:
        content = {
            "benchmark": "results",
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": before,
            "seconds": time.perf_counter() - began,
            "report_seconds": report,
            "rows": rows,
            "with_tune": with_tune,
            "targets": targets,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
