"""The policy benchmark compares the same decisions, judged on networks of a millisecond."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import policy as benchmark
from measuring import reference_layout

from ftray.nets import MLPSpec

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change

LAYOUT = reference_layout(106)


@pytest.fixture
def small(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(benchmark, "ENCODERS", {"MLP 512": MLPSpec(hidden=64, encoding_dim=64)})
    monkeypatch.setattr(benchmark, "LAYOUT", LAYOUT)
    benchmark.export(tmp_path, LAYOUT)
    return tmp_path


def test_every_way_decides_the_same_and_has_a_row(small):
    measured = {way: list(benchmark.decisions(way, small, turns=2)) for way in benchmark.WAYS}
    assert np.abs(measured[benchmark.FTRAY][0]["MLP 512"]["answers"]).mean() > 0.01
    rows = benchmark.rows_of(measured)
    assert [(row["way"], row["calls"]) for row in rows] == [(way, 200) for way in benchmark.WAYS]
    assert all(0.0 < row["p50"] <= row["p99"] and 0.0 < row["p50_core"] <= row["p99_core"] for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    measured[benchmark.ONNX][0]["MLP 512"]["answers"] += 0.01
    with pytest.raises(AssertionError, match=r"MLP 512: ONNX Runtime must act as ftray\.load_policy does"):
        benchmark.rows_of(measured)


def test_the_target_is_checked_at_its_limit_by_the_exported_policy_alone():
    rows = [
        {"name": name, "way": way, "p99_core": 4.99 if way == benchmark.FTRAY else 50.0}
        for name in benchmark.ENCODERS
        for way in benchmark.WAYS
    ]
    assert [verdict["met"] for verdict in benchmark.verdicts(rows)] == [True] * 4
    rows[0]["p99_core"] = 5.0
    assert [verdict["met"] for verdict in benchmark.verdicts(rows)] == [False, True, True, True]
