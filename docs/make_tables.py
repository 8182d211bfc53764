"""Writes the tables of these pages that derive from the code: `python docs/make_tables.py`.

A page marks such a table with `<!-- table: NAME -->` and `<!-- end -->`, and what stands between them is replaced. A
test fails where a page is not what this writes.
"""

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from ftray.analysis.leaderboard import COLUMNS
from ftray.boards.columns import LEADERBOARD
from ftray.features import INDICATORS, dataset
from ftray.metrics import METRICS, UNITS, searchable
from ftray.nets import FTSpec, deployment
from ftray.pretraining.spec import METHOD
from ftray.runs import study_file
from ftray.runs.records import TrialRecord
from ftray.search.samplers import SAMPLERS
from ftray.study import stopping
from ftray.study.search_spec import SearchSpec
from ftray.tables import schema
from ftray.trading.rewards import REWARDS
from ftray.trial import TrialSpec
from ftray.trial.judging import FIELDS
from ftray.vram.table import REFERENCE, TABLE, n_tokens

PAGES = Path(__file__).parent

MARKED = re.compile(r"(?P<begin><!-- table: (?P<name>[\w ]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def table(heading: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in markdown."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    head = list(heading)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *lines))


def first_sentence(value: Any) -> str:
    """The first sentence of a docstring."""
    text = " ".join((value.__doc__ or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.\d])\. (?=[A-Z])", text)[0].rstrip(".")


def indicators() -> str:
    rows = ((f"`{one.name}`", _meaning(one), one.warm_up) for one in INDICATORS.values())
    return table(("indicator", "what it is", "bars until it is known"), rows)


MACD = {"macd": "MACD (12, 26) over the close", "macd_signal": "its signal line (9)", "macd_hist": "their difference"}


def _meaning(indicator: Any) -> str:
    return MACD.get(indicator.name) or first_sentence(indicator.compute)


def patch_lengths() -> str:
    what = {
        1: "the paper's FT-Transformer: every feature a token of its own",
        12: "runs of 12 bars: attends along time as well (as in PatchTST)",
        60: "the default: attention across series (as in iTransformer), one linear map along time",
    }
    rows = ((length, f"{n_tokens(FTSpec(patch_length=length), REFERENCE):,}", text) for length, text in what.items())
    return table(("`patch_length`", "tokens of the reference market, with [CLS]", "what it is"), rows)


def rewards() -> str:
    return table(("`trading.reward`", "of a step"), ((f"`{n}`", first_sentence(r.compute)) for n, r in REWARDS.items()))


def classes_of_fields() -> str:
    whose = {"policy": "the policy: may be searched", "judge": "the judge: one value for all trials"}
    rows = (
        (words, ", ".join(f"`{path}`" for path, one in FIELDS.items() if one == name)) for name, words in whose.items()
    )
    return table(("whose", "fields of `trial`, with all fields in them"), rows)


def samplers() -> str:
    rows = ((f"`{name}`", first_sentence(getattr(one, "spec_class", one))) for name, one in SAMPLERS.items())
    return table(("`search.sampler`", "what it is"), rows)


def schedulers() -> str:
    rows = ((f"`{kind_of(one)}`", first_sentence(one)) for one in get_args(stopping.Scheduler))
    return table(("`search.scheduler`", "what it does"), rows)


def vram() -> str:
    rows = ((row.worker.name.removesuffix(", minibatch 256"), f"{row.gib:g}") for row in TABLE)
    return table(("learner (d_token/blocks/heads/encoding_dim)", "GiB, CUDA context included"), rows)


def leaderboard() -> str:
    other = {
        "trial": "its id, or the benchmark's name",
        "rank": "among the complete, feasible trials",
        "encoder": "kind and size in a few letters: `ft 64/2/4 p60` has d_token 64, 2 blocks, 4 heads, patches of 60",
        "pretrained": "where its weights came from, and whether they were frozen",
        "objective": "the value of the first objective",
        "error": "standard error of the objective, of a plain or active Sharpe ratio",
        "deflated_sharpe": "probability that the true ratio is above its luck line",
        "state": "COMPLETE, PRUNED, FAILED, INTERRUPTED, RUNNING, PENDING or BENCHMARK",
    }
    rows = ((f"`{key}`", LEADERBOARD[key].title, f"`{name}`" if name else other[key]) for key, name in COLUMNS.items())
    return table(("column", "title", "what it shows"), rows)


