"""A study whose trials are played, as a job on a cluster: `python -m tests.cluster.played_job RUNS --name NAME`.

Everything around the trials is real; they report and save checkpoints at their pace, and do not train.
"""

import argparse
import functools
from typing import Any

from ftray.cli.terminal import location
from ftray.study import StudySpec
from ftray.study.run import run_study
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
"""Trials of which so many share an L4; the VRAM plan's word, and a test holds it to that."""


def the_study(name: str, n_trials: int, share: int | None = None, **search: Any) -> StudySpec:
    trial = SHARES[share] if share else None
    return study_of(name, ["ends well"] * n_trials, trial=trial, **{"max_concurrent": None, **search})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=location, help="where run folders lie, on storage that all nodes share")
    parser.add_argument("--name", required=True)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--share", type=int, choices=SHARES, help="how many of them share an L4")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds per report")
    given = parser.parse_args()
    study = the_study(given.name, given.trials, given.share)
    run_study(
        study,
        given.runs,
        say=lambda line: print(line, flush=True),
        work=functools.partial(play, pace=given.pace),
        probe=fine,
    )


if __name__ == "__main__":
    main()
