"""A backtest as people and notebooks want it: one aligned table, parquet files, one plot.

Takes: plain arrays and mappings. Gives: a folder with `equity.parquet`, `weights.parquet`, `fills.parquet`,
`performance.json` and `equity.html`.

Legend: N steps, A assets.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray.errors import MissingDependencyError
from ftray.files import replace_file
from ftray.plots.equity import plot_equity

if TYPE_CHECKING:
    from rich.console import Console

Performance = Mapping[str, Mapping[str, float]]

FRACTIONS = ("total_return", "annual_return", "volatility", "max_drawdown", "hit_rate", "exposure", "fees")
SMALL_FRACTIONS = ("best_bar", "worst_bar", "break_even_fee")


def write_backtest(
    folder: Path,
    performance: Performance,
    times: np.ndarray,
    equity: Mapping[str, np.ndarray],
    symbols: Sequence[str],
    weights: np.ndarray,
    notional: np.ndarray,
) -> Path:
    """Writes the files of one backtest.

    times: (N,) of the deciding bars. equity: name → (N,) after each step. weights, notional: (N, A) of the policy.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    steps, assets = np.nonzero(notional)
    frames = {
        "equity": pd.DataFrame({"time": times, **equity}),
        "weights": pd.DataFrame({"time": times, "cash": 1.0 - weights.sum(axis=1)}).join(
            pd.DataFrame(weights, columns=list(symbols))
        ),
        "fills": pd.DataFrame(
            {
                "time": times[steps],
                "symbol": np.asarray(symbols, dtype=object)[assets],
                "notional": notional[steps, assets],
            }
        ),
    }
    for name, frame in frames.items():
        replace_file(folder / f"{name}.parquet", frame.to_parquet(index=False))
    replace_file(folder / "performance.json", json.dumps(performance, indent=1).encode())
    try:
        page = plot_equity({"times": times, "equity": equity}).to_html(include_plotlyjs=True)
        replace_file(folder / "equity.html", page.encode())
    except MissingDependencyError as error:
        print(f"no plot: {error}")
    return folder


def print_performance(performance: Performance, *, console: "Console | None" = None) -> None:
    """One line per measure, one column per portfolio, aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in performance:
        table.add_column(name, justify="right")
    first = next(iter(performance.values()))
    for measure in first:
        show = _shown(measure)
        table.add_row(measure.replace("_", " "), *(show(values.get(measure)) for values in performance.values()))
    (console or Console(width=24 + 14 * len(performance))).print(table)


def _shown(measure: str) -> Callable[[Any], str]:
    if measure in FRACTIONS:
        return lambda value: "-" if value is None else f"{value:.1%}"
    if measure in SMALL_FRACTIONS:
        return lambda value: "-" if value is None else f"{value:.2%}"
    if measure.startswith(("n_", "drawdown_length")):
        return lambda value: "-" if value is None else f"{value:,.0f}"
    return lambda value: "-" if value is None else f"{value:.2f}"
