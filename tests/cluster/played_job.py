"""A study whose trials are played, as a job on a cluster: `python -m tests.cluster.played_job RUNS --name NAME`.

Everything around the trials is real; they report and save checkpoints, and do not train. With a gate they wait after
every report until something is at that place, or until they are restarted: a test decides when they go on, not a clock.
"""

import argparse
import functools
import math
import time
from pathlib import Path
from typing import Any

from ftray.capacity.nodes import Node
from ftray.capacity.placement import Placement
from ftray.cli.terminal import location
from ftray.study import StudySpec
from ftray.study.placing import capacity_of
from ftray.study.run import run_study
from ftray.trial import TrialSpec
from ftray.trial.reporting import Report
from tests.study.played import fine, play, study_of
from tests.study.tiny import TINY


def ft(d_token: int, encoding_dim: int, **trial: Any) -> dict[str, Any]:
    encoder = {"kind": "ft", "d_token": d_token, "n_blocks": 3, "n_heads": 4, "encoding_dim": encoding_dim}
    return {"encoder": encoder | {"pretrained": "none", "patch_length": trial.pop("patch_length", 8)}} | trial


PPO = TINY["trial"]["ppo"] | {"learning_rate": 1e-3}
SHARES: dict[int, dict[str, Any]] = {
    7: ft(96, 768),
    5: ft(128, 1024),
    2: ft(192, 1024, patch_length=1, features={"lookback": 60, "indicators": ["close", "volume", "rsi"]})
    | {"ppo": PPO | {"minibatch_size": 768, "train_batch_size": 1536, "env_steps": 3072}},
}
"""Trials of which so many share an L4, by the VRAM plan; a test holds it to that."""


def the_study(name: str, n_trials: int, share: int | None = None, **search: Any) -> StudySpec:
    trial = SHARES[share] if share else None
    return study_of(name, ["ends well"] * n_trials, trial=trial, **{"max_concurrent": None, **search})


def plan_of(share: int, n_trials: int, node: Node) -> tuple[Placement, int]:
    """How the VRAM plan places a trial, and on how many nodes so many trials: whole ones per GPU, as cores allow."""
    ((_, placement),) = capacity_of(the_study("planned", n_trials, share), [node]).needs
    assert placement.plan is not None
    per_node = min(placement.plan.trials_per_gpu * node.n_gpus, math.floor(node.cpus))
    return placement, math.ceil(n_trials / per_node)


def gated_play(spec: TrialSpec, report: Report, *, gate: str, **how: Any) -> None:
    """`play`, but each report returns only once there is something at the gate."""

    def report_and_wait(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        report(metrics, checkpoint=checkpoint)
        while not _exists(gate):
            time.sleep(0.5)

    play(spec, report_and_wait, **how)


def _exists(place: str) -> bool:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(place)
    return system.get_file_info(path).type != fs.FileType.NotFound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=location, help="where run folders are stored, on storage that all nodes share")
    parser.add_argument("--name", required=True)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--share", type=int, choices=SHARES, help="how many of them share an L4")
    parser.add_argument("--gate", required=True, help="the place that the trials wait for, a path or a URL")
    given = parser.parse_args()
    spec = the_study(given.name, given.trials, given.share)
    trial_fn = functools.partial(gated_play, gate=given.gate)
    run_study(spec, given.runs, say=lambda line: print(line, flush=True), trial_fn=trial_fn, probe=fine)


if __name__ == "__main__":
    main()
