"""YAML as ftray reads it: what YAML 1.1 reads otherwise than people mean it, or loses without a word.

A key is given once. `1e-4` is a number, and so is `1_000`; a date is text, and so are `010` and `1:30`, which YAML 1.1
makes 8 and 90 of.

>>> read_yaml("{rate: 1e-4, from: 2024-01-01}")
{'rate': 0.0001, 'from': '2024-01-01'}
"""

import re
from typing import Any, ClassVar

import yaml

NUMBERS = {
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "tag:yaml.org,2002:int": r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+",
}
"""What a plain text must be to be a number."""

TEXT = "tag:yaml.org,2002:timestamp"
"""What stays text: specs are made of texts and numbers."""


def read_yaml(text: str) -> Any:
    """The value that a YAML text describes. Raises: yaml.YAMLError, also for a key that is given twice."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def check_keys(node: yaml.Node | None) -> None:
    """Refuses a mapping with a key that is given twice, and a value that holds itself.

    Raises: yaml.YAMLError with the key and the line of its second value.
    """
    _check(node, [], set())


def _check(node: yaml.Node | None, above: list[yaml.Node], checked: set[int]) -> None:
    if node in above:
        raise yaml.YAMLError(f"the value in line {_line(node)} holds itself")
    if not isinstance(node, yaml.CollectionNode) or id(node) in checked:
        return
    inner = node.value
    if isinstance(node, yaml.MappingNode):
        _check_names([name for name, _ in node.value])
        inner = [value for _, value in node.value]
    for one in inner:
        _check(one, [*above, node], checked)
    checked.add(id(node))


def _check_names(names: list[yaml.Node]) -> None:
    seen: set[str] = set()
    for name in names:
        if isinstance(name, yaml.ScalarNode):
            if name.value in seen:
                raise yaml.YAMLError(f"{name.value} is given twice, the second time in line {_line(name)}")
            seen.add(name.value)


def _line(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node else 0


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (TEXT, *NUMBERS)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_document(self, node: yaml.Node) -> Any:
        check_keys(node)
        return super().construct_document(node)


for _tag, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list("-+0123456789."))
