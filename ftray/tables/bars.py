"""A finished run on its validation windows, bar by bar: the trial's process writes it once, at the run's end.

Takes: a `BarRecord` of plain arrays. Gives: files next to the trial's events, in the columns of the tables that they
become part of (`schema`).

    trials/trial-0007/returns-1-3.parquet   the policy of fold 1 and seed 3
    trials/trial-0007/fills-1-3.parquet
    benchmarks/returns-1.parquet            the benchmarks on fold 1

The test window is in none of them: `ftray promote` alone reads it.

Legend: N steps, A assets.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray import stats
from ftray.files import replace_file
from ftray.tables.schema import SCHEMA, arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

FILES = ("returns", "fills")
"""The tables that trials write files of."""

POLICY, SPLIT = "policy", "validation"


@dataclasses.dataclass(frozen=True, eq=False)
class BarRecord:
    """A portfolio over a fold's validation windows.

    times: (N,) datetime64, opening times of the deciding bars. returns, equity, exposure, turnover: (N,).
    notional: (N, A) bought (+) or sold (−). regimes: (N,) labels of `stats.regime_labels`.
    """

    times: np.ndarray
    returns: np.ndarray
    equity: np.ndarray
    exposure: np.ndarray
    turnover: np.ndarray
    notional: np.ndarray
    symbols: Sequence[str]
    regimes: np.ndarray


def outcome_file(folder: Path, table: str, fold: int, seed: int) -> Path:
    """The file of a run's bars in its trial's folder."""
    return folder / f"{table}-{fold}-{seed}.parquet"


def write_outcome(folder: Path, fold: int, seed: int, outcome: BarRecord) -> None:
    """Writes both files of a run, each whole or not at all; a repeated run writes the same files."""
    whose = {"trial": folder.name, "portfolio": POLICY, "fold": fold, "seed": seed, "split": SPLIT}
    steps, assets = np.nonzero(outcome.notional)
    fills = {
        "time": outcome.times[steps],
        "symbol": np.asarray(outcome.symbols, dtype=object)[assets],
        "notional": outcome.notional[steps, assets],
    }
    _write(outcome_file(folder, "returns", fold, seed), "returns", whose, _bars(outcome))
    _write(outcome_file(folder, "fills", fold, seed), "fills", whose, fills)


def write_benchmarks(run: Path, fold: int, outcomes: Mapping[str, BarRecord]) -> None:
    """Writes the bars of the portfolios that a fold's trials are compared with; written once."""
    file = run / "benchmarks" / f"returns-{fold}.parquet"
    if file.exists():
        return
    import pyarrow as pa

    file.parent.mkdir(exist_ok=True)
    tables = [
        _table("returns", {"portfolio": name, "fold": fold, "split": SPLIT}, _bars(outcome))
        for name, outcome in outcomes.items()
    ]
    replace_file(file, parquet(pa.concat_tables(tables)))


def parquet(table: "pa.Table", rows_per_group: int = 64_000) -> bytes:
    """A table as the content of a parquet file: small, and read in parts by trial."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=rows_per_group,
        compression="zstd",
        use_dictionary=texts,  # type: ignore[arg-type]  # a list names the columns
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )
    return buffer.getvalue()


def _bars(outcome: BarRecord) -> dict[str, Any]:
    names = np.array([*stats.REGIMES, None], dtype=object)  # the last one is where UNKNOWN, −1, points
    return {
        "time": outcome.times,
        "return": outcome.returns,
        "equity": outcome.equity,
        "exposure": outcome.exposure,
        "turnover": outcome.turnover,
        "regime": names[outcome.regimes],
    }


def _write(file: Path, name: str, whose: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, parquet(_table(name, whose, columns)))


def _table(name: str, whose: Mapping[str, Any], columns: Mapping[str, Any]) -> "pa.Table":
    """The documented columns of a table: arrays as they come, facts repeated in every row."""
    import pyarrow as pa

    n = len(columns["time"])
    made = {}
    for column, described in SCHEMA[name].items():
        type_ = arrow_type(described.kind)
        if column not in columns:
            made[column] = pa.array([whose.get(column)] * n, type_)
        elif described.kind == "time":
            made[column] = pa.array(columns[column].astype("datetime64[us]"), type_)
        else:
            made[column] = pa.array(columns[column], type_)
    return pa.table(made)
