"""Which steps become CUDA graphs."""

import torch

from ftray.nets.graphs import CAPTURED_BYTES, VARIABLE, wanted


def test_small_steps_on_a_gpu_become_graphs_unless_the_environment_says_off(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert wanted(gpu, CAPTURED_BYTES) and not wanted(gpu, CAPTURED_BYTES + 1) and not wanted(cpu, 1)
    monkeypatch.setenv(VARIABLE, "off")
    assert not wanted(gpu, 1)
