"""Real candles: the features of years with outages, crashes and quiet are of order 1 and rarely clipped."""

from pathlib import Path

import numpy as np
import pytest

from ftray.features import FeatureSpec, build_dataset
from ftray.market import FilesSpec, WindowsSpec, pieces

HOURLY = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_1h"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not HOURLY.is_dir(), reason=f"no candles in {HOURLY}"),
]


@pytest.fixture(scope="module")
def dataset():
    return build_dataset(FilesSpec(path=str(HOURLY)), WindowsSpec(), FeatureSpec())


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_scaled_features_stay_of_order_1_out_of_sample(dataset, name):
    bars = dataset.table.decision_bars(getattr(dataset.windows, name))
    values = dataset.table.values[bars]
    assert np.isfinite(values).all()
    assert np.abs(values.mean(axis=0)).max() < 1.0
    assert 0.3 < values.std(axis=0).min() < values.std(axis=0).max() < 2.0
    assert (np.abs(values) >= FeatureSpec().clip).mean() < 1e-3


def test_outages_cost_their_warm_up_and_no_more(dataset):
    assert len(dataset.candles.segments) >= 10
    windows = {name: pieces(getattr(dataset.windows, name)) for name in ("train", "validation", "test")}
    kept = {name: len(dataset.table.decision_bars(w)) / sum(map(len, w)) for name, w in windows.items()}
    assert kept["train"] > 0.8
    assert kept["validation"] > 0.95
    assert kept["test"] > 0.95


def test_no_series_is_nearly_a_copy_of_another(dataset):
    """A copy would let a masked feature be read off its neighbour; MACD and its signal are the closest by nature."""
    layout, bars = dataset.layout, dataset.table.decision_bars(dataset.windows.train)
    for symbol in layout.symbols:
        columns = [layout.series(name, symbol) for name in layout.indicators]
        correlation = np.abs(np.corrcoef(dataset.table.values[bars][:, columns].T)) - np.eye(len(columns))
        assert correlation.max() < 0.97, symbol
