"""The JSON Schema (draft 2020-12) of specs, with search parameters in place of values where a study allows them.

Takes: spec classes. Gives: what `parse` accepts of them, as a plain mapping that editors and validators read. Types,
ranges, names, defaults and descriptions are those of the classes; a family has the members that it has when it is read.

What a schema cannot express stays the parser's alone: rules between fields (the `check` methods), the order and the
step of a range's ends, options that look the same, how large a number is that is written as text, and that a `log`
range of a count may not end in 4.0, which is no other number than 4. In three points it is stricter: a count is
searched by `int`, never by a `float` range of whole steps; both ends of a range must be valid, even where its step
never reaches the upper one; the options of a choice are no choices themselves.
"""

import dataclasses
import inspect
import re
import types
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ftray.search.space import RANGE_KINDS
from ftray.spec import NUMBER, Between, NameIn, Rule, described_fields, key_of, to_mapping

Schema = dict[str, Any]

MEANING = {
    "int": "Whole numbers: [low, high] or [low, high, step].",
    "float": "Real numbers: [low, high] or [low, high, step].",
    "log": "Numbers, uniform in their logarithm: [low, high]; whole ones if both ends are.",
    "choice": "One of these values, or one of these mappings, which may have search parameters of their own.",
}
assert set(MEANING) == set(RANGE_KINDS)

TYPES = {int: "integer", str: "string", bool: "boolean", dict: "object"}

RANGES = {int: ("int", "log", "choice"), float: ("float", "log", "int", "choice")}
"""The kinds of range by which a number is searched, `choice` last; anything else has that one alone."""

# `errorMessage` and `patternErrorMessage` are words of yaml-language-server and VS Code; validators ignore them.
UNKNOWN = "must be one of {}; a schema that `ftray schema --plugin MODULE` prints knows the names of that plug-in, too"


@dataclasses.dataclass(frozen=True)
class Hint:
    """A field's annotation, taken apart.

    base: the class; `tuple`, `Literal`, or `Union` for a family. arguments: of a tuple or Literal. rules: beyond the
    type. optional: None is valid. members: of a family of specs, by their kind. open: plug-ins may add members.
    """

    base: Any
    arguments: tuple[Any, ...] = ()
    rules: tuple[Rule, ...] = ()
    optional: bool = False
    members: Mapping[str, type] | None = None
    open: bool = False

    @classmethod
    def of(cls, hint: Any) -> "Hint":
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            inner = cls.of(arguments[0])
            table = next((one for one in arguments[1:] if isinstance(one, Mapping)), None)
            rules = (*inner.rules, *(one for one in arguments[1:] if isinstance(one, Rule)))
            if table is None:
                return dataclasses.replace(inner, rules=rules)
            members = {kind: one.spec_class for kind, one in table.items()}
            return dataclasses.replace(inner, rules=rules, members=members, open=True)
        if origin in (Union, types.UnionType):
            some = [one for one in arguments if one is not type(None)]
            if len(some) == 1:
                return dataclasses.replace(cls.of(some[0]), optional=True)
            by_kind = {get_args(get_type_hints(one)["kind"])[0]: one for one in some}
            return cls(Union, optional=len(some) < len(arguments), members=by_kind)
        return cls(origin or hint, arguments)

    def plain(self) -> Schema:
        """The schema of a scalar."""
        null = [None] if self.optional else []
        named = next((rule for rule in self.rules if isinstance(rule, NameIn)), None)
        if self.base is Literal:
            return one_of([*self.arguments, *null])
        if named:
            return one_of([*named.keywords()["enum"], *null], open_=True)
        made: Schema = {"type": TYPES[self.base]} if self.base in TYPES else {}
        if self.base is float:  # YAML 1.1 reads 1e-4, without a dot, as text
            made = {"type": ["number", "string"], "pattern": f"^{NUMBER}$", "patternErrorMessage": "must be a number"}
        for rule in self.rules:
            made |= rule.keywords()
        return _or("null", made) if self.optional else made

    def options(self) -> list[Any]:
        """The values, if they are few."""
        return [True, False] if self.base is bool else self.plain().get("enum", [])

    def name(self) -> str | None:
        """A name for the schema of a number, a text or a truth value, if others are likely to have the same."""
        if self.base not in (int, float, bool, str) or not all(isinstance(rule, Between) for rule in self.rules):
            return None
        words = [self.base.__name__, *map(str, self.rules), *["or null"] * self.optional]
        return re.sub(r"\W+", "_", " ".join(words))


