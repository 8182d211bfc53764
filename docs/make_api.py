"""Writes docs/api.md, the page of the public names: `python docs/make_api.py`.

Takes: docstrings and annotations of the package. Gives: markdown; tests/test_api_page.py refuses a page that is stale.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import ftray
from ftray import errors
from ftray.spec import described_fields
from ftray.study import SearchSpec
from ftray.trial import TrialSpec

PAGE = Path(__file__).with_name("api.md")

MAX_LINE = 110

INTRODUCTION = """# Public names

This page lists the names that `import ftray` gives, by task. They stay the same from one version to the next, or
[CHANGELOG.md](../CHANGELOG.md) says what replaces them; anything else in the package may change. A name is imported at
its first use, so `import ftray` needs neither torch nor Ray.

`python docs/make_api.py` writes this page from the docstrings.

Arrays carry shape letters: B batch, T time, A assets, F indicators, S series (F × A), L lookback, E accounts, N steps.
Fees, shares and drawdowns are fractions, never percentages; times are UTC.

| in a signature | what it is |
|---|---|
| `MarketSpec` | [FilesSpec](#filesspec) or [SimulatorSpec](#simulatorspec) |
| `FoldsSpec` | [WindowsSpec](#windowsspec), [WalkForwardSpec](#walkforwardspec) or \
[CombinatorialSpec](#combinatorialspec) |
| `Pieces` | a window of a dataset, or several: `dataset.windows.train` |
| `PolicyFn` | bars (E,), accounts (E, 1 + A) → actions (E, A); see [backtest](#backtest) |
| `Location` | a path, or a URL of object storage: `s3://`, `gs://`, `abfs://` |
| `Say` | a function that takes a line, like `print` |
| `Device`, `Direction` | `"cpu"` or `"cuda"`; `"maximize"` or `"minimize"` |
| `Frame`, `pd`, `pa`, `np`, `go` | a pandas DataFrame; pandas, pyarrow, numpy, plotly's `graph_objects` |
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Data": (
        "FilesSpec", "SimulatorSpec", "load_market", "Candles", "WindowsSpec", "WalkForwardSpec", "CombinatorialSpec",
        "FeatureSpec", "build_dataset", "Dataset", "ObservationLayout",
    ),
    "Trading": ("MarketRules", "TradingSpec", "TradingEnv", "VectorTradingEnv", "backtest", "Backtest"),
    "Encoders": ("FTSpec", "MLPSpec", "PretrainingSpec", "MaskSpec", "pretrain", "EncoderCard"),
    "Trials": ("TrialSpec", "PPOSpec", "run_trial", "FTPolicy"),
    "Running studies": ("load_study", "StudySpec", "run_study"),
    "Search": (),
    "Results": ("open_study", "open_studies", "Study", "Studies", "Best"),
    "Policies": ("load_policy", "Policy", "backtest_policy"),
    "Plots": ("plots",),
    "Plug-ins": (
        "load_plugins", "families.Family", "features.Indicator", "trading.Reward", "trading.Step", "market.Market",
        "nets.Encoder", "search.samplers.Sampler", "spec.spec",
    ),
    "Testing plug-ins": ("testing",),
    "Errors": ("FtrayError", "errors"),
}  # fmt: skip
"""Public names by task. A module stands for all names in its `__all__`; one with a point is imported from its module:
`from ftray.features import Indicator`. `Search` gets the specs under `search`, which only study files describe."""

LEFT_OUT = {
    "FTPolicy": {
        "setup", "train", "get_non_inference_attributes", "compute_values", "set_state", "groups", "n_passes",
        "windows", "prefetching", "without_deduplication", "borrow_vectors",
    },
    "Queries": {"missing_metric", "sources", "records"},
    "StudySpec": {"trial", "only_trial", "resource_of", "max_resource", "identity"},
}  # fmt: skip
"""By class: public methods that RLlib or other packages call; nothing is promised about them."""

CALLED = (
    "Candles", "ObservationLayout", "TradingEnv", "VectorTradingEnv", "features.Indicator", "trading.Reward",
    "market.Market",
)  # fmt: skip
"""Classes that users call; functions return the others, and RLlib makes its own."""

ENTRY = re.compile(r"(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*|Returns|Raises|Columns|Shape): ?(?P<text>.*)")
LABELS = {"Returns", "Raises", "Columns", "Shape"}


def page() -> str:
    """The whole page."""
    parts = []
    for group, names in sections().items():
        parts.append(f"## {group}\n")
        if group == "Errors":
            parts.append(f"{markdown(doc_of(errors))}\n")
            parts.append("\n".join(f"- `{name}`: {joined(summary(one))}" for name, one in names.items()) + "\n")
        else:
            parts += [section(name, one, with_members=group != "Search") for name, one in names.items()]
    return "\n".join([INTRODUCTION, contents("\n".join(parts)), *parts])


def contents(body: str) -> str:
    """Links to every name, a line per group."""
    anchors = anchors_of(body)
    lines = []
    for group, names in sections().items():
        links = [f"[{name}](#{anchors[name]})" if name in anchors else name for name in names]
        lines.append(f"- [{group}](#{anchors[group]}): {', '.join(links)}")
    return "\n".join(lines) + "\n"


def anchors_of(body: str) -> dict[str, str]:
    """Heading → GitHub's anchor: in lower case, without points, numbered where two are equal."""
    anchors: dict[str, str] = {}
    n_equal: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", body, re.MULTILINE):
        assert heading not in anchors, f"two headings {heading!r}"
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors[heading] = f"{plain}-{n_equal[plain]}" if n_equal[plain] else plain
        n_equal[plain] += 1
    return anchors


def sections() -> dict[str, dict[str, Any]]:
    """Group → name as it is imported from `ftray` → what it names."""
    found: dict[str, dict[str, Any]] = {}
    for group, names in GROUPS.items():
        found[group] = {}
        for name in names:
            module, _, last = name.rpartition(".")
            one = getattr(importlib.import_module(f"ftray.{module}") if module else ftray, last)
            if one is errors:
                found[group] |= {e.__name__: e for e in error_classes()}
            elif inspect.ismodule(one):
                found[group] |= {f"{name}.{member}": getattr(one, member) for member in one.__all__}
            else:
                found[group][name] = one
    public = {id(one) for names in found.values() for one in names.values()}
    found["Search"] = {one.__name__: one for one in places() if id(one) not in public}
    return found


def error_classes() -> list[type]:
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ftray.FtrayError)]


