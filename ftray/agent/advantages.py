"""Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438) over fragments of episodes, in numpy.

Legend: N fragments, B steps of all fragments.
"""

import numpy as np


def generalised_advantages(
    values: np.ndarray,
    *,
    closing_values: np.ndarray,
    rewards: np.ndarray,
    lengths: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and value targets of every step, fragments one after the other.

    A_t = δ_t + γ λ A_{t+1} with δ_t = r_t + γ V_{t+1} − V_t. After a fragment's last step V is its closing value: that
    of its last observation where it was cut or its market ended, 0 where it terminated.

    Shape: values, rewards (B,), closing_values, lengths (N,) → (B,), (B,) float32.
    """
    first, last = np.cumsum(lengths) - lengths, np.cumsum(lengths) - 1
    values = values.astype(np.float64)
    following = np.append(values[1:], 0.0)
    following[last] = closing_values
    delta = rewards + gamma * following - values
    advantages = delta.copy()
    for t in range(int(lengths.max()) - 2, -1, -1):  # backwards in time, all fragments that are long enough at once
        step = first[lengths > t + 1] + t
        advantages[step] += gamma * gae_lambda * advantages[step + 1]
    return advantages.astype(np.float32), (advantages + values).astype(np.float32)
