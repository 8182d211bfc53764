"""A study on a Ray with a dashboard, whose trials write down what Ray and `ps` call the processes while they run.

Started as a program with the folder for its runs: the Ray of the other tests has no dashboard.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ray
from ray.util.state import list_actors

from ftray.capacity.local_ray import ENVIRONMENT
from ftray.study import parse_study
from ftray.study.run import run_study
from ftray.trial.run import run_trial

from .tiny import TINY

SEEN = "seen.json"
"""In a trial's folder: per name that Ray's state API is filtered by, the titles of the processes that it finds."""


def look(folder: Path) -> None:
    """Filters Ray's actors by the names that the processes of a trial should have, and has `ps` show those found."""
    trial = folder.name
    seen = {}
    for name in (trial, f"{trial} env runner 1", f"{trial} evaluation"):
        found = list_actors(address(), filters=[("repr_name", "=", name), ("state", "=", "ALIVE")], detail=True)
        seen[name] = [title_of(actor.pid) for actor in found]
    (folder / SEEN).write_text(json.dumps(seen))


def address() -> str:
    """Of this Ray: others may run on the machine."""
    return ray.get_runtime_context().gcs_address


def title_of(pid: int | None) -> str:
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()


def work(spec: Any, report: Any, *, folder: Path, **given: Any) -> None:
    """Trains if the encoder is an FT, else reports once; looks at the first figures, when all processes are there."""

    def looking(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        if "validation/sharpe" in metrics and not (folder / SEEN).exists():
            look(folder)
        report(metrics, checkpoint=checkpoint)

    if spec.encoder.kind == "ft":
        run_trial(spec, looking, folder=folder, **given)
    else:
        looking({"iteration": 1, "env_steps": 256, "runs_done": 1, "validation/sharpe": 1.0})


def study() -> Any:
    """A pre-training job, the trial that needs it, and one that could be run by the process of the first."""
    ft = {"trial/encoder/kind": "ft", "trial/encoder/pretrained": "auto"}
    search = {"n_trials": 2, "points": [ft, {"trial/encoder/kind": "mlp"}], "max_concurrent": 1}
    ppo = TINY["trial"]["ppo"] | {"n_env_runners": 1, "evaluation_cpus": 1}
    return parse_study({"name": "named", "trial": TINY["trial"] | {"ppo": ppo}, "search": search})


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    ray.init("local", num_cpus=4, include_dashboard=True, log_to_driver=False, logging_level="ERROR")
    run = run_study(study(), Path(sys.argv[1]), trial_fn=work)
    names = sorted({actor.repr_name for actor in list_actors(address(), detail=True)})
    (run.path / SEEN).write_text(json.dumps(names))