@functools.cache
def places() -> dict[type, str]:
    """Every spec that a study file can describe → where it stands there."""
    found: dict[type, str] = {}

    def visit(hint: Any, path: str) -> None:
        if is_spec(hint) and hint not in found:
            found[hint] = path
            for name, field in get_type_hints(hint, include_extras=True).items():
                visit(field, f"{path}.{name}")
        for argument in get_args(hint):
            visit(argument, path)

    visit(TrialSpec, "trial")
    visit(SearchSpec, "search")
    return found


def is_spec(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "__is_spec__", False)


def section(name: str, one: Any, *, with_members: bool) -> str:
    """A public name: its signature, what its docstring says, fields, properties, methods."""
    lines = [f"### {name}\n"]
    if not isinstance(one, type):
        return "\n".join([*lines, code(signature(name, one)), markdown(doc_of(one)), ""])
    if is_spec(one):
        lines += [where(one), markdown(without_fields(one)), "", *field_table(one)]
    else:
        lines += [code(signature(name, one))] * (name in CALLED) + [markdown(doc_of(one)), ""]
    lines += [f"- {promise}" for promise in promises(one)] + [""] * bool(promises(one))
    members = public_members(one) if with_members and not promises(one) else {}
    properties = {key: value for key, value in members.items() if not callable(value)}
    lines += [f"- `.{key}`: {joined(doc_of(value))}" for key, value in properties.items()] + [""] * bool(properties)
    for key, value in members.items():
        if callable(value):
            lines += [f"#### {name}.{key}\n", code(signature(f"{name}.{key}", value)), markdown(doc_of(value)), ""]
    return "\n".join(lines)


def promises(cls: type) -> list[str]:
    """What the tests of a contract promise. Users inherit such a class, and call none of its methods."""
    return [name.removeprefix("test_").replace("_", " ") for name in dir(cls) if name.startswith("test_")]


def public_members(cls: type) -> dict[str, Any]:
    """Methods and properties that users may rely on, those of `ftray`'s own base classes included."""
    found: dict[str, Any] = {}
    no_members = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    no_members |= {"check"} if is_spec(cls) else set()
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith("ftray")]):
        for name, value in vars(base).items():
            if name in no_members or (name.startswith("_") and name != "__call__"):
                continue
            if isinstance(value, property | functools.cached_property):
                found[name] = value
            elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
                found[name] = getattr(cls, name)
    left_out = set().union(*(LEFT_OUT.get(base.__name__, set()) for base in cls.__mro__))
    if cls is ftray.Studies:
        left_out |= {name for name, value in found.items() if works_as_in_study(name, value)}
    return {name: value for name, value in found.items() if name not in left_out}


def works_as_in_study(name: str, value: Any) -> bool:
    return doc_of(value) in (f"See `Study.{name}`.", doc_of(getattr(ftray.Study, name, None)))


def doc_of(one: Any) -> str:
    return inspect.getdoc(one) or ""


def signature(name: str, one: Any) -> str:
    """How it is called, as the source has it, on one line if that is short enough."""
    if isinstance(one, type):
        given, end = constructor(one), ")"
    else:
        definition = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(definition, ast.FunctionDef)
        given = [p for p in declared(definition.args) if p not in ("self", "cls")]
        end = f") -> {source(definition.returns)}" if definition.returns else ")"
    line = f"{name}({', '.join(given)}{end}"
    return line if len(line) <= MAX_LINE else "\n".join([f"{name}(", *(f"    {one}," for one in given), end])


