"""A backtest for readers and notebooks: aligned tables in a terminal, parquet files, a tear sheet.

Takes: backtests by name, the measures of each. Gives: a folder with `equity.parquet`, `weights.parquet`,
`fills.parquet`, `performance.json` and `tear_sheet.html`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftray.boards.tear_sheet import tear_sheet_file, write_tear_sheet
from ftray.boards.terminal import align, print_lines
from ftray.files import replace_file
from ftray.metrics import CASH, format_metric, metric_title, validation
from ftray.outputs import check_output_file, check_output_folder
from ftray.plots.tear_sheet import backtest_data
from ftray.trading import Backtest

if TYPE_CHECKING:
    from rich.console import Console

Performance = Mapping[str, Mapping[str, float]]


def write_backtest(
    folder: Path, performance: Performance, backtests: Mapping[str, Backtest], title: str, html: Path | None = None
) -> Path:
    """Writes the files of one backtest, and returns the path of its tear sheet.

    `equity.parquet`: time, and a column per backtest: equity at that close. `weights.parquet`: time, cash and a column
    per asset: fractions of equity at that close. `fills.parquet`: see `Backtest.fills`.

    performance: the measures of each, and of whatever else is compared. backtests: `policy`, and the benchmarks on the
    same bars. title: of the tear sheet. html: its file or folder; by default it is in the same folder as the rest.

    Raises: OutputError, before anything is written, for a place that cannot be; MissingDependencyError where plotly is
        missing; everything but the tear sheet is then written.
    """
    import pandas as pd

    check_backtest_outputs(folder, html)
    policy = backtests["policy"]
    equity = {name: one.equity for name, one in backtests.items()}
    weights = pd.DataFrame(policy.weights, columns=list(policy.symbols))
    frames = {
        "equity": pd.DataFrame({"time": policy.times, **equity}),
        "weights": pd.DataFrame({"time": policy.times, "cash": 1.0 - policy.weights.sum(axis=1)}).join(weights),
        "fills": policy.fills(),
    }
    for name, frame in frames.items():
        replace_file(folder / f"{name}.parquet", frame.to_parquet(index=False))
    replace_file(folder / "performance.json", json.dumps(performance, indent=1).encode())
    return write_tear_sheet(html or folder, title, backtest_data(backtests))


def check_backtest_outputs(folder: Path | None, html: Path | None) -> None:
    """Checks where `write_backtest` will write; None for a place that is not named.

    Raises: OutputError.
    """
    if folder is not None:
        check_output_folder(folder)
    if html is not None:
        check_output_file(tear_sheet_file(html))


def print_performance(performance: Performance, *, console: "Console | None" = None) -> None:
    """One line per measure, one column per portfolio, aligned."""
    from rich.console import Console

    rows = [["", *performance]]
    for measure in next(iter(performance.values())):
        name = validation(measure)
        cells = (format_metric(name, values.get(measure)) for values in performance.values())
        rows.append([metric_title(name), *cells])
    print_lines([*align(rows), *describe_idle(performance)], console or Console())


def describe_idle(performance: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A line that names the benchmarks that cannot trade, and so say nothing about the market; empty if all can.

    performance: measures by name, of anything that is compared.
    """
    compared = {name: one for name, one in performance.items() if name not in ("policy", CASH)}
    idle = [name for name, one in compared.items() if one.get("turnover") == 0.0]
    if not idle:
        return []
    return [f"cannot trade, and stay in cash: {', '.join(idle)}; all their orders are below rules.min_order"]
