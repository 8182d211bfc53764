"""The random state of a process: torch's generators, from which actions are sampled.

Takes: the device that a process computes on. Gives: arrays. Environments and minibatches have generators of their own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

CPU, CUDA = "torch", "torch_cuda"


def random_state(device: torch.device) -> dict[str, np.ndarray]:
    """The states of torch's generators, on the CPU and on a GPU that the process computes on."""
    state = {CPU: torch.get_rng_state().numpy()}
    if device.type == "cuda":
        state[CUDA] = torch.cuda.get_rng_state(device).numpy()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Continues from what `random_state` gave on a device of the same type."""
    torch.set_rng_state(torch.from_numpy(np.array(state[CPU])))
    if device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(np.array(state[CUDA])), device)
