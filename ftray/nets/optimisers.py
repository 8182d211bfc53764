"""Optimisers that keep to the devices of their parameters."""

import torch


def within_its_devices(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser, which initialises no CUDA where all its parameters are on the CPU.

    From PyTorch 2.12 on every step asks the current CUDA stream whether a graph is being captured, whatever the
    parameters are on. That makes a context, some 0.5 GiB of a GPU that this process did not book.
    """
    if all(parameter.device.type == "cpu" for group in optimizer.param_groups for parameter in group["params"]):
        optimizer._accelerator_graph_capture_health_check = _nothing_is_captured  # type: ignore[attr-defined]
    return optimizer


def _nothing_is_captured() -> None:
    pass
