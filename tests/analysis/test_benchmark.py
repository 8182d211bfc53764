"""The results benchmark writes what it says, asks what it says, and judges by it, shown at a tiny size."""

import sys
from pathlib import Path

import pytest
from ray.cloudpickle import register_pickle_by_value

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import results as benchmark

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


def test_a_study_is_written_as_it_grows_and_asked_by_a_fresh_process(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "COMPACTIONS", 3)
    (row,) = benchmark.measured(tmp_path, {"20 × 5": (20, 5)})
    assert row["n_trials"] == 20 and row["n_curve"] == 5 and row["n_filter"] <= 20 and row["n_rows"] <= 100
    assert row["compact_seconds_per_trial"] > 0 and row["tables_mib"] > 0 and row["open"] > 0


def test_a_report_takes_some_time(tmp_path):
    assert 0 < benchmark.report_seconds(tmp_path, 50) < 1


def test_the_least_of_several_times_counts(tmp_path):
    script = "import json, time; print(json.dumps({'seconds': time.process_time()}))"
    assert benchmark.asked(script, tmp_path, times=2)["seconds"] > 0


def test_targets_are_checked_at_their_limits():
    def judged(opened: float, rows: float, compact: float) -> list[bool]:
        row = {"name": "n", "open": opened, "rows": rows, "n_reports": 100, "compact_seconds_per_trial": compact}
        return [verdict["met"] for verdict in benchmark.verdicts([row], report=1e-3)]

    assert judged(0.99, 0.99, 0.49) == [True] * 3
    assert judged(1.01, 1.01, 0.51) == [False] * 3


@pytest.mark.ray
def test_tune_leaves_files_that_pandas_reads(tmp_path, cluster):
    register_pickle_by_value(benchmark)  # Ray's processes know no module of that name
    answers = benchmark.asked(benchmark.ASK_TUNE, benchmark.tuned(tmp_path / "tune", n_trials=2, n_reports=3), times=1)
    assert answers["n_trials"] == 2 and answers["n_curve"] == 3
