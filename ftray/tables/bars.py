"""What a trained policy did on its validation windows, bar by bar: written by the trial's process as a training ends.

Takes: a `BarRecord` of plain arrays. Gives: files next to the trial's events, in the columns of the tables that they
become part of (`schema`).

    trials/trial-0007/returns-1-3.parquet   the policy of fold 1 and seed 3
    trials/trial-0007/fills-1-3.parquet     what it bought and sold
    trials/trial-0007/weights-1-3.parquet   what it held
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

FILES = ("returns", "fills", "weights")
"""The tables that trials write files of."""

POLICY, SPLIT = "policy", "validation"

MAX_WEIGHTS = 1_000
"""Steps of a training whose weights are kept: of each bar and asset, they would be larger than all the rest."""

ADDED = {"returns": "fees", "fills": "price"}
"""A column that files of version 0.1 lack; their times are the opening times of the deciding bars."""

BARS_LATER = {"returns": 2, "fills": 1}
"""What `time` is now, in bars after the deciding bar's opening time."""


@dataclasses.dataclass(frozen=True, eq=False)
class BarRecord:
    """A portfolio over a fold's validation windows.

    times: (N,) datetime64, closes at which equity was marked. returns, equity, exposure, turnover: (N,).
    fees, slippage: (N,) what trading cost, in quote currency. weights: (N, A). regimes: (N,) labels of
    `stats.regime_labels`. fills: the columns of `fills` that describe one, each (M,).
    """

    times: np.ndarray
    returns: np.ndarray
    equity: np.ndarray
    exposure: np.ndarray
    turnover: np.ndarray
    fees: np.ndarray
    slippage: np.ndarray
    regimes: np.ndarray
    symbols: Sequence[str]
    weights: np.ndarray
    fills: Mapping[str, Any]


def bars_file(folder: Path, table: str, fold: int, seed: int) -> Path:
    """Where a training's bars lie in its trial's folder."""
    return folder / f"{table}-{fold}-{seed}.parquet"


def write_bars(folder: Path, fold: int, seed: int, record: BarRecord, trial: str | None = None) -> None:
    """Writes the files of a training, each whole or not at all; one that is repeated writes the same again.

    folder: the trial's. trial: its id, where the folder has another name.
    """
    whose = {"trial": trial or folder.name, "portfolio": POLICY, "fold": fold, "seed": seed, "split": SPLIT}
    made = {"returns": _bars(record), "fills": record.fills, "weights": _weights(record)}
    for table in FILES:
        _write(bars_file(folder, table, fold, seed), table, whose, made[table])


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


def read_bars(file: Path, table: str) -> "pa.Table":
    """A file that `write_bars` or `write_benchmarks` made; one of version 0.1 in the columns and times of today.

    What 0.1 did not store is null. It stored no interval either: that is the shortest time between two bars.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(file)
    if table not in ADDED or ADDED[table] in found.column_names:
        return found
    bars = pq.read_table(file.with_name(file.name.replace("fills-", "returns-")), columns=["time"])
    apart = np.diff(np.unique(bars["time"].to_numpy()))
    interval = apart.min() if len(apart) else np.timedelta64(0, "us")
    columns = {name: found[name] for name in SCHEMA[table] if name in found.column_names}
    columns["time"] = pa.array(found["time"].to_numpy() + BARS_LATER[table] * interval, arrow_type("time"))
    nothing = {name: pa.nulls(len(found), arrow_type(SCHEMA[table][name].kind)) for name in SCHEMA[table]}
    if table == "fills":
        nothing["cause"] = pa.repeat(pa.scalar("order"), len(found))
    return pa.table({**nothing, **columns})


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
        "fees": record.fees,
        "slippage": record.slippage,
        "regime": names[record.regimes],
    }


def _weights(record: BarRecord) -> dict[str, Any]:
    """The weights at some steps, evenly spread, the last one among them; a row per step and asset."""
    n = len(record.times)
    steps = n - 1 - np.linspace(0, n - 1, min(n, MAX_WEIGHTS)).round().astype(int)[::-1]
    return {
        "time": np.repeat(record.times[steps], len(record.symbols)),
        "symbol": np.tile(np.asarray(record.symbols, dtype=object), len(steps)),
        "weight": record.weights[steps].ravel(),
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
            made[column] = pa.array(np.asarray(columns[column]).astype("datetime64[us]"), type_)
        else:
            made[column] = pa.array(columns[column], type_)
    return pa.table(made)
