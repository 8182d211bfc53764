"""What the results of a trial say, whenever and however fast it ran."""

from typing import Any

CLOCKS = ("wall_seconds", "seconds/", "steps_per_second", "cost/", "checkpoint")


def without_clocks(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results without what a clock says."""
    return [{name: value for name, value in row.items() if not name.startswith(CLOCKS)} for row in results]
