"""Misspelt keys of `--set`, refused at once by the JSON Schema that comes with ftray: to import specs takes seconds.

Takes: overrides as `--set` takes them. Gives: a SpecError as `ftray.spec.parse` raises it, or nothing: what the schema
does not decide is left to `parse`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftray.errors import SpecError
from ftray.shipped import SCHEMA
from ftray.spec import closest, nearest

BRANCHES = ("then", "else")
LISTS = ("anyOf", "oneOf", "allOf")
CHOICE = "choice"

Node = dict[str, Any]


def check_keys(file: Path, overrides: Iterable[str]) -> None:
    """Refuses an override whose key is misspelt. Of studies with plug-ins, which may add keys, it refuses none.

    Raises: SpecError with the path of the key and the nearest name.
    """
    overrides = list(overrides)
    if not overrides or any("plugins" in text for text in (file.read_text(errors="replace"), *overrides)):
        return
    schema: Node = json.loads(SCHEMA.read_bytes())
    for override in overrides:
        key, equals, _ = override.partition("=")
        if equals and key:
            _check(schema, tuple(key.split(".")))


def _check(schema: Node, path: tuple[str, ...]) -> None:
    nodes = [schema]
    for depth, key in enumerate(path):
        objects = [found for node in nodes for found in _objects(schema, node)]
        known = [name for found in objects for name in found["properties"]]
        if "log" in known or not any(found.get("additionalProperties") is False for found in objects):
            return  # a search parameter, a list, a value, or a mapping with keys of any name
        if key not in (*known, CHOICE):
            if closest(key, known) is None:
                return  # `parse` also knows where a key of an earlier version is now
            raise SpecError(f"no such key; {nearest(key, dict.fromkeys(known))}", path[: depth + 1])
        nodes = [found["properties"][key] for found in objects if key in found["properties"]]


def _objects(schema: Node, node: Any) -> Iterator[Node]:
    """The mappings that a node of the schema may be, each with its `properties`."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        yield from _objects(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    below = [*(node[name] for name in BRANCHES if name in node), *(one for name in LISTS for one in node.get(name, ()))]
    for one in below:
        yield from _objects(schema, one)
    if set(node.get("properties", ())) - {CHOICE}:
        yield node
