"""How far back each indicator's value depends on where its history starts, and the warm-up that it declares.

    python benchmarks/warm_up.py --json FILE [--quick]

Two histories of a simulated market are compared, a long one and one that starts late: the worst of 40 starts, in bars
until they agree within a share of the indicator's standard deviation. `never`: they still differ after 1,000 bars; for
agreement to the last bit that is the rounding of a running sum. `--quick` takes one market instead of ten.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, table

from ftray.features.indicators import FORGOTTEN, INDICATORS, Indicator
from ftray.market import SimulatorSpec, simulate

TOLERANCES = (1e-1, 1e-2, FORGOTTEN, 1e-6, 0.0)
"""Differences that count as agreement, in standard deviations of the indicator; 0 is agreement to the last bit."""

HORIZON = 1_000
"""Bars for which two histories are compared."""

N_STARTS = 40


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """How one indicator forgets.

    declared: bars, `Indicator.warm_up`.
    needed: bars by tolerance; None if two histories still differ after `HORIZON`, as running sums do by their rounding.
    """

    name: str
    declared: int
    needed: dict[float, int | None]

    @property
    def is_enough(self) -> bool:
        """Whether the start is forgotten within the declared bars, as `Indicator` promises."""
        bars = self.needed[FORGOTTEN]
        return bars is not None and bars <= self.declared


def warm_up_data(ohlcv: np.ndarray, indicators: Iterable[Indicator] = tuple(INDICATORS.values())) -> list[WarmUp]:
    """The worst of `N_STARTS` late starts, spread over the candles (T, 5); T must be well above `HORIZON`."""
    starts = np.linspace(HORIZON, len(ohlcv) - HORIZON, N_STARTS).astype(int)
    report = []
    for indicator in indicators:
        whole = indicator.compute(ohlcv)
        scale = whole[HORIZON:].std()
        worst = np.zeros(HORIZON)
        for start in starts:
            late = indicator.compute(ohlcv[start : start + HORIZON])
            difference = np.abs(late - whole[start : start + HORIZON]) / scale
            worst = np.maximum(worst, np.where(np.isnan(difference), np.inf, difference))
        report.append(WarmUp(indicator.name, indicator.warm_up, {t: _bars_until(worst <= t) for t in TOLERANCES}))
    return report


def _bars_until(agreed: np.ndarray) -> int | None:
    """Bars before agreement that lasts. Shape: (HORIZON,) bool."""
    apart = np.flatnonzero(~agreed)
    bars = int(apart[-1]) + 1 if len(apart) else 0
    return bars if bars < len(agreed) else None


def worst(reports: list[WarmUp]) -> WarmUp:
    """One indicator's longest warm-ups over several markets."""
    needed = {}
    for tolerance in TOLERANCES:
        bars = [report.needed[tolerance] for report in reports]
        needed[tolerance] = None if None in bars else max(filter(None, bars), default=0)
    return WarmUp(reports[0].name, reports[0].declared, needed)


def row_of(report: WarmUp) -> dict[str, Any]:
    return {
        "name": report.name,
        "declared": report.declared,
        "needed": {_name(tolerance): bars for tolerance, bars in report.needed.items()},
        "enough": report.is_enough,
    }


def _name(tolerance: float) -> str:
    return f"{tolerance:g} σ" if tolerance else "last bit"


def _bars(row: dict[str, Any], tolerance: float) -> str:
    bars = row["needed"][_name(tolerance)]
    return "never" if bars is None else str(bars)


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "indicator": lambda row: row["name"],
    "declared": lambda row: str(row["declared"]),
    **{_name(tolerance): functools.partial(_bars, tolerance=tolerance) for tolerance in TOLERANCES},
    f"enough for {_name(FORGOTTEN)}": lambda row: "yes" if row["enough"] else "NO",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="one market instead of ten")
    options = parser.parse_args(arguments)
    markets = [
        np.ascontiguousarray(simulate(SimulatorSpec(n_assets=1, n_bars=6 * HORIZON, seed=seed)).values[:, 0])
        for seed in range(1 if options.quick else 10)
    ]
    rows = [row_of(worst(list(of_one))) for of_one in zip(*map(warm_up_data, markets), strict=True)]
    print(table(COLUMNS, rows))
    if options.json:
        content = {
            "benchmark": "warm_up",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "machine": machine("cpu", ("numpy", "TA-Lib")),
            "rows": rows,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
