"""The stand-in finds what it is there to find: tensors of two devices in one operation."""

import pytest
import torch

from tests.devices.policies import FT, observed, policy
from tests.devices.second_device import MixedDevicesError, There, second_device


def test_an_operation_over_both_devices_is_an_error_and_copies_and_single_numbers_are_none():
    with second_device() as device:
        table, bars = torch.arange(12.0).reshape(4, 3).to(device), torch.tensor([0, 2])
        assert isinstance(table, There) and table.device == device
        for mixed in (
            lambda: table[bars],
            lambda: table + torch.ones(3),
            lambda: torch.cat([table, torch.ones(1, 3)]),
            lambda: torch.stack([table.sum(), torch.tensor(1.0)]),
            lambda: torch.nn.Linear(3, 2)(table),
            lambda: torch.rand(3, device=device, generator=torch.Generator()),
            lambda: torch.rand(3, generator=torch.Generator(device)),
        ):
            with pytest.raises(MixedDevicesError):
                mixed()
        with pytest.raises((TypeError, RuntimeError)):
            table.numpy()
        assert (table[bars.to(device)] * torch.tensor(2.0)).cpu().tolist() == [[0.0, 2.0, 4.0], [12.0, 14.0, 16.0]]
        assert torch.tensor([1.5], device=device).tolist() == [1.5]
    assert not isinstance(torch.ones(2), There)


def test_a_market_table_that_stayed_on_the_cpu_is_found(data, dataset, weights):
    with second_device() as device:
        module = policy(data, weights, FT, device)
        module.table = module.table.cpu()
        with pytest.raises(MixedDevicesError):
            module.encode(torch.from_numpy(observed(dataset)).to(device))
