"""The columns of tables for people, in a terminal, on a page and in a report: their titles, and how values are written.

Takes: rows as plain mappings. Gives: per table, a `Column` for each key of its rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftray.metrics import CPU_SECONDS, GPU_SECONDS, PRETRAINING_LOSS, SHARPE, UNITS, WALL_SECONDS, metric, metric_title
from ftray.metrics import validation as on_validation


class Column(NamedTuple):
    """title: what stands over it. unit: of its numbers, one of `metrics.UNITS`; None for words. prefix: of each number.

    >>> Column("error", "ratio", "±").format(0.123)
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


Columns = Mapping[str, Column]
"""Key of a row → its column."""


def of_metric(name: str) -> Column:
    """The column of a metric."""
    return Column(metric_title(name), metric(name).unit)


METRIC_OF = {
    "validation_sharpe": SHARPE,
    "validation_return": on_validation("total_return"),
    "validation_max_drawdown": on_validation("max_drawdown"),
    "validation_turnover": on_validation("turnover"),
    "validation_exposure": on_validation("exposure"),
    "cpu_seconds": CPU_SECONDS,
    "gpu_seconds": GPU_SECONDS,
    "wall_seconds": WALL_SECONDS,
}
"""Columns of the leaderboard → the metrics that they show."""

LEADERBOARD: Columns = {
    "rank": Column("rank", "count"),
    "trial": Column("trial"),
    "encoder": Column("encoder"),
    "pretrained": Column("pretrained"),
    "objective": Column("objective", "number"),
    "error": Column("error", "number", "±"),
    "deflated_sharpe": Column("deflated", "whole fraction"),
    **{key: of_metric(name) for key, name in METRIC_OF.items()},
    "state": Column("state"),
}

ENCODERS: Columns = {
    "job": Column("job"),
    "encoder": Column("encoder"),
    "learning_rate": Column("learning rate", "rate"),
    "mask_ratio": Column("mask ratio", "ratio"),
    "epochs": Column("epochs", "count"),
    "loss": of_metric(PRETRAINING_LOSS),
    "wall_seconds": of_metric(WALL_SECONDS),
    "state": Column("state"),
}

MACHINES: Columns = {
    "host": Column("machine"),
    "cpu": Column("processor"),
    "gpu": Column("GPU"),
    "running": Column("trials running", "count"),
    "ended": Column("trials ended", "count"),
    "cpu_hours": Column("CPU core hours", "number"),
    "gpu_hours": Column("GPU hours", "number"),
    "vram_planned_gib": Column("GiB planned", "number"),
    "vram_used_gib": Column("GiB used at most", "number"),
}

FAILURES: Columns = {
    "n": Column("trials", "count"),
    "error": Column("first error"),
    "trials": Column("which"),
}


def leaderboard_columns(goal: str, rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns that say something here: the metric that a study searches for once, GPU time where there was a GPU.

    goal: that metric. It stands where `objective` does, with its error where it is the Sharpe ratio.
    """
    left_out = set() if goal == SHARPE else {"error", "deflated_sharpe"}
    left_out |= {key for key in ("cpu_seconds", "gpu_seconds") if not any(row[key] for row in rows)}
    own = next((key for key, name in METRIC_OF.items() if name == goal), "objective")
    shown: dict[str, Column] = {}
    for key, column in LEADERBOARD.items():
        if key == "objective":
            shown[own] = of_metric(goal)
        elif key not in left_out:
            shown.setdefault(key, column)
    return shown
