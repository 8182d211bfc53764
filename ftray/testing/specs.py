"""What the descriptions of every family promise: they are specs, and survive a file."""

import json
from typing import Any

from ftray.errors import SpecError
from ftray.spec import parse, to_mapping
from ftray.testing.contract import broken


def assert_survives_a_file(spec: Any, spec_class: type) -> None:
    """A description is a spec with a kind, and what is written of it as JSON is read back equal."""
    mend = (
        "make its class with @spec from ftray.spec, of numbers, texts, tuples and other specs alone, with a field "
        '`kind: Literal["..."] = "..."`'
    )
    if not (isinstance(spec, spec_class) and getattr(spec_class, "__is_spec__", False) and hasattr(spec, "kind")):
        raise broken("a description must be a spec with a kind", f"{spec!r} is none", mend)
    try:
        read = parse(spec_class, json.loads(json.dumps(to_mapping(spec))))
    except (SpecError, TypeError, ValueError) as error:
        raise broken("a description must survive a file", f"{type(error).__name__}: {error}", mend) from error
    if read != spec:
        raise broken("a description must survive a file", f"{spec!r} came back as {read!r}", mend)