class SchemaWriter:
    """Writes the schemas of specs, and collects the definitions that they refer to.

    definitions: the content of `$defs`. section: what the names of specs begin with there. ranges: whether search
    parameters may stand in place of values. fixed: paths of fields, `trading.rules`, in which none may.
    """

    def __init__(self, definitions: dict[str, Schema], section: str, ranges: bool, fixed: Collection[str] = ()):
        self.definitions, self.section, self.ranges, self.fixed = definitions, section, ranges, fixed

    def spec(self, cls: type) -> Schema:
        """The mapping of one spec, or in a study a choice between several."""
        return self._or_choice(self._one(cls))

    def value(self, hint: Hint, default: Any, name: str) -> Schema:
        """What may stand as a field's value. name: of the field, for the definition of a family."""
        if hint.members is not None or hasattr(hint.base, "__is_spec__"):
            one = self._family(hint, hint.members, default, name) if hint.members else self._one(hint.base)
            return or_null(self._or_choice(one)) if hint.optional else self._or_choice(one)
        if hint.base is tuple:
            # An item of a list is never searched.
            items = SchemaWriter(self.definitions, f"{self.section}.listed", False) if self.ranges else self
            made = {"type": "array", "items": items.value(Hint.of(hint.arguments[0]), None, name)}
            for rule in hint.rules:
                made |= rule.keywords()
            return _or("null", made) if hint.optional else made
        plain = self._scalar(hint)
        if not self.ranges:
            return plain
        return self._shared(hint.name(), _or_range(plain, self._range_kinds(hint), hint.options()), "_or_range")

    def _inside(self, field: str) -> "SchemaWriter":
        """What writes the value of a field."""
        deeper = [path.removeprefix(f"{field}.") for path in self.fixed if path.startswith(f"{field}.")]
        return SchemaWriter(self.definitions, self.section, self.ranges and field not in self.fixed, deeper)

    def _one(self, cls: type) -> Schema:
        ours = cls.__module__.startswith("ftray.")
        name = f"{self.section}.{cls.__name__ if ours else f'{cls.__module__}.{cls.__name__}'}"
        if name not in self.definitions:
            self.definitions[name] = {}  # a spec may contain itself
            self.definitions[name] = self._object(cls, name)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, cls: Any, name: str) -> Schema:
        described, hints = described_fields(cls), get_type_hints(cls, include_extras=True)
        properties: dict[str, Schema | bool] = {}
        for field in dataclasses.fields(cls):
            hint = Hint.of(hints[field.name])
            if field.name == "kind":
                properties["kind"] = True  # its family checks and describes it
                continue
            text = described.get(field.name) or (_summary(hint.base) if hasattr(hint.base, "__is_spec__") else None)
            made = properties[key_of(field.name)] = {"description": text} if text else {}
            if field.default is not dataclasses.MISSING:
                made["default"] = _default(field.default)
            made |= self._inside(field.name).value(hint, field.default, f"{name}.{field.name}")
        fields = dataclasses.fields(cls)
        required = [key_of(f.name) for f in fields if f.default is f.default_factory is dataclasses.MISSING]
        made = {"type": "object", "description": _summary(cls), "properties": properties, "additionalProperties": False}
        return made | ({"required": required} if required else {})

    def _family(self, hint: Hint, members: Mapping[str, type], default: Any, name: str) -> Schema:
        """A mapping whose `kind` says which member's fields it has; without one, the default's where it fits."""
        kinds = one_of(members, hint.open)
        about = {"description": "\n".join(f"{kind}: {_summary(cls)}" for kind, cls in members.items())}
        if self.ranges:
            kinds = _or_range(kinds, {"choice": _choice(kinds)}, members)
        without: Schema = {"required": ["kind"]}
        if dataclasses.is_dataclass(default):
            kinds |= {"default": default.kind}  # type: ignore[attr-defined]  # members of a family have one
            fits = {"propertyNames": {"enum": [key_of(field.name) for field in dataclasses.fields(default)]}}
            without = {"if": fits, "then": self._one(type(default)), "else": without}
        dispatch = [{"if": _has_kind(kind, self.ranges), "then": self._one(cls)} for kind, cls in members.items()]
        self.definitions[name] = {
            "type": "object",
            "properties": {"kind": about | kinds},
            "if": {"required": ["kind"]},
            "then": {"allOf": dispatch},
            "else": without,
        }
        return {"$ref": f"#/$defs/{name}"}

    def _or_choice(self, one: Schema) -> Schema:
        if not self.ranges:
            return one
        several, offered = _only({"choice": _choice(one)}), {"description": MEANING["choice"], "type": "array"}
        return {"properties": {"choice": offered}, "if": {"required": ["choice"]}, "then": several, "else": one}

    def _range_kinds(self, hint: Hint) -> dict[str, Schema]:
        """The kinds of range by which a number, a text or a truth value can be searched."""
        end = self._scalar(dataclasses.replace(hint, optional=False))
        made = {"choice": _choice(self._scalar(hint))}
        whole, real = {"type": "integer", "minimum": 1}, Hint(float, rules=(Between(above=0),)).plain()
        for kind in RANGES.get(hint.base, ("choice",))[:-1]:
            one = (
                end
                | ({"type": "integer"} if kind == "int" else {})
                | ({"exclusiveMinimum": 0} if kind == "log" else {})
            )
            step = {"int": [whole], "float": [real], "log": []}[kind]
            numbers = {"type": "array", "prefixItems": [one, one, *step], "minItems": 2, "items": False}
            made[kind] = {"description": MEANING[kind], **numbers}
        return made

    def _scalar(self, hint: Hint) -> Schema:
        return self._shared(hint.name(), hint.plain())

    def _shared(self, name: str | None, schema: Schema, suffix: str = "") -> Schema:
        """A reference to a definition of that name; the schema itself without one, or where another schema has it."""
        if name is None or self.definitions.setdefault(name + suffix, schema) != schema:
            return schema
        return {"$ref": f"#/$defs/{name}{suffix}"}


