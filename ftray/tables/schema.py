"""The tables of a study: their columns, what each means, and how rows become typed columns.

Takes: rows as plain mappings. Gives: arrow tables whose types depend on a column's name alone, never on its
values, so that the files of a study always fit each other.

    trials    one row per trial or pre-training job, failed and pruned ones too
    metrics   one row per report, of trials and pre-training jobs; steps that a resumed trial repeats appear once
    folds     one row per fold and seed that a trial has finished: its own validation metrics
    returns   one row per bar, trial, fold and seed, of validation windows alone; benchmarks have no trial and no seed
    fills     one row per order that was filled, and per holding that a segment's end or ruin closed into cash
    weights   one row per asset, trial, fold and seed at some of the bars of `returns`: at most 1,000, evenly spread
    events    everything else that was recorded, of the study and of its trials
    encoders  one row per finished pre-training job: the encoder card

`SCHEMA` has the columns. A study adds its own: to `trials` the searched values (`trial/encoder/d_token`) and the last
metrics (`validation/sharpe`), to `metrics` every reported metric, to `folds` the `validation/` metrics. They keep the
names that a study file uses, and `ftray.metrics` says what they mean; in SQL, quote a name with a slash:
"trial/ppo/epochs".
Fractions are never percentages, Sharpe ratios are annual, times are UTC (without a time zone, as in numpy).

`time` is the moment at which what a row says was so, never a bar's opening time: an order filled, equity was marked. A
step is decided, and its orders fill, at the close of its deciding bar, which is the next bar's opening; it ends, and
its equity is marked, at that next bar's close. So a step's fills are one bar earlier than its row in `returns`.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ftray.metrics import VALIDATION, find_metric
from ftray.runs.events import to_json
from ftray.units import UNITS

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Number of the tables' format. Tables of another format are ignored, and derived again from the events."""


Frame = Any
"""A pandas frame or a column of one: pandas' own types reject most operations."""


class Column(NamedTuple):
    """kind: text, int, float, bool, time or json (a text). unit: of a metric."""

    kind: str
    meaning: str
    unit: str | None = None


SCHEMA: dict[str, dict[str, Column]] = {
    "trials": {
        "trial": Column("text", "id, as the folder under trials/ is named"),
        "number": Column("int", "among the study's trials; null for a pre-training job that only serves them"),
        "kind": Column("text", "trial or pretraining"),
        "state": Column("text", "PENDING, RUNNING, COMPLETE, PRUNED, FAILED or INTERRUPTED"),
        "feasible": Column("bool", "whether it is known to meet every constraint of the study; null before its end"),
        "error": Column("text", "why it failed"),
        "started_at": Column("time", "start of its latest run"),
        "ended_at": Column("time", "end of its latest run"),
        "wall_seconds": Column("float", "running time, summed over all ended runs"),
        "encoder": Column("text", "ft or mlp"),
        "encoder_shape": Column("text", "kind and size in a few letters, like ft 64/2/4 p60"),
        "pretrained": Column("text", "where its weights came from, and whether they were frozen"),
        "seed": Column("int", "its first seed"),
        "n_seeds": Column("int", "seeds per fold"),
        "n_runs": Column("int", "trainings that it has finished, one per fold and seed"),
        "candles": Column("text", "fingerprint of the candles that the study was made on"),
        "commit": Column("text", "git commit of the folder that the study was started in; + after it: with changes"),
        "host": Column("text", "machine of its process"),
        "cpu": Column("text", "model of that machine's processor"),
        "gpu": Column("text", "model of its GPU; null where it had none"),
        "versions": Column("json", "of Python and the libraries"),
        "lineage": Column("json", "per fold and seed: dataset, encoder, the study it came from, its training bars"),
        "spec": Column("json", "the resolved spec"),
    },
    "metrics": {
        "trial": Column("text", "id"),
        "at": Column("time", "when it was reported"),
        "fold": Column("int", "fold of the training that reported"),
        "seed": Column("int", "its seed"),
        "iteration": Column("int", "of that training's PPO"),
        "env_steps": Column("int", "over all trainings of the trial so far"),
        "epoch": Column("int", "of a pre-training job"),
        "best_epoch": Column("int", "of a pre-training job"),
        "run_done": Column("bool", "whether this row ended a training"),
        "runs_done": Column("int", "trainings that the trial has finished"),
    },
    "folds": {
        "trial": Column("text", "id"),
        "fold": Column("int", "counted from 0"),
        "seed": Column("int", "its own"),
        "env_steps": Column("int", "of this training"),
    },
    "returns": {
        "trial": Column("text", "id; null for a benchmark"),
        "portfolio": Column("text", "policy, or the benchmark's name"),
        "fold": Column("int", "counted from 0"),
        "seed": Column("int", "null for a benchmark"),
        "split": Column("text", "validation; the test window is in no table"),
        "time": Column("time", "close at which equity was marked: the end of the bar that this row is of"),
        "return": Column("float", "of equity in this bar, from the last close to this one, net of fees and slippage"),
        "equity": Column("float", "at this close, in quote currency"),
        "exposure": Column("float", "fraction of equity in assets at this close"),
        "turnover": Column("float", "notional traded in this bar, as a fraction of the equity before"),
        "fees": Column("float", "paid in this bar, in quote currency; null in what 0.1 wrote"),
        "slippage": Column("float", "cost of slippage in this bar, in quote currency; null in what 0.1 wrote"),
        "regime": Column("text", "bear, sideways or bull, by the bars before this one; null without enough of them"),
    },
    "fills": {
        "trial": Column("text", "id"),
        "fold": Column("int", "counted from 0"),
        "seed": Column("int", "its own"),
        "split": Column("text", "validation"),
        "time": Column("time", "when it filled: one bar before the close in `returns` that it counts to"),
        "symbol": Column("text", "the asset"),
        "cause": Column("text", "order; end or ruin: no order, a segment's end or ruin closed the holding at a close"),
        "notional": Column("float", "bought (+) or sold (−), in quote currency, at the price before slippage"),
        "units": Column("float", "of the asset, bought (+) or sold (−)"),
        "price": Column("float", "of one unit, before slippage, in quote currency"),
        "fee": Column("float", "in quote currency"),
        "slippage": Column("float", "what slippage cost, in quote currency"),
    },
    "weights": {
        "trial": Column("text", "id"),
        "fold": Column("int", "counted from 0"),
        "seed": Column("int", "its own"),
        "split": Column("text", "validation"),
        "time": Column("time", "a close at which equity was marked"),
        "symbol": Column("text", "the asset"),
        "weight": Column("float", "fraction of equity in it at that close"),
    },
    "events": {
        "trial": Column("text", "id; null for an event of the study as a whole"),
        "at": Column("time", "when it was recorded"),
        "event": Column("text", "its name"),
        "facts": Column("json", "its other fields"),
    },
    "encoders": {
        "encoder": Column("text", "fingerprint of the job, as its folder under encoders/ is named"),
        "weights": Column("text", "fingerprint of the best weights"),
        "validation_loss": Column("float", "of the best epoch"),
        "best_epoch": Column("int", "counted from 1"),
        "epochs": Column("int", "trained"),
        "dataset": Column("text", "fingerprint of the data"),
        "train_from": Column("text", "first bar that weights were fitted to"),
        "train_to": Column("text", "last bar that weights were fitted to"),
        "validation_from": Column("text", "first bar that the metrics were measured on"),
        "validation_to": Column("text", "last bar that the metrics were measured on"),
        "d_token": Column("int", "width of a token"),
        "n_blocks": Column("int", "transformer blocks"),
        "n_heads": Column("int", "attention heads"),
        "patch_length": Column("int", "bars per token"),
        "figures": Column("json", "reconstruction of hidden cells, probes, probes of returns, effective rank"),
        "history": Column("json", "losses by epoch"),
    },
}

