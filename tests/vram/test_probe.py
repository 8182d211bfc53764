"""What a GPU node answers when it is tried, and the reason that is printed."""

import pytest
import torch

from ftray.vram.probe import GpuFacts, driver_version, probe_gpu, why_smaller, why_unusable

FINE = GpuFacts("2.13.0+cu130", "13.0", "580.65.06", "NVIDIA L4", 21.9)
OLD = GpuFacts("2.13.0+cu130", "13.0", "535.104.05", error="torch sees no CUDA device")


def test_the_reason_why_a_gpu_cannot_be_used_names_torch_and_driver():
    assert why_unusable(FINE) is None
    assert why_unusable(OLD) == (
        "torch 2.13.0+cu130 is built for CUDA 13.0, which needs driver 580 or later; this node has 535.104.05"
    )
    without = GpuFacts("2.13.0+cpu", "", "580.65.06", error="torch sees no CUDA device")
    assert "torch 2.13.0+cpu is built without CUDA (this node has 580.65.06)" in str(why_unusable(without))
    undriven = GpuFacts("2.13.0", "13.0", "", error="torch sees no CUDA device")
    assert "needs driver 580 or later; no driver answers on this node" in str(why_unusable(undriven))
    broken = GpuFacts("", error="No module named 'torch'")
    assert why_unusable(broken) == "the task that tries it fails with: No module named 'torch'"
    old_card = GpuFacts("2.13.0", "13.0", "580.65", error="CUDA error: no kernel image is available")
    assert "driver 580.65) fails with: CUDA error: no kernel image" in str(why_unusable(old_card))


def test_the_reason_for_a_smaller_gpu_names_the_planned_and_the_found_gib():
    slice_of_h100 = GpuFacts("2.13.0", "13.0", "580.65", "NVIDIA H100 MIG 1g.10gb", 9.75)
    assert why_smaller(slice_of_h100, 79.1) == "the plan assumed 79.10 GiB and NVIDIA H100 MIG 1g.10gb has 9.75"
    assert why_smaller(slice_of_h100, 9.8) is None
    assert why_smaller(OLD, 79.1) is None


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023", "535.104.05"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)",
            "580.65.06",
        ),
    ],
)
def test_the_drivers_version_is_read_from_what_its_kernel_module_says(line, version, monkeypatch):
    monkeypatch.setattr("ftray.vram.probe._kernel_module", lambda: line)
    assert driver_version() == version


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_where_torch_sees_no_gpu_the_probe_says_why():
    facts = probe_gpu()
    assert not facts.usable and facts.torch == torch.__version__ and facts.gib == 0
    assert f"torch {torch.__version__} is built" in str(why_unusable(facts))
