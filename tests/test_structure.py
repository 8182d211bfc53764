"""The structure of the package: no circles, and files and functions of a size that a reader takes in at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ftray"
SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

MAX_FILE, MAX_FUNCTION = 300, 40
"""Lines."""
LONG_FILES: dict[str, str] = {}
"""Files that may be longer, and why."""
LONG_FUNCTIONS: dict[str, str] = {}
"""Functions that may be longer, and why."""


def imported(module: str) -> Iterator[str]:
    """The modules that a module imports, wherever the import stands: in a function or under TYPE_CHECKING, too."""
    path = SOURCES[module]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], node.module or ""]).strip(".")
            home = base if node.level else str(node.module)
            for alias in node.names:
                name = f"{home}.{alias.name}"
                if name in SOURCES or home in SOURCES:
                    yield name if name in SOURCES else home


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of several modules (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges[module]:
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            found.extend([sorted(component)] * (len(component) > 1))

    for module in edges:
        if module not in index:
            visit(module)
    return found


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_modules_import_each_other_in_a_circle():
    assert circles({module: set(imported(module)) - {module} for module in SOURCES}) == []


def test_no_packages_import_each_other_in_a_circle():
    package = {module: ".".join(module.split(".")[:2]) for module in SOURCES}
    edges: dict[str, set[str]] = {name: set() for name in package.values() if name != "ftray"}
    for module in SOURCES:
        for other in imported(module):
            if "ftray" not in (package[module], package[other]) and package[module] != package[other]:
                edges[package[module]].add(package[other])
    assert circles(edges) == []


def test_files_are_short():
    n_lines = {module: len(path.read_text().splitlines()) for module, path in SOURCES.items()}
    assert {module: n for module, n in n_lines.items() if n > MAX_FILE and module not in LONG_FILES} == {}


def test_functions_are_short():
    n_lines = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in n_lines.items() if n > MAX_FUNCTION and name not in LONG_FUNCTIONS} == {}
