"""What each asset earned, and the trades that were closed in it.

Takes: fills, a frame per training, as `Backtest.fills` and `Study.fills` have them. Gives: a frame by asset.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ftray import stats
from ftray.tables.schema import Frame

END = "end"
ALL = "all"
COLUMNS = ("profit", "gross", "fees", "slippage", "n_closed", "winning", "mean_profit", "held", "closed", "open")


def asset_profits(fills: Sequence[Frame]) -> Frame:
    """Profit, costs and closed trades of each asset, and of all together in the last row.

    A closed trade is a sale, by an order or by ruin, with the purchases that it closes first in, first out (see
    `stats.closed_trades`). What a segment's end closes at its last close is not sold: its profit is `open`.

    fills: one frame per training, in the order of the fills.

    Columns, in quote currency and as means over the trainings: profit (net), gross (before fees and slippage), fees,
    slippage, closed and open (the two parts of profit); over the closed trades of all trainings: n_closed, winning (the
    fraction with a profit), mean_profit, held (mean seconds between purchase and sale). NaN where none was closed.
    """
    import pandas as pd

    trades = pd.concat([_trades(own) for own in fills], ignore_index=True)
    costs: Frame = pd.concat(list(fills), ignore_index=True)
    costs["paid"] = costs["notional"] + costs["fee"] + costs["slippage"]
    rows = {symbol: _row(own, trades[trades["symbol"] == symbol]) for symbol, own in costs.groupby("symbol")}
    rows[ALL] = _row(costs, trades)
    table: Frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    money = ["profit", "gross", "fees", "slippage", "closed", "open"]
    return table.assign(**{name: table[name] / len(fills) for name in money})


def _trades(fills: Frame) -> Frame:
    """The sales of a training with their profits."""
    import pandas as pd

    paid = fills["notional"] + fills["fee"] + fills["slippage"]
    found = []
    for symbol, own in fills.assign(paid=paid).groupby("symbol", sort=False):
        seconds = own["time"].to_numpy().astype("datetime64[us]").astype(float) / 1e6
        closed = stats.closed_trades(own["units"], -own["paid"], seconds)
        cause = own["cause"].to_numpy()[closed.at]
        found.append({"symbol": symbol, "cause": cause, "profit": closed.profit, "held": closed.held})
    frames = [pd.DataFrame(one) for one in found]
    return pd.concat(frames) if frames else pd.DataFrame(columns=["symbol", "cause", "profit", "held"], dtype=float)


def _row(fills: Frame, trades: Frame) -> dict[str, Any]:
    is_open = trades["cause"] == END
    closed = trades[~is_open]
    profit, fees, slippage = -fills["paid"].sum(), fills["fee"].sum(), fills["slippage"].sum()
    return {
        "profit": profit,
        "gross": profit + fees + slippage,
        "fees": fees,
        "slippage": slippage,
        "n_closed": len(closed),
        "winning": (closed["profit"] > 0).mean() if len(closed) else np.nan,
        "mean_profit": closed["profit"].mean() if len(closed) else np.nan,
        "held": closed["held"].mean() if len(closed) else np.nan,
        "closed": closed["profit"].sum(),
        "open": trades["profit"][is_open].sum(),
    }
