"""Families: the tables of indicators, rewards, markets, encoders and samplers, in which plug-ins register members.

Takes: members, each with a name. Gives: a member by its name, and a hash of the source of each plug-in: a module
outside this package that registered a member.
"""

import contextlib
import dataclasses
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from ftray.errors import PluginError
from ftray.spec import MISSING_PLUGIN, fingerprint, nearest

Member = TypeVar("Member")

OWN = __name__.partition(".")[0]
"""The top-level name of this package, whose modules are no plug-ins."""

LEFT_OUT = ("__pycache__", ".*")
"""Files and folders that are not part of a package's source: neither hashed nor sent to other machines."""

_SOURCES: dict[str, str] = {}
"""Plug-ins in the order in which they registered a first member → hash of their source at that moment."""


class Family(Mapping[str, Member], Generic[Member]):
    """One table: name → member. A member is named by its `name`, or by the `kind` of its `spec_class`.

    noun: what a member is, for messages.
    members: those of this package.
    fields: what a `spec_class` must have.

    >>> from ftray.features import INDICATORS
    >>> list(INDICATORS)[:3], INDICATORS["rsi"].warm_up
    (['open', 'high', 'low'], 150)
    """

    def __init__(self, noun: str, *members: Member, fields: tuple[str, ...] = ()):
        self.noun, self._fields = noun, fields
        self._members: dict[str, Member] = {}
        self._homes: dict[str, str] = {}
        for member in members:
            self._add(member, OWN)

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def register(self, member: Member) -> None:
        """Adds a member. A module that is executed again, like a cell of a notebook, replaces its own members.

        Raises: PluginError for a name that another module has registered, and for a member without a proper name.
        """
        module = sys._getframe(1).f_globals["__name__"]
        replaces = self._add(member, module)
        if not _is_own(module) and (replaces or module not in _SOURCES):
            _SOURCES[module] = hash_source(module)

    @contextlib.contextmanager
    def having(self, member: Member) -> Iterator[None]:
        """Adds a member, or replaces the one of its name, until the block ends.

        For tests of a member that no module registers; fingerprints do not include it.
        """
        members, homes = dict(self._members), dict(self._homes)
        name = self._name(member)
        self._members[name], self._homes[name] = member, OWN
        try:
            yield
        finally:
            self._members, self._homes = members, homes

    def unknown(self, name: str) -> str:
        """The text of an error about a name that is not in the table."""
        return f"no {self.noun} {name!r}; {nearest(name, self)}; {MISSING_PLUGIN}"

    def sources(self, names: Iterable[str]) -> dict[str, str]:
        """The plug-ins that registered these members → hash of their source.

        Without this package's own members, and without names that are not in the table: a prepared dataset can be used
        where the plug-in of its indicators is not imported.
        """
        modules = sorted({self._homes[name] for name in names if name in self._homes})
        return {module: _SOURCES[module] for module in modules if not _is_own(module)}

    def _add(self, member: Member, module: str) -> bool:
        """Adds a member; whether it replaced an earlier one of the same module."""
        name = self._name(member)
        if missing := self._missing(member):
            raise PluginError(
                f"the {self.noun} {name!r} of {module} must have what the others have, and has no {', '.join(missing)}"
            )
        home = self._homes.setdefault(name, module)
        if home != module:
            raise PluginError(f"the {self.noun} {name!r} of {module} must have another name: {home} has one already")
        replaces = name in self._members
        self._members[name] = member
        return replaces

    def _missing(self, member: Any) -> list[str]:
        """The fields of this family's first member, where that is a dataclass, that another member lacks."""
        first = next(iter(self._members.values()), None)
        if not dataclasses.is_dataclass(first) or isinstance(first, type):
            return []
        return [field.name for field in dataclasses.fields(first) if not hasattr(member, field.name)]

    def _name(self, member: Any) -> str:
        spec_class = getattr(member, "spec_class", None)
        name = getattr(member, "name", None) if spec_class is None else _kind(spec_class, self._fields)
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            raise PluginError(
                f"the {self.noun} {member!r} must have a name of letters, digits, '_', '.' and '-', got {name!r}"
            )
        return name


def registered() -> dict[str, str]:
    """Every plug-in that has registered a member in this process → hash of its source at that moment."""
    return dict(_SOURCES)


def source_path(module: str) -> Path | None:
    """The folder of a module's top-level package, or the file of a module without a package.

    None where there is no such file: in a notebook, in a script that is executed, for a compiled module.
    """
    top = sys.modules.get(module.partition(".")[0])
    folders = [Path(folder).absolute() for folder in getattr(top, "__path__", ())]
    if folders:  # several, where distributions share a namespace
        own = Path(getattr(sys.modules.get(module), "__file__", None) or folders[0]).absolute()
        return next((folder for folder in folders if own.is_relative_to(folder)), folders[0])
    file = getattr(top, "__file__", None)
    return Path(file).absolute() if file and file.endswith(".py") and module != "__main__" else None


def sources_of(modules: Iterable[str]) -> list[Path]:
    """The folders and files that these plug-ins consist of, each once: what another machine needs of them."""
    return sorted({path for module in modules if (path := source_path(module))})


def hash_source(module: str) -> str:
    """A hash of a plug-in's source as it is now: all `.py` files of its top-level package, or its one file.

    `LEFT_OUT` names files and folders that do not count.
    Without such files, each call returns another hash, because a change of the code could not be noticed.
    """
    files = source_files(module)
    if not files:
        return secrets.token_hex(8)
    return fingerprint({name: file.read_bytes().hex() for name, file in files.items()})[:16]


def source_files(module: str) -> dict[str, Path]:
    """The files that `hash_source` reads, by their paths from the folder that the plug-in lies in."""
    path = source_path(module)
    if path is None:
        return {}
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    sources = {file.relative_to(path.parent): file for file in files}
    left_out = {name for name in sources if any(fnmatch(part, rule) for part in name.parts for rule in LEFT_OUT)}
    return {name.as_posix(): file for name, file in sources.items() if name not in left_out}


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == OWN


def _kind(spec_class: Any, fields: tuple[str, ...]) -> str:
    """The kind of a spec class, which distinguishes it from its family's others."""
    if not getattr(spec_class, "__is_spec__", False):
        raise PluginError(f"spec_class must be a class decorated with @ftray.spec.spec, got {spec_class!r}")
    hint = get_type_hints(spec_class).get("kind")
    known = {field.name: field.default for field in dataclasses.fields(spec_class)}
    if get_origin(hint) is not Literal or get_args(hint) != (known["kind"],):
        raise PluginError(f'{spec_class.__qualname__} must have a field like kind: Literal["mine"] = "mine"')
    for name in fields:
        if name not in known:
            raise PluginError(f"{spec_class.__qualname__} must have the field {name}; it has: {', '.join(known)}")
    return get_args(hint)[0]
