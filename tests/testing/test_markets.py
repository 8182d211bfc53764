"""Each promise of a market can be broken, and whoever breaks it learns how."""

import dataclasses
from typing import Literal

import numpy as np
import pytest

from ftray.market import MARKETS, Candles, Market, Moment, SimulatorSpec, simulate, simulated_symbols
from ftray.spec import spec
from ftray.testing import MarketContract, check_market

SPEC = SimulatorSpec(n_assets=2, n_bars=50)
CLOCK = iter(range(1_000))


def altered(**changes) -> Market:
    """The simulator, whose candles are changed: each of `changes` makes a field of them from the old ones."""

    def load(spec: SimulatorSpec) -> Candles:
        candles = simulate(spec)
        return dataclasses.replace(candles, **{name: change(candles) for name, change in changes.items()}, regimes=None)

    return dataclasses.replace(MARKETS["simulator"], load=load)


def with_candle(**columns: float):
    """Values of which the first candle of the second asset has other columns."""

    def values(candles: Candles) -> np.ndarray:
        changed = candles.values.copy()
        for name, value in columns.items():
            changed[0, 1, ("open", "high", "low", "close", "volume").index(name)] = value
        return changed

    return altered(values=values)


def with_times(change) -> Market:
    return altered(times=lambda candles: change(candles.times.copy()))


def swapped(times: np.ndarray) -> np.ndarray:
    times[[3, 4]] = times[[4, 3]]
    return times


def twice(times: np.ndarray) -> np.ndarray:
    times[4] = times[3]
    return times


def shifted(times: np.ndarray) -> np.ndarray:
    times[30:] += np.timedelta64(90, "m")
    return times


def no_generator(candles: Candles) -> np.ndarray:
    return candles.values * (1 + next(CLOCK))


@dataclasses.dataclass(frozen=True)
class PlainSpec:
    """A dataclass, and no spec."""

    kind: Literal["plain"] = "plain"


@spec
class WindowSpec:
    """A field that JSON cannot hold."""

    kind: Literal["window"] = "window"
    values: object = None


@spec
class DatedSpec:
    """A simulator with dates."""

    kind: Literal["dated"] = "dated"
    from_: Moment | None = None
    to: Moment | None = None


def without_dates(spec: DatedSpec) -> Candles:
    return simulate(SPEC)


BROKEN = {
    "dates that change nothing": (
        Market(DatedSpec, without_dates, lambda spec: simulated_symbols(SPEC)),
        DatedSpec(),
        "test_dates_limit_the_bars",
        "from_=2020-01-01T16:00:00, to=2020-01-02T09:00:00 gives the bars of 2020-01-01T00:00.*candles.between",
    ),
    "a price that is missing": (
        with_candle(close=np.nan),
        SPEC,
        "test_candles_are_finite_and_legal",
        "have finite numbers.*close nan",
    ),
    "a price of 0": (
        with_candle(low=0.0),
        SPEC,
        "test_candles_are_finite_and_legal",
        r"prices above 0.*AVAX at 2020-01-01T00:00.* has open .*, low 0, .* \(1 of 100\)",
    ),
    "a negative volume": (
        with_candle(volume=-1.0),
        SPEC,
        "test_candles_are_finite_and_legal",
        "a volume of at least 0",
    ),
    "a high below the close": (
        with_candle(high=1e-3, low=1e-4),
        SPEC,
        "test_candles_are_finite_and_legal",
        "a high that is no lower",
    ),
    "a low above the close": (
        with_candle(low=1e6),
        SPEC,
        "test_candles_are_finite_and_legal",
        "a low that is no higher",
    ),
    "unsorted times": (
        with_times(swapped),
        SPEC,
        "test_times_increase_by_whole_intervals",
        r"2020-01-01T03:00.* follows 2020-01-01T04:00.* \(1 such places\).*sort the bars",
    ),
    "a time that is there twice": (
        with_times(twice),
        SPEC,
        "test_times_increase_by_whole_intervals",
        "2020-01-01T03:00.* follows 2020-01-01T03:00.*drop duplicates",
    ),
    "a shift by half a bar": (
        with_times(shifted),
        SPEC,
        "test_times_increase_by_whole_intervals",
        "by whole intervals, here of",
    ),
    "times in seconds": (
        with_times(lambda times: times.astype("datetime64[s]")),
        SPEC,
        "test_times_increase_by_whole_intervals",
        r"their type is datetime64\[s\]",
    ),
    "another interval": (
        altered(interval=lambda candles: np.timedelta64(30, "m")),
        SPEC,
        "test_the_interval_is_the_one_described",
        "the description says 1h, the candles 30 minutes",
    ),
    "symbols in another order": (
        dataclasses.replace(MARKETS["simulator"], symbols=lambda spec: simulated_symbols(spec)[::-1]),
        SPEC,
        "test_symbols_are_known_without_loading",
        r"it gives \('AVAX', 'AAVE'\), and the candles have \('AAVE', 'AVAX'\)",
    ),
    "other candles each time": (
        altered(values=no_generator),
        SPEC,
        "test_the_same_description_gives_the_same_candles",
        r"two calls gave different candles.*default_rng\(spec.seed\)",
    ),
    "a description that is no spec": (
        dataclasses.replace(MARKETS["simulator"], spec_class=PlainSpec),
        PlainSpec(),
        "test_the_description_survives_a_file",
        "must be a spec with a kind.*with @spec from ftray.spec",
    ),
    "a description that no file holds": (
        dataclasses.replace(MARKETS["simulator"], spec_class=WindowSpec),
        WindowSpec(values=np.ones(3)),
        "test_the_description_survives_a_file",
        "TypeError: Object of type ndarray is not JSON serializable",
    ),
}


@pytest.mark.parametrize(("market", "spec", "promise", "words"), BROKEN.values(), ids=BROKEN)
def test_the_contract_catches(market, spec, promise, words):
    contract = MarketContract()
    contract.market, contract.spec = market, spec
    with pytest.raises(AssertionError, match=f"(?s)must: .*{words}"):
        getattr(contract, promise)()


def test_every_promise_can_be_broken():
    assert {promise for _, _, promise, _ in BROKEN.values()} == set(MarketContract.promises())


def test_a_check_names_every_broken_promise_and_passes_a_member_that_keeps_them():
    check_market(MARKETS["simulator"], SPEC)
    with pytest.raises(AssertionError, match=r"(?s)^1 of 7 promises are broken\ntimes increase by whole intervals:\n"):
        check_market(with_times(twice), SPEC)
