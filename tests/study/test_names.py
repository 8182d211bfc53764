"""Ray's dashboard, `ps` and `nvidia-smi` call a process after the trial or the pre-training job that it works for."""

import json
import os
import subprocess
import sys

import pytest

from .looking import SEEN

pytestmark = [pytest.mark.ray, pytest.mark.long]


def test_ray_and_ps_name_every_process_after_the_trial_that_runs_in_it_now(tmp_path):
    program = [sys.executable, "-m", f"{__package__}.looking", str(tmp_path)]
    ended = subprocess.run(
        program, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    trials = tmp_path / "named" / "trials"
    trained, played = (json.loads((trials / name / SEEN).read_text()) for name in ("trial-0000", "trial-0001"))
    assert trained == {
        "trial-0000": ["ray::trial-0000"],
        "trial-0000 env runner 1": ["ray::trial-0000 env runner 1"],
        "trial-0000 evaluation": ["ray::trial-0000 evaluation"],
    }
    assert played == {
        "trial-0001": ["ray::trial-0001"],
        "trial-0001 env runner 1": [],
        "trial-0001 evaluation": [],
    }
    (encoder,) = (path.name for path in trials.iterdir() if path.name.startswith("encoder-"))
    assert json.loads((tmp_path / "named" / SEEN).read_text()) == sorted([encoder, *trained, "trial-0001"])
