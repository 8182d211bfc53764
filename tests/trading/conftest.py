"""A small market with holes in time, and one without."""

import dataclasses

import pytest

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, Window, WindowsSpec

FEATURES = FeatureSpec(lookback=8, indicators=("close", "volume"))


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Three assets, 1,500 hourly bars, unbroken."""
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=1_500, seed=3), WindowsSpec(), FEATURES)


@pytest.fixture(scope="session")
def broken_dataset() -> Dataset:
    """Three assets, 3,000 hourly bars with five outages."""
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=3_000, seed=4, n_outages=5), WindowsSpec(), FEATURES)


PIECES = (Window(600, 1_000), Window(100, 500))
"""Two windows of a fold, not in time order."""


@pytest.fixture(scope="session")
def jumping_dataset(dataset) -> Dataset:
    """Between the two windows of `PIECES` every price rises a hundredfold: who is carried over the seam shows it."""
    values = dataset.candles.values.copy()
    values[550:, :, :4] *= 100.0
    return dataclasses.replace(dataset, candles=dataclasses.replace(dataset.candles, values=values))