OPEN = {"trials": ("trial/", None), "metrics": (None,), "folds": (VALIDATION,)}
"""Tables with columns of the study's own. Those of searched values are typed by their values."""


def describe_column(table: str, name: str) -> Column:
    """What a column means: a documented one, or a metric, or else a searched value."""
    if name in SCHEMA[table]:
        return SCHEMA[table][name]
    if (metric := find_metric(name)) is not None:
        return Column("float", f"{metric.title}: {metric.computed_from}", UNITS[metric.unit].name)
    if name == "study":
        return Column("text", "the study's name, where several are queried")
    return Column("as found", "a searched value" if name.startswith("trial/") else "a metric of another version")


def arrow_table(name: str, rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
    """Rows as a table: the documented columns, always all of them, then the study's own, sorted."""
    import pyarrow as pa

    fixed = SCHEMA[name]
    own = sorted(set().union(*rows) - set(fixed)) if name in OPEN else []
    columns = {column: _typed([row.get(column) for row in rows], fixed[column].kind) for column in fixed}
    for column in own:
        values = [row.get(column) for row in rows]
        searched = name == "trials" and column.startswith("trial/")
        if searched or any(isinstance(value, int | float) for value in values):
            columns[column] = _as_found(values) if searched else _typed(values, "float")
    return pa.table(columns)


def empty_table(name: str) -> "pa.Table":
    return arrow_table(name, [])


def concat(tables: Iterable["pa.Table"]) -> "pa.Table":
    """Tables concatenated; columns that some lack are null there, and searched values of mixed types become text."""
    import pyarrow as pa

    tables = list(tables)
    kinds: dict[str, set[Any]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    for column, found in kinds.items():
        if len(found - {pa.null()}) > 1 and not all(map(_is_number, found - {pa.null()})):
            tables = [_as_text(table, column) for table in tables]
    return pa.concat_tables(tables, promote_options="permissive")


def arrow_type(kind: str) -> Any:
    """The type of a documented kind."""
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "time": pa.timestamp("us")}
    return types.get(kind, pa.string())


def _typed(values: list[Any], kind: str) -> Any:
    """A column of a documented kind; a value of another type is null: it must not break the table."""
    import pyarrow as pa

    made: list[Any]
    match kind:
        case "text":
            made = [None if value is None else str(value) for value in values]
        case "json":
            made = [None if value is None else to_json(value) for value in values]
        case "time":
            made = [_time(value) for value in values]
        case "bool":
            made = [None if value is None else bool(value) for value in values]
        case "int":
            made = [int(value) if isinstance(value, int | float) else None for value in values]
        case _:
            made = [value if isinstance(value, int | float) else None for value in values]
    return pa.array(made, arrow_type(kind))


def _as_found(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) > 1 or kinds & {dict, list}:
        return pa.array([None if value is None else to_json(value) for value in values])
    return pa.array(values)


def _as_text(table: "pa.Table", column: str) -> "pa.Table":
    import pyarrow as pa

    if column not in table.column_names or table.schema.field(column).type == pa.string():
        return table
    texts = [None if value is None else to_json(value) for value in table[column].to_pylist()]
    return table.set_column(table.column_names.index(column), column, pa.array(texts, pa.string()))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _time(value: Any) -> datetime.datetime | None:
    time = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    return time if time is None or time.tzinfo is None else time.astimezone(datetime.UTC).replace(tzinfo=None)
