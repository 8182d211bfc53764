"""A small market with holes in time, and one without."""

import pytest

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec

FEATURES = FeatureSpec(lookback=8, indicators=("close", "volume"))


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Three assets, 1,500 hourly bars, unbroken."""
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=1_500, seed=3), WindowsSpec(), FEATURES)


@pytest.fixture(scope="session")
def broken_dataset() -> Dataset:
    """Three assets, 3,000 hourly bars with five outages."""
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=3_000, seed=4, n_outages=5), WindowsSpec(), FEATURES)
