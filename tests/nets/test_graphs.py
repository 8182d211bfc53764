"""Which steps become CUDA graphs."""

import torch

from ftray.nets.graphs import CAPTURED_BYTES, GRAPHS_VARIABLE, worth_a_graph


def test_small_steps_on_a_gpu_become_graphs_unless_the_environment_says_off(monkeypatch):
    monkeypatch.delenv(GRAPHS_VARIABLE, raising=False)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert (
        worth_a_graph(gpu, CAPTURED_BYTES) and not worth_a_graph(gpu, CAPTURED_BYTES + 1) and not worth_a_graph(cpu, 1)
    )
    monkeypatch.setenv(GRAPHS_VARIABLE, "off")
    assert not worth_a_graph(gpu, 1)
