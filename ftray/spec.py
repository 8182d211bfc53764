"""Specs: frozen descriptions of what to build, parsed from plain mappings and turned back into them.

Takes: mappings as YAML or JSON give them. Gives: frozen, keyword-only values that are valid as a whole.
Input is validated here alone: an unknown key is refused with the nearest right name, a wrong value with its full path,
and all other code trusts the result.

>>> @spec
... class Costs:
...     fee: Fraction = 0.0025
>>> parse(Costs, {"fee": 0.001})
Costs(fee=0.001)
>>> parse(Costs, {"fe": 0.001}, path=("trial", "costs"))
Traceback (most recent call last):
ftray.errors.SpecError: trial.costs.fe: no such key; did you mean 'fee'? Known: fee
"""

import dataclasses
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from ftray.errors import SpecError
from ftray.field_rules import NUMBER, Between, Distinct, Matching, NameIn, Rule, closest, nearest, number

__all__ = [
    "LEAST_SEEDS",
    "MISSING_PLUGIN",
    "NUMBER",
    "Between",
    "Count",
    "Distinct",
    "Fraction",
    "FreshSeeds",
    "Index",
    "Matching",
    "NameIn",
    "NonNegative",
    "Seed",
    "closest",
    "described_fields",
    "fingerprint",
    "key_of",
    "nearest",
    "number",
    "parse",
    "parse_member",
    "spec",
    "to_mapping",
]

S = TypeVar("S")

_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.+(?:\n[ ]+.+)*)", re.MULTILINE)

MISSING_PLUGIN = "if a plug-in has it, name its module: `plugins` in a study file, --plugin, or ftray.load_plugins"
"""Ends a message about an unknown member of a family to which plug-ins add."""

