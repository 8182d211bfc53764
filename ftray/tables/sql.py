"""SQL over a study's tables, in DuckDB.

Takes: tables, a query. Gives: a frame. The views have the names and columns of `schema.SCHEMA`; of several studies,
each has a column `study` first. The view `columns` documents them all, metrics with their units.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.errors import MissingDependencyError
from ftray.tables.parquet import Tables
from ftray.tables.schema import SCHEMA, describe_column

if TYPE_CHECKING:
    import pandas as pd

IN_MEMORY = ("trials", "encoders")
"""Tables that are read whole: the types of searched values are made to agree first."""


def answer(sources: Mapping[str, Tables], query: str, parameters: Sequence[Any] | None = None) -> "pd.DataFrame":
    """The answer to a query. sources: tables by the name of their study; a study alone has none.

    Raises: MissingDependencyError where duckdb is missing; duckdb.Error for an invalid query.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingDependencyError(
            "SQL needs the package duckdb, which is not installed: pip install 'ftray[notebook]'"
        ) from None
    for attempt in range(3):
        with duckdb.connect() as connection:
            try:
                _views(connection, sources)
                return connection.execute(query, parameters).df()
            except duckdb.IOException:  # files just merged with others; the manifest names the new ones
                if attempt == 2 or not sum(tables.moved() for tables in sources.values()):
                    raise
    raise AssertionError


def _views(connection: Any, sources: Mapping[str, Tables]) -> None:
    for tables in sources.values():
        tables.refresh()
    for name in SCHEMA:
        parts = []
        for i, (study, tables) in enumerate(sources.items()):
            memory = f"{name}_{i}"
            files = [] if name in IN_MEMORY else [str(file) for file in tables.files(name)]
            connection.register(memory, tables.read(name) if name in IN_MEMORY else tables.tail(name))
            named = f"{_quoted(study)} as study, " if study else ""
            if files:
                listed = ", ".join(map(_quoted, files))
                parts.append(f"select {named}* from read_parquet([{listed}], union_by_name = true)")
            parts.append(f"select {named}* from {memory}")
        connection.execute(f"create view {name} as {' union all by name '.join(parts)}")
    _describe(connection)


def _describe(connection: Any) -> None:
    import pyarrow as pa

    rows = [
        {"table_name": table, "column_name": name, **describe_column(table, name)._asdict()}
        for table in SCHEMA
        for name, *_ in connection.execute(f"describe {table}").fetchall()
    ]
    connection.register("columns", pa.Table.from_pylist(rows))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
