"""Queries that work on one study and on several.

Takes: trial records, and tables by name. Gives: `Queries`, which `study.Study` and `studies.Studies` complete.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftray.analysis.failures import failure_rows
from ftray.errors import FtrayError, NoResultError, QueryError
from ftray.metrics import METRICS, SHARPE, find_metric
from ftray.runs.records import TrialRecord
from ftray.spec import nearest
from ftray.tables.parquet import Tables
from ftray.tables.schema import SCHEMA

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Queries:
    """Queries of one study or of several: all answers come from `records`, `read` and `sources`."""

    def records(self) -> list[TrialRecord]:
        """All trials and pre-training jobs in the order they were added, each in the state it is in now."""
        raise NotImplementedError

    def read(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pa.Table":
        """A table of the run folder, for those who want pyarrow in place of pandas.

        table: its name: trials, folds, metrics, returns, fills, encoders, events; `sql("select * from columns")`
            documents all.
        columns: the names to read; those that the study does not have are left out. None reads all.
        equal: `column=value` keeps the rows that have this value.

        Raises: QueryError for an unknown table.
        """
        raise NotImplementedError

    def frame(self, table: str, columns: Sequence[str] | None = None, **equal: Any) -> "pd.DataFrame":
        """A table of the run folder as a DataFrame; see `read`.

        Whole numbers are Int64, so that a gap in them does not make them floats.

        table: its name.
        columns: the names to read. None reads all.
        equal: `column=value` keeps the rows that have this value.

        Raises: QueryError for an unknown table.
        """
        import pandas as pd
        import pyarrow as pa

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        return self.read(table, columns, **equal).to_pandas(types_mapper=kinds.get)

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial and pre-training job, however it ended; its resolved spec is in `lineage`."""
        return self.frame("trials").drop(columns=["spec", "versions", "lineage"])

    @property
    def encoders(self) -> "pd.DataFrame":
        """One row per finished pre-training job, best validation loss first."""
        return self.frame("encoders").sort_values("validation_loss", ignore_index=True)

    def encoder_card(self, encoder: str) -> dict[str, Any]:
        """A finished pre-training job's diagnostics and losses.

        `plots.plot_reconstruction(card, "cells")` and `plots.plot_history(card["history"])` draw them;
        `plots.describe_pooled(card)` says whether the pooled vector lost what the tokens know of coming returns.

        encoder: its fingerprint, or how that begins.

        Raises: QueryError if there is none.
        """
        found = [card for card in self.read("encoders").to_pylist() if card["encoder"].startswith(encoder)]
        if not found:
            raise QueryError(f"no finished encoder begins with {encoder!r}; see `study.encoders`")
        parsed = {name: json.loads(found[0][name] or "null") for name in ("figures", "history")}
        return {**found[0], **parsed}

    def compare(
        self,
        by: str,
        metric: str = SHARPE,
        *,
        where: str | None = None,
        baseline: str | None = None,
        confidence: float = 0.95,
    ) -> "pd.DataFrame":
        """Groups of finished trials compared: a row per group, the best first. See `plots.plot_comparison`.

        `mean` with `low` and `high`: the interquartile mean over all trainings (folds × seeds) of a group (Agarwal et
        al. 2021, arXiv:2108.13264), with its interval. `improvement`, with its interval: the probability that a
        training beats one of the baseline on the same fold. The intervals are over whole trials, with their seeds and
        folds; NaN where a side has fewer than 5 trials. Only folds that all groups share are compared. Groups also
        differ in what else was searched.

        by: a column of `trials`, like `encoder`, or the end of a search parameter's name, like `d_token`.
        metric: a validation metric, as each training has it.
        where: a condition on `trials` in pandas' syntax, like `"encoder == 'ft'"`.
        baseline: a group; by default the one with the lowest mean.
        confidence: of the intervals.

        Raises: QueryError for an unknown column, metric or baseline; NoResultError if there are no groups to compare.
        """
        from ftray.analysis.comparison import compare_data

        folds = self.frame("folds")
        if metric not in folds:
            raise self.missing_metric(
                metric, f"no training has a {metric!r} of its own; one has {', '.join(folds.columns)}"
            )
        return compare_data(self.frame("trials"), folds, by, metric, where, baseline, confidence)

    def failures(self) -> "pd.DataFrame":
        """Failed trials grouped by error, the most frequent first; columns: error, n, trials."""
        import pandas as pd

        return pd.DataFrame(failure_rows(self.records()), columns=["error", "n", "trials"])

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics that trials report."""
        columns = (tables.columns("metrics") for tables in self.sources().values())
        return sorted(set().union(*columns) - set(SCHEMA["metrics"]))

    def missing_metric(self, name: str, problem: str) -> FtrayError:
        """The error to raise where a metric has no value: QueryError for one that no trial can report."""
        if find_metric(name) is not None or name in self.metrics:
            return NoResultError(problem)
        return QueryError(f"{problem}; {nearest(name, sorted({*METRICS, *self.metrics}))}")

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> "pd.DataFrame":
        """The answer to a query in DuckDB's SQL over the tables of the run folder; the table `columns` documents them.

        Names with a slash need double quotes: select "validation/sharpe" from trials.

        query: one SQL statement.
        parameters: values for its `?`, in order.

        Raises: MissingDependencyError where duckdb is missing; duckdb.Error for a query that it cannot answer.
        """
        from ftray.tables.sql import answer

        return answer(self.sources(), query, parameters)

    def sources(self) -> dict[str, Tables]:
        """The tables of each study, by its name; of a study alone under the empty name."""
        raise NotImplementedError
