"""A study whose trials are played, as a job on a cluster: `python -m tests.cluster.played_job RUNS --name NAME`.

Everything around the trials is real; they report and save checkpoints at their pace, and do not train.
"""

import argparse
import functools
from pathlib import Path

from ftray.study.run import run_study
from tests.study.played import play, study_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, help="where run folders lie, on storage that all nodes share")
    parser.add_argument("--name", required=True)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--pace", type=float, default=1.0, help="seconds per report")
    given = parser.parse_args()
    study = study_of(given.name, ["ends well"] * given.trials, max_concurrent=None)
    run_study(
        study, given.runs, say=lambda line: print(line, flush=True), work=functools.partial(play, pace=given.pace)
    )


if __name__ == "__main__":
    main()
