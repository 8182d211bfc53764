"""What the results of a trial say, whenever and however fast it ran."""

from typing import Any

CLOCKS = ("wall_seconds", "seconds/", "steps_per_second", "cost/", "checkpoint")


def without_clocks(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results without what a clock says, comparable: NaN, which equals nothing, is None."""
    return [{name: comparable(value) for name, value in row.items() if not name.startswith(CLOCKS)} for row in results]


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    return None if value != value else value
