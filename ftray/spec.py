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
import difflib
import functools
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from ftray.errors import SpecError

S = TypeVar("S")

MISSING_PLUGIN = "if a plug-in has it, name its module: `plugins` in a study file, --plugin, or ftray.load_plugins"
"""Ends a message about an unknown member of a family to which plug-ins add."""

LISTED = 30
"""A message lists all known names up to this many, otherwise the first five."""


@dataclasses.dataclass(frozen=True)
class Between:
    """A closed range that a number must be in; an end of None is unbounded."""

    low: float | None = None
    high: float | None = None

    def check(self, value: float) -> None:
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise SpecError(f"must be {self}, got {value!r}")

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low is None else f"between {self.low:g} and {self.high:g}"


Count = Annotated[int, Between(1)]
Index = Annotated[int, Between(0)]
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
            object.__setattr__(self, name, _converted(hint, getattr(self, name), (name,)))
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
        return {field.name: to_mapping(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_mapping(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_mapping(item) for item in value]
    return value


def fingerprint(*values: Any) -> str:
    """A name that changes with any change of the value: SHA-256 over its canonical JSON, 64 hex digits."""
    text = json.dumps(to_mapping(list(values)), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def nearest(word: str, known: Iterable[object]) -> str:
    """Ends a message about an unknown word: the nearest known one, and the known ones, or the first of many.

    >>> nearest("fe", ["fee", "slippage"])
    "did you mean 'fee'? Known: fee, slippage"
    """
    names = [str(name) for name in known]
    listed = ", ".join(names if len(names) <= LISTED else [*names[:5], f"... ({len(names)} in all)"])
    meant = closest(word, names)
    return (f"did you mean {meant!r}? " if meant else "") + f"Known: {listed}"


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word that is spelt most like this one; None if none is close. cutoff: of 1.0 for the same word."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _is_spec(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "__is_spec__", False)


def _parsed(cls: Any, mapping: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(mapping, Mapping):
        raise SpecError(f"expected a mapping with some of: {', '.join(_hints(cls))}; got {mapping!r}", path)
    hints = _hints(cls)
    for key in mapping:
        if key not in hints:
            place = getattr(cls, "MOVED", {}).get(key)
            why = f"moved to {'.'.join((*path, place))}" if place else f"no such key; {nearest(str(key), hints)}"
            raise SpecError(why, (*path, str(key)))
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    values = {
        key: _converted(hints[key], _with_kind(value, defaults[key]), (*path, key)) for key, value in mapping.items()
    }
    required = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    for name in sorted(required - set(values)):
        raise SpecError("is required and missing", (*path, name))
    try:
        return cls(**values)
    except SpecError as error:
        raise error.within(*path) from None


def _with_kind(value: Any, default: Any) -> Any:
    """A mapping without a `kind` has the default's kind, if that kind knows all its keys."""
    kinds = _hints(type(default)) if _is_spec(type(default)) else {}
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
            if value is not None and isinstance(rule, Between):
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
    specs = [member for member in members if _is_spec(member)]
    if not specs:
        remaining = [member for member in members if member is not type(None)]
        return _converted(remaining[0], value, path)
    return _member({get_args(_hints(member)["kind"])[0]: member for member in specs}, value, path)


def _member(kinds: Mapping[str, Any], value: Any, path: tuple[str, ...], hint: str = "") -> Any:
    """A spec of one of these classes, by its `kind`. hint: ends the message about an unknown one."""
    if any(isinstance(value, member) for member in kinds.values()):
        return value
    if not isinstance(value, Mapping) or "kind" not in value:
        raise SpecError(f"must be a mapping with `kind: {' | '.join(kinds)}`, got {value!r}", path)
    if value["kind"] not in kinds:
        problem = f"must be one of {', '.join(kinds)}; got {value['kind']!r}"
        raise SpecError("; ".join(filter(None, (problem, hint))), (*path, "kind"))
    return _parsed(kinds[value["kind"]], value, path)


def _scalar(hint: Any, value: Any, path: tuple[str, ...]) -> Any:
    if hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-4, without a dot, as text
            try:
                value = float(value)
            except ValueError:
                raise SpecError(f"must be a number, got {value!r}", path) from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SpecError(f"must be a finite number, got {value!r}", path)
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SpecError(f"must be {'an' if hint is int else 'a'} {hint.__name__}, got {value!r}", path)
    return value
