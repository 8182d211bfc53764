"""A small dataset on disk, the way trials share one."""

from pathlib import Path

import pytest

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """Two assets, three indicators, lookback 8."""
    features = FeatureSpec(lookback=8, indicators=("close", "volume", "rsi"))
    dataset = build_dataset(SimulatorSpec(n_assets=2, n_bars=1_200), WindowsSpec(holding=6), features)
    return dataset.save(tmp_path_factory.mktemp("data") / dataset.fingerprint)


@pytest.fixture(scope="session")
def dataset(data_folder) -> Dataset:
    return Dataset.load(data_folder)
