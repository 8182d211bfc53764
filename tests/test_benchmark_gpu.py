"""The GPU benchmark: every step runs on a CPU, and what a step has found outlives its end."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


@pytest.mark.ray
def test_every_step_runs_on_a_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--quick", "--json", str(path)])
    content = json.loads(path.read_text())
    assert list(content["steps"]) == list(gpu.LIMITS)
    for name, ended in content["steps"].items():
        assert not ended["why"], f"{name}: {ended['printed']}"
        assert ended["rows"], name
    study = {row["trial"]: row for row in content["steps"]["study"]["rows"] if "trial" in row}
    assert {row["state"] for row in study.values()} == {"COMPLETE"}
    assert study["trial-0001"]["out_of_memory"], "trial 1 was to be out of memory once"
    assert study["trial-0002"]["events"].count("started") == 2, "trial 2 was to be killed once"


def test_a_step_that_takes_too_long_is_stopped_and_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.LIMITS, "facts", 0.1)
    path = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--quick", "--only", "facts", "--json", str(path)])
    ended = json.loads(path.read_text())["steps"]["facts"]
    assert ended["why"] == "stopped after 0.1 s"


def test_a_second_run_keeps_the_steps_that_it_does_not_repeat(tmp_path):
    path = tmp_path / "gpu.json"
    for step in ("facts", "caps"):
        gpu.main(["--device", "cpu", "--quick", "--only", step, "--json", str(path)])
    steps = json.loads(path.read_text())["steps"]
    assert list(steps) == ["facts", "caps"] and not any(ended["why"] for ended in steps.values())
    with pytest.raises(SystemExit, match="other options"):
        gpu.main(["--device", "cpu", "--only", "caps", "--json", str(path)])


def test_targets_are_checked_at_their_limits():
    def ended(**row):
        return gpu.Ended(1.0, [row])

    steps = {
        "memory": ended(worker="ft", source="table", gib=1.8, promised_gib=1.8),
        "caps": ended(of_cap=0.97),
        "pretraining": ended(seconds=61.0, epochs=30),
    }
    met = {verdict["target"]: verdict["met"] for verdict in gpu.verdicts(steps)}
    assert list(met.values()) == [True, False, False]
    assert gpu.verdicts({"memory": ended(worker="ft", source="formula", gib=9.0, promised_gib=1.0)}) == []
