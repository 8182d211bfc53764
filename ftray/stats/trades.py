"""What trades earned: sales matched with the purchases that they close.

Takes: one asset's fills. Gives: per sale its profit and how long the units were held.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ClosedTrades(NamedTuple):
    """One closed trade per sale, each array (K,).

    at: the sale's place among the fills. profit: what the sale brought less what its units had cost, both after fees
    and slippage. cost: what its units had cost. held: mean time since its units were bought, weighted by units.
    """

    at: np.ndarray
    profit: np.ndarray
    cost: np.ndarray
    held: np.ndarray


def closed_trades(units: ArrayLike, cash: ArrayLike, times: ArrayLike) -> ClosedTrades:
    """Sales matched first in, first out: each sale closes the oldest units that are still held.

    Of a holding that is never short. First in, first out is what tax authorities assume where lots are not named (IRS
    Publication 550) and how pyfolio matches round trips. The n-th unit sold is the n-th unit bought, so costs and
    times are interpolated on the running sum of units bought.

    units: (M,) bought (+) or sold (−), in the order of the fills.
    cash: (M,) paid (−) or received (+) for them, after fees and slippage.
    times: (M,) of the fills, as numbers in any unit; `held` is in the same unit.

    >>> closed_trades([1.0, 1.0, -1.5], [-10.0, -20.0, 45.0], [0.0, 1.0, 2.0]).profit.tolist()
    [25.0]
    """
    units, cash, times = (np.asarray(one, dtype=float) for one in (units, cash, times))
    at = np.flatnonzero(units < 0)
    bought = np.maximum(units, 0.0)
    paid, moments = np.where(bought > 0, -cash, 0.0), bought * times
    n_bought, costs, ages = (np.concatenate(([0.0], np.cumsum(one))) for one in (bought, paid, moments))
    n_sold = np.concatenate(([0.0], np.cumsum(-units[at])))
    sold = np.diff(n_sold)
    cost, opened = (np.diff(np.interp(n_sold, n_bought, one)) for one in (costs, ages))
    held = times[at] - np.divide(opened, sold, out=np.zeros_like(sold), where=sold > 0)
    return ClosedTrades(at, cash[at] - cost, cost, held)
