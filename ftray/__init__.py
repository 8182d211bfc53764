"""ftray: which encoder, pre-training and PPO settings make a trading policy that holds up out of sample.

`__init__.pyi` lists the public names and where each comes from. Editors and type checkers read that file, and this one
loads a name from there when it is first asked for (PEP 562): `import ftray` imports neither torch nor Ray. Scientific
Python describes the form: https://scientific-python.org/specs/spec-0001.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

_HOMES = {
    alias.name: str(line.module)
    for line in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(line, ast.ImportFrom)
    for alias in line.names
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # the list that it reads is in the stub


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftray' has no attribute {name!r}")
    home = _HOMES[name]
    if home == "ftray":  # a module
        return importlib.import_module(f"ftray.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
