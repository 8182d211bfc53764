"""The contract of markets: legal candles on one increasing time axis, always the same, and symbols without loading.

Legend: T bars, A assets.
"""

import dataclasses
from typing import Any

import numpy as np

from ftray.market import COLUMNS, Candles, Market, moment_text, parse_interval
from ftray.testing.contract import Contract, broken
from ftray.testing.specs import assert_survives_a_file


class MarketContract(Contract):
    """What a market promises.

    market: the member. It need not be registered.
    spec: an example of its description; a small one, as it is loaded several times.

        class TestTides(MarketContract):
            market = TIDES
            spec = TidesSpec(n_bars=200)
    """

    market: Market
    spec: Any

    def load(self) -> Candles:
        return self.market.load(self.spec)

    def test_candles_are_finite_and_legal(self) -> None:
        candles = self.load()
        opens, highs, lows, closes, volumes = (candles.column(name) for name in COLUMNS)
        rules = {
            "finite numbers": np.isfinite(candles.values).all(axis=-1),
            "prices above 0": lows > 0,
            "a volume of at least 0": volumes >= 0,
            "a high that is no lower than open and close": highs >= np.maximum(opens, closes),
            "a low that is no higher than open and close": lows <= np.minimum(opens, closes),
        }
        for rule, kept in rules.items():
            if not kept.all():
                bar, asset = np.argwhere(~kept)[0]
                candle = ", ".join(f"{name} {candles.column(name)[bar, asset]:g}" for name in COLUMNS)
                raise broken(
                    f"every candle must have {rule}",
                    f"{candles.symbols[asset]} at {candles.times[bar]} has {candle} ({(~kept).sum()} of {kept.size})",
                    "repair or drop such bars as you load them; without a trade all prices are the last, volume is 0",
                )

    def test_times_increase_by_whole_intervals(self) -> None:
        candles = self.load()
        if candles.times.dtype != np.dtype("datetime64[ns]"):
            raise broken(
                "times must be UTC as datetime64[ns]",
                f"their type is {candles.times.dtype}",
                'convert them: `times.astype("datetime64[ns]")`, from an index with a zone by `tz_convert(None)` first',
            )
        steps = np.diff(candles.times)
        wrong = np.flatnonzero((steps < candles.interval) | (steps % candles.interval != np.timedelta64(0)))
        if len(wrong):
            before, after = candles.times[wrong[0]], candles.times[wrong[0] + 1]
            raise broken(
                f"times must increase by whole intervals, here of {candles.interval}: sorted, and each of them once",
                f"{after} follows {before} ({len(wrong)} such places)",
                "sort the bars by time, drop duplicates, and leave out a bar that is missing rather than shift it",
            )

    def test_the_interval_is_the_one_described(self) -> None:
        described = getattr(self.spec, "interval", None)
        if described is not None and self.load().interval != parse_interval(described):
            raise broken(
                "candles must have the interval that their description names",
                f"the description says {described}, the candles {self.load().interval}",
                "pass `interval=parse_interval(spec.interval)` to `Candles`",
            )

    def test_dates_limit_the_bars(self) -> None:
        if not {"from_", "to"} <= {field.name for field in dataclasses.fields(self.spec)}:
            return
        times = self.load().times
        first, last = len(times) // 3, 2 * len(times) // 3
        limits = {"from_": moment_text(times[first]), "to": moment_text(times[last])}
        found = self.market.load(dataclasses.replace(self.spec, **limits)).times
        if not np.array_equal(found, times[first:last]):
            raise broken(
                "candles must have the bars that open from `from_` on and before `to`, and no other, where the "
                "description has these fields",
                f"from_={limits['from_']}, to={limits['to']} gives the bars of {found[0]} to {found[-1]}",
                "return `candles.between(parse_moment(spec.from_), parse_moment(spec.to))`; a limit of None is none",
            )

    def test_symbols_are_known_without_loading(self) -> None:
        known, loaded = self.market.symbols(self.spec), self.load().symbols
        if known != loaded or len(set(known)) != len(known):
            raise broken(
                "`symbols` must give the symbols of the candles, in their order, each of them once: networks are sized "
                "by them before a candle is loaded",
                f"it gives {known}, and the candles have {loaded}",
                "return one tuple from both",
            )

    def test_the_same_description_gives_the_same_candles(self) -> None:
        first, again = self.load(), self.load()
        if first.fingerprint != again.fingerprint:
            raise broken(
                "one description must give the same candles to the last bit, each time and on each machine",
                "two calls gave different candles",
                "make every random number with `np.random.default_rng(spec.seed)`, and take nothing from the clock",
            )

    def test_the_description_survives_a_file(self) -> None:
        assert_survives_a_file(self.spec, self.market.spec_class)


def check_market(market: Market, spec: Any) -> None:
    """Holds a market to every promise of `MarketContract`.

    market: the member. It need not be registered.
    spec: an example of its description; a small one, as it is loaded several times.

    Raises: AssertionError, which names every promise that it breaks, how, and what to do.
    """
    contract = MarketContract()
    contract.market, contract.spec = market, spec
    contract.check()
