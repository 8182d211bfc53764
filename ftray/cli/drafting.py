"""The verbs that help to write study files: `init` drafts one that fits candles, `schema` describes them to editors."""

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ftray.cli.studies import add_runs
from ftray.cli.terminal import Add, a_number, add_verb, an_interval, location, say
from ftray.errors import SpecError
from ftray.outputs import check_output_file
from ftray.spec import Between

if TYPE_CHECKING:
    from ftray.market import Survey
    from ftray.study.drafting import Draft


def add_verbs(add: Add) -> None:
    verb = add_verb(add, init, "read a folder of candles, and write a commented study file that fits them")
    line = "a folder with one file per asset, like BTC_USDT-1h.feather, ETH.parquet or LTC.csv, or its URL"
    verb.add_argument("candles", type=location, metavar="CANDLES", help=line)
    line = "the file to write (default: NAME.yaml in the working directory); an existing file is never replaced"
    verb.add_argument("--output", type=Path, metavar="FILE", help=line)
    verb.add_argument("--name", help="the study's name (default: the folder's)")
    line = "how many hours the study may run on this machine (default: 8)"
    verb.add_argument("--hours", type=a_number(Annotated[float, Between(above=0.0)]), metavar="H", help=line)
    line = "use candles of this interval, like 1h; needed if the folder has several intervals"
    verb.add_argument("--interval", type=an_interval, metavar="INTERVAL", help=line)
    line = "use these assets only, like BTC,ETH (default: all, except those that leave too few common bars)"
    verb.add_argument("--symbols", type=_symbols, metavar="A,B", help=line)
    add_runs(verb, "run folders whose trials show how fast this machine is")
    verb = add_verb(add, schema, "print the JSON Schema of study files, with which editors complete and check them")
    line = "print the schema of files without search parameters, which `ftray train` and `ftray pretrain` run"
    verb.add_argument("--trial", action="store_true", help=line)
    line = "include the names that this plug-in registers; may be repeated"
    verb.add_argument("--plugin", action="append", default=[], metavar="MODULE", help=line)
    verb.epilog = (
        "An editor with yaml-language-server reads the schema that the first line of a study file names: "
        "# yaml-language-server: $schema=study.schema.json"
    )


def init(given: argparse.Namespace) -> int:
    if given.output:
        _check_free(given.output)
    from ftray.files import replace_file
    from ftray.study.drafting import HOURS, draft_study, study_name

    name = given.name or (given.output.stem if given.output else study_name(given.candles))
    file = given.output or Path(f"{name}.yaml")
    _check_free(file)
    draft = draft_study(
        given.candles,
        file,
        name=name if name != file.stem else None,
        interval=given.interval,
        symbols=given.symbols,
        hours=HOURS if given.hours is None else given.hours,
        runs=given.runs,
    )
    for line in describe_draft(draft):
        print(line)
    replace_file(file, draft.text.encode())
    print(f"\nwrote {file}; its comments say where each value comes from")
    words = shlex.quote(str(file))
    print(f"Next: ftray check {words}    candles, windows, ranges, how long it takes; starts nothing")
    print(f"      ftray tune {words}     runs the study; the same command continues it")
    return 0


def _check_free(file: Path) -> None:
    check_output_file(file)
    if file.exists():
        raise SpecError(f"{file} exists, and is not replaced: delete it, or name another one with --output FILE")


def _symbols(text: str) -> list[str]:
    return [symbol.strip() for symbol in text.split(",") if symbol.strip()]


def describe_draft(draft: "Draft") -> Iterator[str]:
    """Lines about the folder's files, one per file, and about the drafted study."""
    from ftray.study.draft_text import budget_lines, day, years_text

    plan, survey, fit = draft.plan, draft.plan.survey, draft.plan.fit
    yield f"{survey.path}"
    yield from _files(survey)
    yield from _left_out(survey)
    n, gaps = len(survey.times), len(survey.segments) - 1
    span = f"{day(survey.times[0])} to {day(survey.times[-1])}"
    yield f"  together  {n:,} bars, {years_text(n / survey.bars_per_year)}, {span}, {gaps} gaps"
    spec = fit.windows
    yield f"  windows   {spec.kind}, {fit.n_folds} fold(s), lookback {fit.lookback}, holding {spec.holding}"
    error = f"standard error of a Sharpe ratio {plan.sharpe_error:.2f}"
    yield f"  validated {plan.n_validated:,} usable bars, {years_text(plan.years_validated)}: {error}"
    yield f"  training  {plan.env_steps:,} env steps"
    yield f"  trials    {next(budget_lines(plan))}"


def _files(survey: "Survey") -> Iterator[str]:
    from ftray.boards.terminal import align

    rows = [("file", "symbol", "interval", "bars", "span (UTC)", "gaps", "usable bars lost")]
    for file in survey.files:
        symbol, bars = file.name.symbol, f"{len(file.times):,}"
        cost = f"{survey.costs[symbol]:,}"
        rows.append((file.name.path.name, symbol, file.interval, bars, file.span, str(file.n_gaps), cost))
    for line in align(rows, left=(0, 1, 2, 4)):
        yield f"  {line}"


def _left_out(survey: "Survey") -> Iterator[str]:
    """A line for each reason, with the first of its files."""
    by_reason: dict[str, list[str]] = {}
    for one in survey.left_out:
        by_reason.setdefault(one.why, []).append(one.path.name)
    for why, names in by_reason.items():
        yield f"  left out  {', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: {why}"


def schema(given: argparse.Namespace) -> int:
    from ftray.plugins import load_plugins
    from ftray.study.json_schema import schema_text

    load_plugins(given.plugin)
    say(schema_text(ranges=not given.trial), end="")
    return 0
