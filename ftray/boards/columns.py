"""The columns of tables for people, in a terminal, on a page and in a report: their titles, and how values are written.

Takes: rows as plain mappings. Gives: per table, a `TableColumn` for each key of its rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftray.analysis.leaderboard import COLUMNS
from ftray.analysis.luck import RATIOS
from ftray.metrics import PRETRAINING_LOSS, WALL_SECONDS, metric, metric_title
from ftray.units import UNITS


class TableColumn(NamedTuple):
    """title: its heading. unit: of its numbers, one of `metrics.UNITS`; None for words. prefix: of each number.

    >>> TableColumn("error", "ratio", "±").format(0.123)
    '±0.12'
    """

    title: str
    unit: str | None = None
    prefix: str = ""

    def format(self, value: Any) -> str:
        """A value as people read it; a dash where there is none."""
        if value is None or value != value:
            return "-"
        return str(value) if self.unit is None else self.prefix + UNITS[self.unit].format(value)


Columns = Mapping[str, TableColumn]
"""Key of a row → its column."""


def of_metric(name: str) -> TableColumn:
    """The column of a metric."""
    return TableColumn(metric_title(name), metric(name).unit)


NO_METRICS: Columns = {
    "rank": TableColumn("rank", "count"),
    "objective": TableColumn("objective", "number"),
    "error": TableColumn("error", "annual ratio", "±"),
    "deflated_sharpe": TableColumn("deflated", "whole fraction"),
}
"""Columns of the leaderboard with numbers that are no metrics."""

LEADERBOARD: Columns = {
    key: of_metric(name) if name else NO_METRICS.get(key, TableColumn(key)) for key, name in COLUMNS.items()
}

ENCODERS: Columns = {
    "job": TableColumn("job"),
    "encoder": TableColumn("encoder"),
    "learning_rate": TableColumn("learning rate", "rate"),
    "mask_ratio": TableColumn("mask ratio", "ratio"),
    "epochs": TableColumn("epochs", "count"),
    "loss": of_metric(PRETRAINING_LOSS),
    "wall_seconds": of_metric(WALL_SECONDS),
    "state": TableColumn("state"),
}

MACHINES: Columns = {
    "host": TableColumn("machine"),
    "cpu": TableColumn("processor"),
    "gpu": TableColumn("GPU"),
    "running": TableColumn("jobs running", "count"),
    "ended": TableColumn("jobs ended", "count"),
    "cpu_hours": TableColumn("CPU core hours", "number"),
    "gpu_hours": TableColumn("GPU hours", "number"),
    "vram_planned_gib": TableColumn("GiB planned", "number"),
    "vram_used_gib": TableColumn("GiB used at most", "number"),
}

FAILURES: Columns = {
    "n": TableColumn("trials", "count"),
    "error": TableColumn("first error"),
    "trials": TableColumn("which"),
}


def leaderboard_columns(goal: str, rows: Sequence[Mapping[str, Any]] | None = None) -> Columns:
    """The columns of a study's leaderboard.

    goal: the metric that it searches for. It appears once, as `objective`, and with its error where it is a plain or
    active Sharpe ratio. rows: what none of them has is left out of the costs, and of what earlier versions lack.
    """
    left_out = set() if goal in RATIOS else {"error", "deflated_sharpe"}
    if rows is not None:
        rare = ("validation_active_sharpe", "validation_round_trips", "cpu_seconds", "gpu_seconds")
        left_out |= {key for key in rare if not any(row[key] for row in rows)}
    own = next((key for key, name in COLUMNS.items() if name == goal), "objective")
    shown: dict[str, TableColumn] = {}
    for key, column in LEADERBOARD.items():
        if key == "objective":
            shown[own] = of_metric(goal)
        elif key not in left_out:
            shown.setdefault(key, column)
    return shown
