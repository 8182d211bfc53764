"""Everything that only a GPU can show, in one command.

    python benchmarks/gpu.py --json FILE [--quick] [--device cpu] [--only STEP ...]

    facts        the card, its driver, MPS, versions, matrix rates
    memory       what each worker of the VRAM table takes, and whether its row is kept
    contexts     what a process takes besides what PyTorch reserves
    caps         a process at its cap: refused there, its neighbour unharmed
    speeds       training steps per second by encoder, in float32, TF32 and as a CUDA graph
    sharing      1 to 20 processes on one GPU, time slices against MPS
    pretraining  the balanced encoder on 30,000 bars, interrupted once
    ppo          benchmarks/rl.py with the learner on the GPU
    study        six trials with shares, one out of memory, one killed

On an H100 with 16 cores all of it takes about ten minutes. Each step is a process of its own with a time limit; what it
has found by then is kept, and the next one runs whatever became of it. FILE is written after each step; what it holds
of steps that do not run now stays. The first six need torch alone, the others Ray. `--device cpu` runs every step at
small sizes and shows that it works, nothing else.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LIMITS = {
    "facts": 40,
    "memory": 120,
    "contexts": 75,
    "caps": 40,
    "speeds": 150,
    "sharing": 120,
    "pretraining": 150,
    "ppo": 240,
    "study": 120,
}
"""Seconds that each step may take, in the order in which they run."""
TAIL = 3_000
"""Characters kept of what a step that failed has printed last."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a step ended, and the rows that it has yielded. why: nothing where it came to its end."""

    seconds: float
    rows: list[dict[str, Any]]
    why: str = ""
    printed: str = ""
    at: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def run_step(name: str, device: str, quick: bool, limit: float) -> Ended:
    """Runs a step in a process group of its own, and ends whatever is left of it."""
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows", Path(folder) / "log"
        command = [sys.executable, __file__, "--step", name, "--rows", str(rows), "--device", device]
        start, why = time.perf_counter(), ""
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # what Ray's workers find these modules by
        with log.open("w") as stream:
            process = subprocess.Popen(
                command + ["--quick"] * quick,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=own,
            )
            try:
                code = process.wait(limit)
                why = f"ended with {code}" if code else ""
            except subprocess.TimeoutExpired:
                why = f"stopped after {limit:g} s"
            finally:
                end_group(process)
        found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
        return Ended(time.perf_counter() - start, found, why, log.read_text()[-TAIL:] if why else "")


def end_group(process: "subprocess.Popen[Any]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def serve(name: str, device: str, quick: bool, rows: Path) -> None:
    """A step's own process: every row is on disk before the next one begins."""
    import gpu_alone
    import gpu_sharing

    steps = gpu_alone.STEPS | gpu_sharing.STEPS
    if name not in steps:
        import gpu_jobs  # what needs Ray, where it is installed

        steps = gpu_jobs.STEPS
    with rows.open("a") as stream:
        for row in steps[name](device, quick):
            print("  " + json.dumps(row)[:400], flush=True)
            stream.write(json.dumps(row) + "\n")
            stream.flush()


def verdicts(steps: dict[str, Ended]) -> list[dict[str, Any]]:
    """What was promised, what was measured, and whether it is met; left out: what has not been measured."""
    found = []

    def judge(target: str, measured: float, limit: float) -> None:
        found.append({"target": f"{target}: at most {limit:g}", "measured": measured, "met": measured <= limit})

    def rows(name: str) -> list[dict[str, Any]]:
        return steps[name].rows if name in steps else []

    for row in rows("memory"):
        if row.get("gib") is not None and row["source"] == "table":
            judge(f"GiB of {row['worker']}", row["gib"], row["promised_gib"])
    for row in rows("caps"):
        if "of_cap" in row:
            judge("a cap is missed by a share of", abs(1.0 - row["of_cap"]), 0.02)
    for row in rows("pretraining"):
        if "seconds" in row:
            judge("seconds of 30 epochs of pre-training", row["seconds"], 60.0)
    for row in rows("ppo"):
        found += [one | {"target": f"{one['target']}, {row['runners']} env runners"} for one in row["targets"]]
    return found


def earlier(path: Path | None, device: str, quick: bool) -> dict[str, Ended]:
    """The steps that a file holds of an earlier run of the same kind."""
    if path is None or not path.exists():
        return {}
    content = json.loads(path.read_text())
    if (content["device"], content["quick"]) != (device, quick):
        raise SystemExit(f"{path} holds a run with other options: name another file, or remove it")
    return {name: Ended(**{"at": "", **ended}) for name, ended in content["steps"].items()}


def save(path: Path | None, content: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(content, indent=1) + "\n")
        part.replace(path)


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the results to, after each step")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and less time for each")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=list(LIMITS), metavar="STEP")
    parser.add_argument("--step", choices=list(LIMITS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.step:
        serve(options.step, options.device, options.quick, options.rows)
        return
    steps = earlier(options.json, options.device, options.quick)
    for name in options.only:
        steps[name] = ended = run_step(name, options.device, options.quick, LIMITS[name])
        print(f"{name}: {ended.seconds:.0f} s{', ' + ended.why if ended.why else ''}", flush=True)
        for row in ended.rows:
            print("  " + json.dumps(row)[:300], flush=True)
        if ended.why:
            print(ended.printed, flush=True)
        content = {
            "benchmark": "gpu",
            "device": options.device,
            "quick": options.quick,
            "seconds": sum(ended.seconds for ended in steps.values()),
            "targets": verdicts(steps) if options.device == "cuda" else [],
            "steps": {name: dataclasses.asdict(steps[name]) for name in LIMITS if name in steps},
        }
        save(options.json, content)
    for verdict in content["targets"]:
        print(f"{'met   ' if verdict['met'] else 'missed'}  {verdict['target']}, measured {verdict['measured']:.3g}")


if __name__ == "__main__":
    main()
