"""What version 0.1 wrote stays of use: its run folder, its policies, its encoders.

`version_0_1` is a study that 0.1 ran: 2 folds × 2 seeds, three trials that finished, one that failed, two encoders. Its
checkpoints, prepared data and plots were left out.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ftray
from ftray.cli import main

STORED = Path(__file__).parent / "version_0_1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(STORED, tmp_path / "version_0_1")


def test_its_trials_and_curves_are_read(run: Path) -> None:
    study = ftray.open_study(run)
    assert study.trials["state"].tolist().count("COMPLETE") == 5
    assert study.best().trial == "trial-0000"
    assert study.best().value == pytest.approx(-2.32005, abs=1e-4)
    assert len(study.folds("trial-0000")) == 4
    assert study.lineage("trial-0000")["encoders"][0]["weights"]
    assert set(study.encoders["encoder"]) == {folder.name for folder in (STORED / "encoders").iterdir()}


def test_its_policies_act(run: Path) -> None:
    for trial in ("trial-0000", "trial-0002"):
        policy = ftray.load_policy(ftray.open_study(run).policy_path(trial))
        assert np.isfinite(policy(np.eye(1, policy.layout.size, dtype=np.float32)[0])).all()


def test_its_policies_give_the_backtest_that_was_recorded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = ftray.open_study(run).folds("trial-0002")["validation/sharpe"]
    assert main(["backtest", str(run), "--trial", "trial-0002"]) == 0, capsys.readouterr().err
    performance = json.loads(next(run.rglob("performance.json")).read_text())
    assert recorded.sub(performance["policy"]["sharpe"]).abs().min() < 1e-6


def test_its_encoders_load(run: Path) -> None:
    for folder in (run / "encoders").iterdir():
        state = torch.load(folder / "best_encoder.pth", weights_only=True)["encoder_state_dict"]
        assert all(torch.isfinite(tensor).all() for tensor in state.values())
