"""tests/sample_plugin: a package of somebody else's, with one member of each family, tested as its author would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftray
from ftray.testing import EncoderContract, IndicatorContract, MarketContract, RewardContract, SamplerContract

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample_plugin"


def run(*command: str, folder: Path = SAMPLE) -> str:
    """What a command prints in a process of its own, in which the sample is installed."""
    installed = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, SAMPLE))), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", *command]
    done = subprocess.run(line, cwd=folder, env=os.environ | installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_its_own_tests_pass_and_find_the_member_that_looks_ahead():
    contracts = (IndicatorContract, RewardContract, MarketContract, EncoderContract, SamplerContract)
    of_good_members = sum(len(contract.promises()) for contract in contracts)
    printed = run("pytest", "-q", "-n", "0", "-p", "no:dash", "-p", "no:cacheprovider")
    assert f"{of_good_members + 1} passed" in printed


@pytest.mark.long
def test_a_study_of_its_members_runs_to_its_end(tmp_path):
    run("ftray", "tune", str(SAMPLE / "study.yaml"), "--runs", str(tmp_path), folder=tmp_path)
    study = ftray.open_study(tmp_path / "acme")  # in this process, which does not know the plug-in
    assert study.is_done and {record.state for record in study.records()} == {"COMPLETE"}
    assert study.best().trial in {record.id for record in study.records()}
    assert "acme_trading" not in sys.modules
