"""What a trained policy did on its validation windows, bar by bar: written by the trial's process as a training ends.

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


def bars_file(folder: Path, table: str, fold: int, seed: int) -> Path:
    """Where a training's bars lie in its trial's folder."""
    return folder / f"{table}-{fold}-{seed}.parquet"


def write_bars(folder: Path, fold: int, seed: int, record: BarRecord) -> None:
    """Writes both files of a training, each whole or not at all; one that is repeated writes the same again."""
    whose = {"trial": folder.name, "portfolio": POLICY, "fold": fold, "seed": seed, "split": SPLIT}
    steps, assets = np.nonzero(record.notional)
    fills = {
        "time": record.times[steps],
        "symbol": np.asarray(record.symbols, dtype=object)[assets],
        "notional": record.notional[steps, assets],
    }
    _write(bars_file(folder, "returns", fold, seed), "returns", whose, _bars(record))
    _write(bars_file(folder, "fills", fold, seed), "fills", whose, fills)


def write_benchmarks(run: Path, fold: int, benchmarks: Mapping[str, BarRecord]) -> None:
    """Writes the bars of the portfolios that a fold's trials are compared with; written once."""
    file = run / "benchmarks" / f"returns-{fold}.parquet"
    if file.exists():
        return
    import pyarrow as pa

    file.parent.mkdir(exist_ok=True)
    tables = [
        _table("returns", {"portfolio": name, "fold": fold, "split": SPLIT}, _bars(record))
        for name, record in benchmarks.items()
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


def _bars(record: BarRecord) -> dict[str, Any]:
    names = np.array([*stats.REGIMES, None], dtype=object)  # the last one is where UNKNOWN, −1, points
    return {
        "time": record.times,
        "return": record.returns,
        "equity": record.equity,
        "exposure": record.exposure,
        "turnover": record.turnover,
        "regime": names[record.regimes],
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