def one_of(names: Iterable[Any], open_: bool = False) -> Schema:
    """One of these values. open_: plug-ins may add some, which an editor says where it refuses another."""
    listed = list(names)
    return {"enum": listed} | ({"errorMessage": UNKNOWN.format(", ".join(map(str, listed)))} if open_ else {})


def or_null(schema: Schema) -> Schema:
    """A mapping, or none."""
    return {"type": ["object", "null"], "if": {"type": "null"}, "then": True, "else": schema}


def _or(type_: str, schema: Schema) -> Schema:
    """The same schema, which also lets another type pass."""
    known = schema.get("type", [])
    return {**schema, "type": [*([known] if isinstance(known, str) else known), type_]} if known else schema


def _only(properties: dict[str, Schema]) -> Schema:
    """A mapping with one of these keys."""
    one = {"additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"type": "object", "properties": properties, **one}


def _or_range(plain: Schema, kinds: dict[str, Schema], options: Iterable[Any]) -> Schema:
    """A value, or a range of one of these kinds. options: what editors offer, as they ignore the enum of an `else`."""
    examples = {"examples": list(options)} if options else {}
    return {**examples, "if": {"type": "object"}, "then": _only(kinds), "else": plain}


def _choice(option: Schema) -> Schema:
    return {"description": MEANING["choice"], "type": "array", "items": option, "minItems": 1}


def _has_kind(kind: str, ranges: bool) -> Schema:
    """Whether a mapping's `kind` is this one, or may become it."""
    searched = {"type": "object", "properties": {"choice": {"contains": {"const": kind}}}}
    return {"properties": {"kind": {"anyOf": [{"const": kind}, searched]} if ranges else {"const": kind}}}


def _summary(cls: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def _default(value: Any) -> Any:
    """A default as a mapping would have it, without what its own class has by default."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return to_mapping(value)
    given = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
    shown = {field.name: one for field, one in given.items() if one != field.default or field.name == "kind"}
    return {key_of(name): _default(one) for name, one in shown.items()}