def constructor(cls: type) -> list[str]:
    """The parameters of a class by name alone: its docstring says the rest."""
    given = list(inspect.signature(cls).parameters.values())
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in given]
    star = next((i for i, p in enumerate(given) if p.kind is p.KEYWORD_ONLY), None)
    return shown if star is None else [*shown[:star], "*", *shown[star:]]


def declared(given: ast.arguments) -> Iterator[str]:
    """Each parameter with its annotation and default."""

    def one(argument: ast.arg, default: ast.expr | None = None, stars: str = "") -> str:
        annotated = f"{stars}{argument.arg}" + (f": {source(argument.annotation)}" if argument.annotation else "")
        return annotated if default is None else f"{annotated} = {ast.unparse(default)}"

    positional = [*given.posonlyargs, *given.args]
    yield from map(one, positional, [*[None] * (len(positional) - len(given.defaults)), *given.defaults])
    if given.vararg:
        yield one(given.vararg, stars="*")
    elif given.kwonlyargs:
        yield "*"
    yield from map(one, given.kwonlyargs, given.kw_defaults)
    if given.kwarg:
        yield one(given.kwarg, stars="**")


def source(annotation: ast.expr) -> str:
    """An annotation as it is written, without quotes."""
    quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    return str(annotation.value) if quoted else ast.unparse(annotation)  # type: ignore[attr-defined]


def where(cls: type) -> str:
    """Where a spec stands in a study file."""
    kind = {field.name: field.default for field in dataclasses.fields(cls)}.get("kind")  # type: ignore[arg-type]
    listed = " (a list)" if cls.__name__ == "Objective" else ""
    return f"In a study file: `{places()[cls]}`{listed}{f', `kind: {kind}`' if kind else ''}.\n"


def without_fields(cls: type) -> str:
    """The docstring of a spec without the entries that its table shows."""
    kept, inside = [], False
    for line in doc_of(cls).splitlines():
        names = ENTRY.fullmatch(line)
        inside = bool(names and set(names["names"].split(", ")) <= set(described_fields(cls))) or (
            inside and line.startswith(" ")
        )
        if not inside:
            kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def field_table(cls: type) -> Iterator[str]:
    """Fields of a spec with type, range, default and description."""
    described = described_fields(cls)
    hints = get_type_hints(cls, include_extras=True)
    shown = [field for field in dataclasses.fields(cls) if field.name != "kind"]  # type: ignore[arg-type]
    if shown:
        yield "| field | type | default | meaning |"
        yield "|---|---|---|---|"
        for field in shown:
            cells = (f"`{field.name}`", type_text(hints[field.name]), default_text(field), described[field.name])
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def type_text(hint: Any) -> str:
    """A field's type and range in words.

    >>> from ftray.spec import Count
    >>> type_text(Count | None), type_text(tuple[str, ...])
    ('int, at least 1; or None', 'list of str')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [str(rule) for rule in arguments[1:] if type(rule).__str__ is not object.__str__]  # in words
        return ", ".join([type_text(arguments[0]), *rules])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}"
    if arguments and origin is not dict:
        members = [type_text(one) for one in arguments if one is not type(None)]
        some = ", ".join(members)
        return f"{some}; or None" if len(members) < len(arguments) else some
    return f"[{hint.__name__}](#{hint.__name__.lower()})" if is_spec(hint) else hint.__name__


def default_text(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if is_spec(type(value)) and value == type(value)():
        return f"`{type(value).__name__}()`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value!r}`"


def markdown(doc: str) -> str:
    """A docstring as markdown: entries become a list, examples a block."""
    blocks = []
    for block in re.split(r"\n\s*\n", doc.strip("\n")):
        if block.lstrip().startswith(">>>"):
            blocks.append(f"```pycon\n{inspect.cleandoc(block)}\n```")
        elif block.startswith("    "):
            blocks.append(block)
        else:
            blocks.append(with_entries(block))
    return "\n\n".join(blocks)


def with_entries(block: str) -> str:
    """A paragraph, the entries in it as list items."""
    lines: list[str] = []
    entry = ""
    for line in block.splitlines():
        found = ENTRY.fullmatch(line)
        if found:
            words = (
                found["names"]
                if found["names"] in LABELS
                else ", ".join(map("`{}`".format, found["names"].split(", ")))
            )
            lines += [""] * bool(lines and not entry) + [f"- {words}: {found['text']}"]
            entry = found["names"]
        elif entry and (line.startswith(" ") or entry in LABELS):
            lines.append(f"  {line.strip()}")
        else:
            lines += [""] * bool(entry) + [line]
            entry = ""
    return "\n".join(lines)


def summary(one: Any) -> str:
    return doc_of(one).partition("\n\n")[0]


def joined(doc: str) -> str:
    return " ".join(doc.split())


def code(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {len(PAGE.read_text().splitlines())} lines")