Count = Annotated[int, Between(1)]
Index = Annotated[int, Between(0)]
Seed = Annotated[int, Between(0, 4_000_000_000)]
"""Of a generator whose seeds have 32 bits, with room for those that are counted on from it."""
LEAST_SEEDS = 3
FreshSeeds = Annotated[int, Between(LEAST_SEEDS)]
"""How many a promotion trains: the mean of fewer is again one lucky or unlucky seed."""
Fraction = Annotated[float, Between(0.0, 1.0)]
NonNegative = Annotated[float, Between(0.0)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def spec(cls: type[S]) -> type[S]:
    """Class decorator: a frozen, keyword-only dataclass whose annotations are checked on construction.

    A method `check(self)`, if the class has one, holds the rules between fields and raises `SpecError`. A mapping
    `MOVED`, if it has one, names the keys that earlier versions had, and where they are now. A tuple `PATHS` names the
    fields that may hold a path of this machine: a study file makes them absolute.
    """
    rules = getattr(cls, "check", None)

    def __post_init__(self: Any) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _converted(hint, getattr(self, name), (key_of(name),)))
        if rules is not None:
            rules(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__is_spec__ = True  # type: ignore[attr-defined]
    return made


def parse(cls: type[S], mapping: Any, *, path: tuple[str, ...] = ()) -> S:
    """The spec that a mapping describes.

    Raises: SpecError with the full path of the key that is unknown, missing or wrong.
    """
    return _parsed(cls, mapping, path)


def parse_member(family: Any, mapping: Any, *, path: tuple[str, ...] = ()) -> Any:
    """The spec that a mapping describes among a family of specs, distinguished by `kind`.

    family: a union of specs; or one annotated with a `Family`, whose members then count, those of plug-ins included.
    """
    return _converted(family, mapping, path)


def to_mapping(value: Any) -> Any:
    """The plain mapping (dicts, lists, scalars) that parses back to an equal spec."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key_of(field.name): to_mapping(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_mapping(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_mapping(item) for item in value]
    return value


def key_of(field: str) -> str:
    """The key of a field in a mapping: its name, without the underscore of one that Python reserves otherwise.

    >>> key_of("from_"), key_of("to")
    ('from', 'to')
    """
    return field.removesuffix("_")


def fingerprint(*values: Any) -> str:
    """A name that changes with any change of the value: SHA-256 over its canonical JSON, 64 hex digits."""
    text = json.dumps(to_mapping(list(values)), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def described_fields(cls: type) -> dict[str, str]:
    """What the docstring of a spec says about each field: entries `name: text` or `name, name: text` at its margin.

    Lines that are indented further continue an entry. What begins with another word than a field's name is prose.

    >>> @spec
    ... class Order:
    ...     \"\"\"An order.
    ...
    ...     symbol: the asset to trade,
    ...         without the quote currency.
    ...     low, high: prices.
    ...     \"\"\"
    ...     symbol: str
    ...     low: float
    ...     high: float
    >>> described_fields(Order)
    {'symbol': 'the asset to trade, without the quote currency.', 'low': 'prices.', 'high': 'prices.'}
    """
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    described: dict[str, str] = {}
    for match in _ENTRY.finditer(inspect.getdoc(cls) or ""):
        names = match["names"].split(", ")
        if fields.issuperset(names):
            described |= dict.fromkeys(names, " ".join(match["text"].split()))
    return described


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


@functools.cache
def _names(cls: Any) -> dict[str, str]:
    """The fields of a spec by their keys."""
    return {key_of(name): name for name in _hints(cls)}


def _is_spec(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "__is_spec__", False)


def _parsed(cls: Any, mapping: Any, path: tuple[str, ...]) -> Any:
    names, hints = _names(cls), _hints(cls)
    if not isinstance(mapping, Mapping):
        raise SpecError(f"expected a mapping with some of: {', '.join(names)}; got {mapping!r}", path)
    for key in mapping:
        if key not in names:
            place = getattr(cls, "MOVED", {}).get(key)
            why = f"moved to {'.'.join((*path, place))}" if place else f"no such key; {nearest(str(key), names)}"
            raise SpecError(why, (*path, str(key)))
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    values = {
        names[key]: _converted(hints[names[key]], _with_kind(value, defaults[names[key]]), (*path, key))
        for key, value in mapping.items()
    }
    required = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    for name in sorted(required - set(values)):
        raise SpecError("is required and missing", (*path, key_of(name)))
    try:
        return cls(**values)
    except SpecError as error:
        raise error.within(*path) from None


def _with_kind(value: Any, default: Any) -> Any:
    """A mapping without a `kind` has the default's kind, if that kind knows all its keys."""
    kinds = _names(type(default)) if _is_spec(type(default)) else {}
    if "kind" in kinds and isinstance(value, Mapping) and "kind" not in value and set(value) <= set(kinds):
        return {"kind": default.kind, **value}
    return value


def _converted(hint: Any, value: Any, path: tuple[str, ...]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for family in arguments[1:]:
            if isinstance(family, Mapping):
                return _member({kind: one.spec_class for kind, one in family.items()}, value, path, MISSING_PLUGIN)
        value = _converted(arguments[0], value, path)
        for rule in arguments[1:]:
            if value is not None and isinstance(rule, Rule):
                try:
                    rule.check(value)
                except SpecError as error:
                    raise error.within(*path) from None
        return value
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            raise SpecError(f"must be one of {', '.join(map(repr, arguments))}; got {value!r}", path)
        return value
    if origin in (Union, types.UnionType):
        return _converted_union(arguments, value, path)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise SpecError(f"must be a list, got {value!r}", path)
        return tuple(_converted(arguments[0], item, (*path, str(i))) for i, item in enumerate(value))
    if _is_spec(hint):
        return value if isinstance(value, hint) else _parsed(hint, value, path)
    return _scalar(hint, value, path)


def _converted_union(members: tuple[Any, ...], value: Any, path: tuple[str, ...]) -> Any:
    """`X | None`, or a family of specs distinguished by their `kind`."""
    if value is None and type(None) in members:
        return None
    remaining = [member for member in members if member is not type(None)]
    if len(remaining) == 1:
        return _converted(remaining[0], value, path)
    return _member({get_args(_hints(member)["kind"])[0]: member for member in remaining}, value, path)


def _member(kinds: Mapping[str, Any], value: Any, path: tuple[str, ...], hint: str = "") -> Any:
    """A spec of one of these classes, by its `kind`. hint: ends the message about an unknown one."""
    if any(isinstance(value, member) for member in kinds.values()):
        return value
    if not isinstance(value, Mapping) or "kind" not in value:
        raise SpecError(f"must be a mapping with `kind: {' | '.join(kinds)}`, got {value!r}", path)
    if not isinstance(value["kind"], str) or value["kind"] not in kinds:
        problem = f"must be one of {', '.join(kinds)}; got {value['kind']!r}"
        raise SpecError("; ".join(filter(None, (problem, hint))), (*path, "kind"))
    return _parsed(kinds[value["kind"]], value, path)


def _scalar(hint: Any, value: Any, path: tuple[str, ...]) -> Any:
    if hint is float:
        try:
            return number(value)
        except ValueError as error:
            raise SpecError(str(error), path) from None
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if hint is int and isinstance(value, int) and abs(value) >= 2**63:
        raise SpecError(f"must be below 2**63, which a computer's whole numbers end at; got {value:.4g}", path)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SpecError(f"must be {'an' if hint is int else 'a'} {hint.__name__}, got {value!r}", path)
    return value
