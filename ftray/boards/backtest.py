"""A backtest for readers and notebooks: one aligned table, parquet files, one plot.

Takes: plain arrays and mappings. Gives: a folder with `equity.parquet`, `weights.parquet`, `fills.parquet`,
`performance.json` and `equity.html`.

Legend: N steps, A assets.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftray.boards.terminal import align, print_lines
from ftray.errors import MissingDependencyError
from ftray.files import replace_file
from ftray.metrics import format_metric, metric_title, validation
from ftray.plots.equity import plot_equity

if TYPE_CHECKING:
    from rich.console import Console

Performance = Mapping[str, Mapping[str, float]]


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

    rows = [["", *performance]]
    for measure in next(iter(performance.values())):
        name = validation(measure)
        cells = (format_metric(name, values.get(measure)) for values in performance.values())
        rows.append([metric_title(name), *cells])
    print_lines(align(rows), console or Console())
