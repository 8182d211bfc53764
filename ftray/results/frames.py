"""Trials as a table: one row per trial, for notebooks and for queries with duckdb.

Takes: trial records. Gives: rows, a pandas frame, parquet. pandas and pyarrow are imported where they are used, so that
reading a run folder without them stays quick.

Columns: id, number, kind, state, error, started_at, ended_at, wall_seconds; then searched values and metrics under
their own names (`trial/encoder/d_token`, `validation/sharpe`); last `spec`, as JSON.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftray.results.events import to_json
from ftray.results.records import TrialRecord

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("id", "number", "kind", "state", "error", "started_at", "ended_at", "wall_seconds")


def trial_rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One flat mapping per trial, all with the same keys; None where a trial has no such value or metric."""
    values = dict.fromkeys(name for trial in trials for name in trial.values)
    metrics = dict.fromkeys(name for trial in trials for name in trial.metrics if name not in FACTS)
    return [
        {
            **{name: getattr(trial, name) for name in FACTS},
            **{name: trial.values.get(name) for name in values},
            **{name: trial.metrics.get(name) for name in metrics},
            "spec": to_json(trial.spec),
        }
        for trial in trials
    ]


def trials_frame(trials: Sequence[TrialRecord]) -> "pd.DataFrame":
    """The rows as a pandas frame."""
    import pandas as pd

    return pd.DataFrame(trial_rows(trials), columns=None if trials else [*FACTS, "spec"])


def trials_parquet(trials: Sequence[TrialRecord]) -> bytes:
    """The rows as the content of a parquet file; a column of mixed types becomes text, each value as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = trial_rows(trials)
    names = list(rows[0]) if rows else [*FACTS, "spec"]
    columns = {name: _column([row[name] for row in rows]) for name in names}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _column(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) > 1 or kinds & {dict, list}:
        return pa.array([None if value is None else to_json(value) for value in values])
    return pa.array(values)
