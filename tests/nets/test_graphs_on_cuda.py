"""A step recorded as a CUDA graph. Needs a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ftray.nets.graphs import CapturedStep, side_stream

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_captured_step_computes_what_the_step_does_on_each_new_input():
    torch.manual_seed(0)
    layer = nn.Linear(4, 4, device="cuda")

    def step(x):
        layer.weight.data.mul_(0.5)  # a weight that changes, as an optimiser changes it
        return (layer(x),)

    x = torch.randn(8, 4, device="cuda")
    with side_stream():
        step(x)
    captured = CapturedStep(step, x)
    for _ in range(3):
        x = torch.randn(8, 4, device="cuda")
        weight = layer.weight.detach().clone()
        (y,) = captured(x)
        torch.testing.assert_close(y, x @ (0.5 * weight).mT + layer.bias)
    assert captured.fits(x) and not captured.fits(x[:3])


def test_what_a_captured_step_samples_is_sampled_again():
    captured = CapturedStep(lambda x: (x + torch.rand_like(x),), torch.zeros(4, device="cuda"))
    torch.manual_seed(1)
    first = captured(torch.zeros(4, device="cuda"))[0].clone()
    second = captured(torch.zeros(4, device="cuda"))[0].clone()
    torch.manual_seed(1)
    assert torch.equal(captured(torch.zeros(4, device="cuda"))[0], first)
    assert not torch.equal(first, second)


REFUSED = """
import torch
from ftray.nets.graphs import CapturedStep
try:
    CapturedStep(lambda x: (x * x.sum().item(),), torch.ones(4, device="cuda"))
except RuntimeError:
    assert (torch.ones(4, device="cuda") @ torch.ones(4, device="cuda")).item() == 4.0
    print("refused")
"""


def test_a_step_that_waits_for_the_device_is_refused_and_other_work_continues():
    """In a process of its own: sampling from the default generator fails from there on."""
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "refused\n"
