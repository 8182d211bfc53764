"""Misspelt keys of a study file and of `--set`, refused at once by the JSON Schema that comes with ftray: to import
specs takes seconds.

Takes: a file, overrides as `--set` takes them. Gives: a SpecError as `ftray.spec.parse` raises it, or nothing: what the
schema does not decide is left to `parse`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftray.errors import SpecError
from ftray.shipped import SCHEMA
from ftray.spec import closest, nearest
from ftray.yaml_reader import read_yaml

BRANCHES = ("then", "else")
LISTS = ("anyOf", "oneOf", "allOf")
CHOICE = "choice"

Node = dict[str, Any]


def check_keys(file: Path, overrides: Iterable[str]) -> None:
    """Refuses a misspelt key of a file or an override; none of a study with plug-ins, which may add keys.

    Raises: SpecError with the path of the key and the nearest name.
    """
    text, overrides = file.read_text(errors="replace"), list(overrides)
    if any("plugins" in one for one in (text, *overrides)):
        return
    schema: Node = json.loads(SCHEMA.read_bytes())
    replaced = {tuple(key.split(".")) for key, equals, _ in (one.partition("=") for one in overrides) if equals and key}
    for path in replaced:
        nodes = [schema]
        for depth in range(len(path)):
            nodes = _below(schema, nodes, path[: depth + 1])
    try:
        tree = read_yaml(text)
    except yaml.YAMLError:  # reading the study raises it with the file's name
        return
    _check(schema, [schema], tree, (), replaced)


def _check(schema: Node, nodes: list[Node], value: Any, path: tuple[str, ...], replaced: set[tuple[str, ...]]) -> None:
    """Refuses a misspelt key of a value, which the nodes describe. replaced: paths of values that overrides replace."""
    if not isinstance(value, Mapping) or path in replaced:
        return
    options = value.get(CHOICE) if len(value) == 1 else None
    for option in options if isinstance(options, list) else ():
        _check(schema, nodes, option, path, replaced)
    for key, inner in value.items():
        place = (*path, str(key))
        _check(schema, _below(schema, nodes, place, value.get("kind")), inner, place, replaced)


def _below(schema: Node, nodes: list[Node], path: tuple[str, ...], kind: Any = None) -> list[Node]:
    """What describes the value of a path's last key; nothing where the schema does not decide.

    nodes: what describes the mapping that has the key. kind: of that mapping, if it is known.
    """
    key = path[-1]
    objects = [found for node in nodes for found in _objects(schema, node, kind)]
    known = [name for found in objects for name in found["properties"]]
    if "log" in known or not any(found.get("additionalProperties") is False for found in objects):
        return []  # a search parameter, a list, a value, or a mapping with keys of any name
    if key in (*known, CHOICE):
        return [found["properties"][key] for found in objects if key in found["properties"]]
    if closest(key, known) is None or _is_further_down(schema, objects, key):
        return []  # `parse` also knows where a key of an earlier version is now
    raise SpecError(f"no such key; {nearest(key, dict.fromkeys(known))}", path)


def _is_further_down(schema: Node, objects: list[Node], key: str) -> bool:
    """Whether a mapping inside one of these has the key."""
    inner = [one for found in objects for one in found["properties"].values()]
    return any(key in found["properties"] for one in inner for found in _objects(schema, one))


def _objects(schema: Node, node: Any, kind: Any = None) -> Iterator[Node]:
    """The mappings that a node of the schema may be, each with its `properties`. kind: of those alone, if given."""
    if not isinstance(node, dict) or not _is_of(node, kind):
        return
    if "$ref" in node:
        yield from _objects(schema, schema["$defs"][node["$ref"].rpartition("/")[2]], kind)
    below = [*(node[name] for name in BRANCHES if name in node), *(one for name in LISTS for one in node.get(name, ()))]
    for one in below:
        yield from _objects(schema, one, kind)
    if set(node.get("properties", ())) - {CHOICE}:
        yield node


def _is_of(node: Node, kind: Any) -> bool:
    """Whether a node may describe a mapping of a kind: a family has an `if` for each."""
    tested = node.get("if", {}).get("properties", {}).get("kind", {}).get("anyOf", ())
    kinds = [one["const"] for one in tested if "const" in one]
    return not isinstance(kind, str) or not kinds or kind in kinds
