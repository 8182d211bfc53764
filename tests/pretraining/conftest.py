import dataclasses

import pytest

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import FTSpec
from ftray.pretraining import PretrainingSpec

ENCODER = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=4, horizons=(1, 4, 9))
SPEC = PretrainingSpec(epochs=3, windows_per_epoch=128, batch_size=32, horizon=6, checkpoint_every=2, device="cpu")
WITH_RETURNS = dataclasses.replace(SPEC, return_weight=0.1)


def small_dataset() -> Dataset:
    """Two assets, three indicators, lookback 8, four outages; also built inside the subprocess of the kill test."""
    market = SimulatorSpec(n_assets=2, n_bars=1_600, n_outages=4)
    features = FeatureSpec(lookback=8, indicators=("close", "volume", "cci"))
    return build_dataset(market, WindowsSpec(holding=6), features)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return small_dataset()


@pytest.fixture
def with_values(dataset):
    """The dataset with some values of its table replaced: `with_values(rows, series, value)`."""

    def replaced(rows, series, value):
        values = dataset.table.values.copy()
        values[rows, series] = value
        return dataclasses.replace(dataset, table=dataclasses.replace(dataset.table, values=values))

    return replaced
