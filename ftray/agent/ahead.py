"""Looking ahead: market vectors of bars that accounts have yet to reach.

With late fusion a market vector depends on the bar alone, and while weights stand still an env runner knows the bars
to come: each account's next ones. The tower works through them in large batches, not a few at every step.

Legend: E accounts, T steps, D width of the market vector.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BARS_PER_PASS = 128
"""Larger passes leave the cache of a CPU: 512 bars take 1.7 times as long per bar as 128."""


class MarketAhead:
    """The vectors of the next T bars of E accounts; those of an episode that begins elsewhere come when asked for."""

    def __init__(self, tower: Callable[[Tensor], Tensor], bars: Tensor, n_steps: int, last_bar: int):
        """tower: bars (N,) → vectors (N, D). bars: where the accounts stand (E,). last_bar: the table's."""
        self._tower, self._first, self._n_steps = tower, bars, n_steps
        self._accounts = torch.arange(len(bars), device=bars.device)
        to_come = bars[:, None] + torch.arange(n_steps, device=bars.device)
        unique, inverse = to_come.clamp(max=last_bar).unique(return_inverse=True)
        self._vectors = torch.cat([tower(chunk) for chunk in unique.split(BARS_PER_PASS)])[inverse]

    def at(self, bars: Tensor) -> Tensor:
        """The vectors of the bars that the accounts stand at now. Shape: (E,) → (E, D)."""
        step = bars - self._first
        found = self._vectors[self._accounts, step.clamp(0, self._n_steps - 1)]
        unknown = (step < 0) | (step >= self._n_steps)
        if unknown.any():
            found[unknown] = self._tower(bars[unknown])
        return found
