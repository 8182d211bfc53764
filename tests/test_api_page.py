"""The public names are documented: each with what it takes, gives and raises, on a page that is never stale."""

import ast
import builtins
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ftray
from ftray import errors
from ftray.spec import described_fields
from tests.test_structure import SOURCES

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

import make_api

SELF_EVIDENT = {*ftray.__all__, "MarketSpec", "FoldsSpec", "None"}
"""Types that say enough about a parameter: one that says more than `str` or `int` does."""


def documented() -> Iterator[tuple[str, Any]]:
    """Every public name with what it names, methods and properties of classes included."""
    for group, names in make_api.sections().items():
        for name, one in names.items():
            yield name, one
            if isinstance(one, type) and group != "Search" and not make_api.promises(one):
                yield from ((f"{name}.{key}", value) for key, value in make_api.public_members(one).items())


DOCUMENTED = dict(documented())


def has_docstring(one: Any) -> bool:
    """Whether it has one that is neither gymnasium's nor what a dataclass makes up."""
    doc = one.__doc__ if isinstance(one, type) else make_api.doc_of(one)
    return bool(doc) and not doc.startswith(f"{getattr(one, '__name__', '')}(") and ":meth:" not in doc


def unexplained(one: Any) -> list[str]:
    """The parameters, or fields, that neither the docstring nor their type explains."""
    words = set(re.findall(r"\w+", make_api.doc_of(one)))
    return [name for name, hint in declared(one).items() if name not in words and not set(parts(hint)) <= SELF_EVIDENT]


def declared(one: Any) -> dict[str, str]:
    """Parameter, or field of a dataclass → its annotation, as the source has it."""
    if isinstance(one, property) or not callable(one):
        return {}
    if dataclasses.is_dataclass(one):
        return {field.name: str(field.type) for field in dataclasses.fields(one) if field.name != "kind"}
    if isinstance(one, type):
        return declared(one.__init__) if one.__init__.__qualname__ == f"{one.__name__}.__init__" else {}
    definition = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    given = definition.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return {a.arg: make_api.source(a.annotation) if a.annotation else "" for a in every if a.arg not in ("self", "cls")}


def parts(hint: str) -> list[str]:
    """The members of a union; a type of another module by its last name."""
    return [part.strip().rpartition(".")[2] for part in re.sub(r"<class '(.*)'>", r"\1", hint).split("|")]


def test_the_page_is_what_its_script_writes():
    assert make_api.PAGE.read_text() == make_api.page(), "stale: run `python docs/make_api.py`"


def test_every_public_name_is_on_the_page():
    modules = {name for name in ftray.__all__ if inspect.ismodule(getattr(ftray, name))}
    assert set(ftray.__all__) - modules - {"__version__"} == {name for name in DOCUMENTED if hasattr(ftray, name)}
    assert modules == {name for names in make_api.GROUPS.values() for name in names} & modules


def test_every_spec_of_a_trial_is_public():
    assert {one.__name__ for one, path in make_api.places().items() if path.startswith("trial")} <= set(ftray.__all__)


def test_every_public_name_has_a_docstring_of_its_own():
    assert [name for name, one in DOCUMENTED.items() if not has_docstring(one)] == []


def test_every_public_name_says_what_it_takes():
    assert {name: missing for name, one in DOCUMENTED.items() if (missing := unexplained(one))} == {}


def test_a_parameter_without_a_word_is_found():
    def move(dataset: "ftray.Dataset", rules: "ftray.MarketRules | None", steps: int, far: bool = False) -> None:
        """Moves by so many steps."""

    assert unexplained(move) == ["far"]


@pytest.mark.parametrize("cls", make_api.places(), ids=lambda cls: cls.__name__)
def test_every_field_of_a_study_file_is_described_once(cls):
    fields = [field.name for field in dataclasses.fields(cls) if field.name != "kind"]
    assert list(described_fields(cls)) == fields, "in the order of the fields"
    assert len(re.findall(r"^[a-z_]+(?:, [a-z_]+)*: ", inspect.getdoc(cls) or "", re.MULTILINE)) <= len(fields)


def test_every_error_that_a_docstring_raises_exists():
    unknown = {
        f"{module}: {name}"
        for module, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for name in re.findall(r"(?<![.\w])[A-Z]\w*Error\b", (ast.get_docstring(node) or "").partition("Raises:")[2])
        if not hasattr(errors, name) and not hasattr(builtins, name) and f"class {name}(" not in path.read_text()
    }
    assert unknown == set()


def test_the_tree_of_errors_is_drawn_as_it_is():
    def lines(cls: type, indent: str = "") -> Iterator[str]:
        below = [one for one in make_api.error_classes() if cls in one.__bases__]
        for one in below:
            others = ", ".join(base.__name__ for base in one.__bases__ if base is not cls)
            last = one is below[-1]
            yield f"{indent}{'└' if last else '├'}── {one.__name__}{f' ({others})' if others else ''}"
            yield from lines(one, f"{indent}{' ' if last else '│'}   ")

    tree = "\n".join([errors.FtrayError.__name__, *lines(errors.FtrayError)])
    assert textwrap.indent(tree, "    ") in inspect.getdoc(errors)


def test_entries_and_examples_of_a_docstring_become_lists_and_blocks():
    assert make_api.markdown("A sum.\n\na, b: numbers,\n    finite.\nc: another.\n\n>>> 1 + 1\n2") == (
        "A sum.\n\n- `a`, `b`: numbers,\n  finite.\n- `c`: another.\n\n```pycon\n>>> 1 + 1\n2\n```"
    )
    assert make_api.markdown("Raises: SpecError for none;\nDataError.") == "- Raises: SpecError for none;\n  DataError."
