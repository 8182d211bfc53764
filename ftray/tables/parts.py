"""Some rows and columns of a table, read from a file or taken from memory.

Takes: a parquet file or an arrow table, columns, and values that rows must have. Gives: an arrow table.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ReadPart = Callable[[Path, Sequence[str] | None, Mapping[str, Any]], Any]


def read_part(file: Path, columns: Sequence[str] | None, equal: Mapping[str, Any]) -> "pa.Table":
    """Some rows and columns of one file; row groups that cannot hold such rows are skipped."""
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file)
    names = opened.schema_arrow.names
    wanted = None if columns is None else [column for column in (*columns, *equal) if column in names]
    if not set(equal) <= set(names):
        return opened.schema_arrow.empty_table()
    groups = [g for g in range(opened.num_row_groups) if _may_hold(opened.metadata.row_group(g), names, equal)]
    return select(opened.read_row_groups(groups, columns=wanted), columns, equal)


def _may_hold(group: Any, names: Sequence[str], equal: Mapping[str, Any]) -> bool:
    for column, value in equal.items():
        statistics = group.column(names.index(column)).statistics
        if statistics is None:
            continue
        if value is None and statistics.has_null_count and statistics.null_count == 0:
            return False
        if value is not None and statistics.has_min_max:
            some = value if isinstance(value, list) else [value]
            if not any(statistics.min <= one <= statistics.max for one in some):
                return False
    return True


def select(table: "pa.Table", columns: Sequence[str] | None, equal: Mapping[str, Any]) -> "pa.Table":
    """Some columns of the rows that have these values, a list any of them; columns that are missing are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, value in equal.items():
        own = pc.field(column)
        if isinstance(value, list):
            wanted = own.isin(pa.array(value, table.schema.field(column).type))
        else:
            wanted = own.is_null() if value is None else own == value
        table = table.filter(wanted)
    return table if columns is None else table.select([column for column in columns if column in table.column_names])
