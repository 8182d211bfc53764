"""What GPU a process has: asked of NVML, within what CUDA_VISIBLE_DEVICES leaves, and without initialising CUDA."""

import subprocess
import sys
import textwrap

import pytest
import torch

from ftray.errors import TrainingError
from ftray.vram.nvml import NvmlUnavailableError, asked_elsewhere, first_visible, gpu_in_sight
from tests.vram.stand_ins import Card, Cuda, Nvml

SMALL = Card("GPU-1111-aaaa", total=24.0)
LARGE = Card("GPU-1122-bbbb", total=48.0)
SLICES = [
    None,  # a place without a slice
    Card("MIG-5555", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9.75, 0.0),
    Card("MIG-6666", "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 39.5, 0.0),
]
CUT = Card("GPU-3333-cccc", "NVIDIA H100 80GB HBM3", 79.65, 0.54, SLICES)
WHOLE = Card("GPU-4444-dddd", "NVIDIA H100 80GB HBM3", 79.65, 0.54, ())


def elsewhere():
    return ("asked elsewhere", 1.0)


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        (None, 23.5),
        ("0", 23.5),
        ("1", 47.5),
        ("1,0", 47.5),
        (" 1 , 0", 47.5),
        ("+1", 47.5),
        ("1gpu", 47.5),  # CUDA reads the digits
        ("2", None),
        ("2,0", None),  # what does not exist ends the list
        ("", None),
        ("-1", None),
        ("-1,0", None),
        ("none", None),
        ("NoDevFiles", None),
        ("GPU-1111-aaaa", 23.5),
        ("GPU-1122-bbbb,GPU-1111-aaaa", 47.5),
        ("GPU-112", 47.5),  # CUDA takes the beginning of a UUID
        ("GPU-11", None),  # unless it begins two
        ("GPU-9999", None),
        ("MIG-9999", None),
    ],
)
def test_the_gpu_of_a_process_is_the_first_that_is_left_visible(visible, gib):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    nvml = Nvml(SMALL, LARGE)
    assert first_visible(nvml, environment) == (None if gib is None else ("NVIDIA RTX A6000", gib))
    assert nvml.n_open == 0


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        ("0", 9.75),  # CUDA shows the first slice alone
        ("GPU-3333-cccc", 9.75),
        ("MIG-6666", 39.5),
        ("MIG-6666,MIG-5555", 39.5),
        ("1", pytest.approx(79.11)),  # knows slices, and is not cut
    ],
)
def test_of_a_gpu_that_is_cut_into_slices_a_process_has_one_slice(visible, gib):
    found = first_visible(Nvml(CUT, WHOLE), {"CUDA_VISIBLE_DEVICES": visible})
    assert found is not None and found[1] == gib and ("MIG" in found[0]) == (gib != pytest.approx(79.11))


def test_what_the_driver_keeps_of_an_h100_does_not_count():
    """PyTorch reports 79.1 GiB where nvidia-smi says 81,559 MiB."""
    h100 = Card("GPU-1", "NVIDIA H100 80GB HBM3", 81_559 / 1024, 551 / 1024)
    assert first_visible(Nvml(h100), {})[1] == pytest.approx(79.11, abs=0.01)
    assert first_visible(Nvml(h100, old_driver=True), {})[1] < 79.1
    t4 = Card("GPU-1", "Tesla T4", 15.0, 0.42)
    assert first_visible(Nvml(t4, old_driver=True), {})[1] < 14.58


def test_of_several_models_only_cuda_knows_which_one_it_counts_first():
    mixed = Nvml(Card("GPU-1", "NVIDIA T1000", 4.0), Card("GPU-2", "NVIDIA GeForce RTX 4090", 24.0))
    with pytest.raises(NvmlUnavailableError, match="GeForce RTX 4090, NVIDIA T1000"):
        first_visible(mixed, {})
    assert first_visible(mixed, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"})[1] == 23.5
    assert first_visible(mixed, {"CUDA_VISIBLE_DEVICES": "GPU-2"})[1] == 23.5
    assert gpu_in_sight(mixed, Cuda(24.0), {}, elsewhere) == elsewhere()


@pytest.mark.parametrize("nvml", [Nvml(library=False), Nvml(Card("GPU-1", "NVIDIA GB10", None)), Nvml()])
def test_where_nvml_does_not_answer_another_process_asks_cuda(nvml):
    cuda = Cuda(119.6)
    assert gpu_in_sight(nvml, cuda, {}, elsewhere) == elsewhere()
    assert not cuda.initialized and nvml.n_open == 0


def test_asking_leaves_cuda_alone_and_asks_it_where_it_is_initialised_anyway():
    cuda = Cuda(23.4, "NVIDIA RTX A6000")
    assert gpu_in_sight(Nvml(SMALL), cuda, {}, elsewhere) == ("NVIDIA RTX A6000", 23.5)
    assert not cuda.initialized
    used = Cuda(23.4, "NVIDIA RTX A6000", initialized=True)
    assert gpu_in_sight(Nvml(SMALL), used, {}, elsewhere) == ("NVIDIA RTX A6000", pytest.approx(23.4))


def test_a_gpu_that_pytorch_cannot_use_is_none():
    """A driver too old for this build of PyTorch: NVML sees the GPU all the same."""
    assert gpu_in_sight(Nvml(SMALL), Cuda(), {}, elsewhere) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_the_other_process_said_is_repeated_where_it_failed():
    asked_elsewhere.cache_clear()
    with pytest.raises(TrainingError, match=r"could not read its memory: .*(CUDA|cuda|driver).*Hide the GPU"):
        asked_elsewhere()


@pytest.mark.long
def test_facts_about_a_machine_come_without_initialising_cuda():
    script = """
        import torch
        from ftray.vram.gpus import local_gpu
        from ftray.trial.attempt import host_info
        gpu = local_gpu()
        assert host_info()["gpu"] == (gpu.name if gpu else None)
        assert (gpu is not None) == torch.cuda.is_available()
        assert not torch.cuda.is_initialized()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
