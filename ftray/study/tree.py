"""A study file's tree before it is parsed: overrides applied, shorthand expanded, paths made absolute.

Takes: a file, plain mappings. Gives: plain mappings.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.errors import SpecError
from ftray.market import MARKETS
from ftray.nets import ENCODERS
from ftray.search.samplers import SAMPLERS
from ftray.shipped import find_study
from ftray.spec import MISSING_PLUGIN, nearest
from ftray.storage import is_url
from ftray.study.stopping import SCHEDULERS
from ftray.yaml_reader import read_yaml

SECTIONS = ("name", "plugins", "trial", "search")
"""The keys of a study file."""


def load_tree(file: Path | str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The content of a study's file, with overrides applied, not parsed yet."""
    path = find_study(file)
    try:
        tree = read_yaml(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{path} must hold a mapping with: {', '.join(SECTIONS)}")
    for override in overrides:
        apply_override(tree, override)
    return tree


def check_portable(file: Path | str, overrides: Iterable[str] = ()) -> None:
    """Refuses a study file whose paths are valid on this machine only.

    Raises: SpecError naming the first one.
    """
    for key, value in relative_paths(load_tree(file, overrides)).items():
        raise SpecError(
            f"on a cluster it must be s3://…, gs://…, abfs://… or an absolute path that all machines see, got {value}: "
            f"--set {key}=…",
            tuple(key.split(".")),
        )


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Applies a `PATH=VALUE` to a study file's tree, in place.

    Raises: SpecError for one that cannot be parsed or whose path continues below a value.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set takes PATH=VALUE, like trial.ppo.epochs=4; got {override!r}")
    *parents, last = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict) or "choice" in node:
            raise SpecError(f"--set cannot reach into {node!r}", tuple(parents[: depth + 1]))
    try:
        node[last] = read_yaml(text)
    except yaml.YAMLError as error:
        why = getattr(error, "problem", None) or error  # without the place in a text that has one line
        raise SpecError(f"--set {override!r} has no valid YAML value: {why}") from None


NAMED: dict[str, Collection[str]] = {"sampler": SAMPLERS, "scheduler": SCHEDULERS}
"""Fields of the search section whose value may be the name of a family's member."""

PLACES = ("warm_start", "also_counts")
"""Fields of the search section that name run folders."""


def expand_shorthand(search: Any) -> Any:
    """The search section with its shorthand expanded: sampler and scheduler by name, relative paths."""
    if not isinstance(search, Mapping):
        return search
    made = dict(search)
    for key, members in NAMED.items():
        name = search.get(key)
        if isinstance(name, str):
            if name not in members:
                hint = f"; {MISSING_PLUGIN}" if members is SAMPLERS else ""
                raise SpecError(f"no such {key}; {nearest(name, members)}{hint}", ("search", key))
            made[key] = {"kind": name}
    return made | {key: _absolute(search[key]) for key in PLACES if key in search}


def with_absolute_paths(node: Any) -> Any:
    """Paths made absolute: trials run in processes with another working directory."""
    if isinstance(node, list):
        return [with_absolute_paths(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: with_absolute_paths(value) for key, value in node.items()}
    for kind, field in _path_fields():
        if field in made and node.get("kind", kind) == kind:  # a mapping without a kind may be of any
            value = made[field]
            options = value.get("choice") if isinstance(value, Mapping) else None
            made[field] = {"choice": [_absolute(option) for option in options]} if options else _absolute(value)
    return made


def _path_fields() -> Iterator[tuple[str, str]]:
    """Fields that may hold a path, with the kind of their mapping."""
    for family in (MARKETS, ENCODERS):
        for kind, member in family.items():
            yield from ((kind, field) for field in getattr(member.spec_class, "PATHS", ()))


def relative_paths(tree: Mapping[str, Any]) -> dict[str, str]:
    """The paths of a study file's tree that are valid on this machine only, by the path of their key.

    >>> relative_paths({"trial": {"market": {"kind": "files", "path": "data/binance_1h"}}})
    {'trial.market.path': 'data/binance_1h'}
    """
    trial, search = tree.get("trial") or {}, tree.get("search") or {}
    found = dict(_differing("trial", trial, with_absolute_paths(trial)))
    for key in PLACES if isinstance(search, Mapping) else ():
        found |= _differing(f"search.{key}", search.get(key), _absolute(search.get(key)))
    return found


def _differing(key: str, before: Any, after: Any) -> Iterator[tuple[str, str]]:
    """The leaves of a tree that differ from those of another one of equal structure, with their keys."""
    if isinstance(before, Mapping):
        for name, value in before.items():
            yield from _differing(f"{key}.{name}", value, after[name])
    elif isinstance(before, list):
        for number, value in enumerate(before):
            yield from _differing(f"{key}.{number}", value, after[number])
    elif before != after:
        yield key, str(before)


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if not isinstance(value, str) or value in ("", "none", "auto") or is_url(value):
        return value
    return str(Path(value).expanduser().absolute())
