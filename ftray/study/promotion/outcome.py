"""What a promotion found, and the lines that describe it."""

import dataclasses
from collections.abc import Mapping, Sequence

from ftray.boards.backtest import describe_idle
from ftray.boards.terminal import align
from ftray.metrics import format_metric, validation
from ftray.search.objectives import is_number
from ftray.study.promotion.gate import Gate, mean_and_error

Measures = Mapping[str, float | None]
"""By the names of `stats.performance` and `stats.active_performance`; None for one that is undefined."""

GATED = ("sharpe", "active_sharpe")
COLUMNS = (*GATED, "total_return", "max_drawdown")


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What a promotion found.

    validation, test: by seed; on the validation windows, means over the folds; on the test window, the policy of the
        last fold, whose training ends last.
    benchmarks: on the test window, by name. forced: the objections that `force` overruled.
    """

    trial: str
    seeds: tuple[int, ...]
    gate: Gate
    validation: tuple[Measures, ...]
    test: tuple[Measures, ...]
    benchmarks: Mapping[str, Measures]
    forced: tuple[str, ...]


def describe_promotion(promotion: Promotion) -> list[str]:
    """A promotion as lines: a table of the seeds and the benchmarks, both luck lines, and what was overruled."""
    titles = ("Sharpe", "active", "return", "max drawdown")
    rows = [["seed", *(f"validation {title}" for title in titles[:2]), *(f"test {title}" for title in titles)]]
    for seed, own, test in zip(promotion.seeds, promotion.validation, promotion.test, strict=True):
        rows.append([str(seed), *_shown(own, GATED), *_shown(test)])
    means = [*_means(promotion.validation, GATED), *_means(promotion.test)]
    rows.append(["mean ± standard error", *means])
    rows += [[name, "", "", *_shown(measures)] for name, measures in promotion.benchmarks.items()]
    lines = [f"{promotion.trial}, trained again on {len(promotion.seeds)} fresh seeds", *align(rows)]
    lines += describe_idle(promotion.benchmarks)
    lines += ["", *promotion.gate.lines()]
    return lines + [f"forced, despite: {reason}" for reason in promotion.forced]


def _shown(measures: Measures, names: Sequence[str] = COLUMNS) -> list[str]:
    return [format_metric(validation(name), measures.get(name)) for name in names]


def _means(seeds: Sequence[Measures], names: Sequence[str] = COLUMNS) -> list[str]:
    columns = ([one.get(name) for one in seeds] for name in names)
    how = {"total_return": ".1%", "max_drawdown": ".1%"}
    return [
        mean_and_error(column, how.get(name, ".2f")) if all(map(is_number, column)) else "-"  # type: ignore[arg-type]
        for name, column in zip(names, columns, strict=True)
    ]
