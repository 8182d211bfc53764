"""What trading costs a run, and the fee at which it would have earned nothing."""

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_along, checked_returns

_HALVINGS = 60


def break_even_fee(returns: ArrayLike, turnover: ArrayLike, fees: ArrayLike) -> float:
    """The fee, as a fraction of notional, at which the run would have ended where it began.

    Trades are taken as they were: the f with Π (1 + rₜ + feesₜ − f · turnoverₜ) = 1, where r is net of the fees that
    were paid; slippage stays paid. 0.0 for a run that loses even without fees, and for one that never trades.

    returns: (T,) after costs. turnover: (T,) traded notional as a fraction of equity. fees: (T,) as that too.

    >>> round(break_even_fee([0.02, -0.005, 0.0], [1.0, 1.0, 0.0], [0.005, 0.005, 0.0]), 4)
    0.0124
    """
    returns = checked_returns(returns)
    turnover, fees = checked_along(turnover, returns, "turnover"), checked_along(fees, returns, "fees")
    gross = 1.0 + returns + fees
    trading = turnover > 0.0
    if not trading.any() or gross.min() <= 0.0 or np.log(gross).sum() <= 0.0:
        return 0.0

    def growth(fee: float) -> float:
        left = gross - fee * turnover
        return float(np.log(left).sum()) if left.min() > 0.0 else -np.inf

    # Growth falls with the fee, from above 0 to −∞ where the fee eats the whole equity of some bar: halve the range.
    low, high = 0.0, float((gross[trading] / turnover[trading]).min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if growth(middle) > 0.0 else (low, middle)
    return low
