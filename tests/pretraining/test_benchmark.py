"""The pre-training benchmark judges by what it says, shown on made-up figures and on windows of the real candles."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import pretraining as benchmark

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


def figures(spans=0.3, low=0.1):
    scores = {"encoder": {"mse": spans}, "interpolation": {"mse": 0.5}, "mean": {"mse": 0.7}}
    gain = {"random_encoder": {"mean": 0.2, "low": low, "high": 0.3}}
    return {
        "reconstruction": dict.fromkeys(("cells", "spans", "series", "bars"), scores),
        "probes": {name: {"skill": {}, "gain": gain} for name in ("volatility", "return_sign", "regime")},
    }


def test_claims_are_ratios_of_errors_and_intervals_beyond_zero():
    assert all(claim["holds"] for claim in benchmark.claims(figures()))
    assert [claim["holds"] for claim in benchmark.claims(figures(spans=0.4, low=-0.01))] == [
        False,  # 0.4 / 0.5 is above 0.65 for spans
        True,  # and below 0.95 for cells
        False,  # 0.4 / 0.7 is above 0.5 for series
        False,
        False,
    ]


@pytest.mark.real_data
@pytest.mark.skipif(not benchmark.CANDLES.is_dir(), reason="the real candles are missing")
def test_metrics_are_measured_on_the_last_fifth_behind_a_purge():
    dataset = benchmark.real_candles(benchmark.CANDLES)
    (train,), (validation,) = dataset.windows.train, dataset.windows.validation
    assert train.stop / len(dataset.candles) == pytest.approx(0.8, abs=1e-4)
    assert validation.start - train.stop == dataset.layout.lookback + benchmark.SPEC.horizon
    assert validation.stop == len(dataset.candles)
    spec = benchmark.fitted_to_clock(dataset, "cpu", samples_per_second=1_000.0, seconds=100.0)
    assert spec.epochs * spec.windows_per_epoch == pytest.approx(100_000, rel=0.01)