def metrics() -> str:
    may = set(searchable("trial")) | set(searchable("pretraining"))
    made = []
    for name, one in METRICS.items():
        better = {"maximize": "high", "minimize": "low", None: ""}[one.direction]
        searched = "yes" if name in may else ""
        made.append((f"`{name}`", better, UNITS[one.unit].name, f"{one.title}: {one.computed_from}", searched))
    return table(("metric", "better", "unit", "meaning", "objective"), made)


RECORD = {
    "id": "`trial-0007`, or `encoder-FINGERPRINT` for a pre-training job",
    "number": "among the study's trials; none for a job that only serves them",
    "kind": "`trial` or `pretraining`",
    "state": "PENDING, RUNNING, COMPLETE, PRUNED, FAILED or INTERRUPTED",
    "values": 'the searched values, flat: `{"trial/encoder/d_token": 32}`',
    "spec": "the resolved spec as a mapping",
    "metrics": "each as it was reported last; a number that was not finite is null",
    "error": "why it failed",
    "started_at": "start of its latest run, UTC",
    "ended_at": "end of its latest run, UTC",
    "wall_seconds": "running time, summed over all ended runs",
}


def records() -> str:
    return table(
        ("field", "meaning"), ((f"`{field.name}`", RECORD[field.name]) for field in dataclasses.fields(TrialRecord))
    )


def columns() -> str:
    parts = []
    for name, found in schema.SCHEMA.items():
        rows = ((f"`{column}`", one.kind, one.meaning) for column, one in found.items())
        parts.append(f"**`{name}`**: {_row_of(name)}.\n\n{table(('column', 'type', 'meaning'), rows)}")
    return "\n" + "\n".join(parts) + "\n"


def _row_of(name: str) -> str:
    """What a row of a table is, by the docstring of `ftray.tables.schema`."""
    found = re.search(rf"^ +{name} +(.+)$", schema.__doc__ or "", re.MULTILINE)
    assert found, name
    return found[1]


def versions() -> str:
    rows = (
        ("run folder", "`format` in study.json", study_file.FORMAT, "another number is refused, with who wrote it"),
        ("tables", "`format` in tables/manifest.json", schema.FORMAT, "other tables are derived again from the events"),
        ("dataset", "`format` in data/*/meta.json", dataset.FORMAT, "another fingerprint: it is prepared again"),
        ("pre-training", "part of every encoder's fingerprint", METHOD, "another fingerprint: it is trained again"),
        ("policy", "`format` in policy.json", deployment.FORMAT, "another number is refused, with who wrote it"),
    )
    return table(("what", "where", "now", "what becomes of others"), rows)


def sections() -> str:
    """Every section of a study file, and the spec that has its fields."""
    rows = (
        (f"`{place}`", f"`{kind_of(cls)}`" if "kind" in _hints(cls) else "", _link(cls), first_sentence(cls))
        for place, cls in (*specs_of("search", SearchSpec), *specs_of("trial", TrialSpec))
    )
    return table(("section", "`kind`", "fields", "what it is"), rows)


def _link(cls: Any) -> str:
    return f"[{cls.__name__}](api.md#{cls.__name__.lower()})"


def specs_of(place: str, cls: Any) -> Iterator[tuple[str, Any]]:
    """A spec and all that its fields may hold, each with its place in a study file."""
    yield place, cls
    for name, hint in _hints(cls).items():
        for inner in _specs_in(hint):
            yield from specs_of(f"{place}.{name}", inner)


def _specs_in(hint: Any) -> Iterator[Any]:
    if getattr(hint, "__is_spec__", False):
        yield hint
    for inner in get_args(hint):
        yield from _specs_in(inner)


def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def kind_of(cls: Any) -> str:
    return get_args(_hints(cls)["kind"])[0]


TABLES: dict[str, Callable[[], str]] = {
    "indicators": indicators,
    "patch lengths": patch_lengths,
    "classes of fields": classes_of_fields,
    "rewards": rewards,
    "samplers": samplers,
    "schedulers": schedulers,
    "vram": vram,
    "leaderboard": leaderboard,
    "metrics": metrics,
    "records": records,
    "columns": columns,
    "versions": versions,
    "sections": sections,
}


def made(page: str) -> str:
    """A page with its tables as the code has them. Raises: KeyError for a table that nothing makes."""
    return MARKED.sub(lambda found: f"{found['begin']}\n{TABLES[found['name']]().strip()}\n\n{found['end']}", page)


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(made(path.read_text()))
