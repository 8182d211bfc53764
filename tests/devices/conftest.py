"""What the tests of devices share: a small dataset, weights, and another device than the CPU.

The other device is a stand-in everywhere, and a GPU, too, where there is one.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import build_encoder, market_state_dict
from tests.devices.policies import CPU, FT, here
from tests.devices.second_device import second_device


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The folder of a small dataset: two assets, three indicators, lookback 8."""
    features = FeatureSpec(lookback=8, indicators=("close", "volume", "rsi"))
    dataset = build_dataset(SimulatorSpec(n_assets=2, n_bars=800), WindowsSpec(holding=6), features)
    return dataset.save(tmp_path_factory.mktemp("data") / dataset.fingerprint)


@pytest.fixture(scope="module")
def dataset(data) -> Dataset:
    return Dataset.load(data)


@pytest.fixture(scope="module")
def weights(dataset, tmp_path_factory) -> Path:
    """Of a random market tower."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, path)
    return path


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=GPU)])
def other(request) -> Callable[[], contextlib.AbstractContextManager[torch.device]]:
    """A context in which there is another device than the CPU."""
    if request.param == "gpu":
        return lambda: contextlib.nullcontext(torch.device("cuda"))
    return second_device


@pytest.fixture
def assert_alike(other) -> Callable[..., None]:
    """`assert_alike(path)`: the function gives the same on both devices; on_gpu: relative and absolute tolerance there,
    where sums have another order."""

    def check(path: Callable[[torch.device], Any], on_gpu: float = 1e-3, rtol: float = 1e-5, atol: float = 1e-6):
        expected = here(path(CPU))
        with other() as device:
            found = here(path(device))
        if device.type == "cuda":
            rtol = atol = on_gpu
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, equal_nan=True)

    return check
