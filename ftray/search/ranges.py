"""What a range of a study file must be, beyond what `Space` needs: whatever Optuna would take for another range.

Takes: the tree of a trial. Gives: an error. `Space` itself does not check it, as run folders of earlier versions may
hold such ranges.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ftray.errors import SpecError
from ftray.search.space import RANGE_KINDS


def check_ranges(node: Any, path: tuple[str, ...]) -> None:
    """Refuses equal options, which would be tried more often than others, and a step that does not divide its range.

    Raises: SpecError with the path of the range.
    """
    if not isinstance(node, Mapping):
        return
    for kind, arguments in node.items():
        is_range = len(node) == 1 and kind in RANGE_KINDS and isinstance(arguments, list)
        if not is_range:
            check_ranges(arguments, (*path, str(kind)))
        elif kind == "choice":
            _check_options(arguments, path)
        elif len(arguments) == 3:
            _check_step(kind, arguments, path)


def _check_options(options: list[Any], path: tuple[str, ...]) -> None:
    for i, option in enumerate(options):
        if option in options[:i]:  # True and 1 are equal, too, and 2.0 and 2
            first = options[options.index(option)]
            raise SpecError(f"must be different options, got {first!r} and {option!r}: leave one", path)
        check_ranges(option, path)


def _check_step(kind: str, arguments: list[Any], path: tuple[str, ...]) -> None:
    low, high, step = (Fraction(str(one)) for one in arguments)
    rest = (high - low) % step
    if rest:
        last, number = high - rest, int if kind == "int" else float
        written = f"[{arguments[0]}, {number(last)}, {arguments[2]}]"
        raise SpecError(
            f"must have a step that divides the range: {{{kind}: {arguments}}} ends at {number(last)} and never takes "
            f"{arguments[1]}; write {written}",
            path,
        )
