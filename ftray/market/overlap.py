"""The bars that several candle files share, and what each file costs the others.

Takes: the times of files. Gives: an `Overlap`, which answers for any choice of the files.

Legend: U times that any file has, N files.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ftray.market.candles import unbroken_runs


class Overlap:
    """Which of N files has which bar.

    A bar is usable where an unbroken run of `run` bars ends: a decision looks so far back.
    """

    def __init__(self, times: Sequence[np.ndarray], interval: np.timedelta64, run: int):
        self.times = np.unique(np.concatenate(times))
        self.interval, self.run = interval, run
        self._presence = np.zeros((len(self.times), len(times)), bool)
        for i, own in enumerate(times):
            self._presence[np.searchsorted(self.times, own), i] = True

    def common(self, files: Iterable[int]) -> np.ndarray:
        """The times that all of these files have, (T,) datetime64[ns]."""
        return self.times[self._presence[:, list(files)].all(axis=1)]

    def n_usable(self, files: Iterable[int]) -> int:
        """How many usable bars all of these files have."""
        runs = unbroken_runs(self.common(files), self.interval)
        return sum(max(0, len(run) - self.run + 1) for run in runs)

    def cost(self, files: Sequence[int], file: int) -> int:
        """The usable bars that the other files have more without this one; 0 for the only one."""
        others = [other for other in files if other != file]
        return self.n_usable(others) - self.n_usable(files) if others else 0

    def worth_keeping(self) -> list[int]:
        """The files that have the most usable bars together: those that they share, times their number.

        The file that costs the others most is left out first. More than half of all files stay: of two halves with
        different histories, neither is obviously the right one.
        """
        n = self._presence.shape[1]
        kept = list(range(n))
        while (len(kept) - 1) * 2 > n:
            now, costs = self.n_usable(kept), {file: self.cost(kept, file) for file in kept}
            worst = max(kept, key=costs.__getitem__)
            if (len(kept) - 1) * costs[worst] <= now:  # what the others gain is no more than what it has
                break
            kept.remove(worst)
        return kept
