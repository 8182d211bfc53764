"""Each promise of an indicator can be broken, and whoever breaks it learns how."""

import itertools
import unittest

import numpy as np
import pytest

from ftray.features import INDICATORS, Indicator
from ftray.testing import IndicatorContract, check_indicator

SPREAD = Indicator("spread", lambda ohlcv: np.log(ohlcv[:, 1] / ohlcv[:, 2]), warm_up=0)
"""What high and low are apart: it keeps every promise."""


def returns(ohlcv: np.ndarray) -> np.ndarray:
    return np.diff(np.log(ohlcv[:, 3]), prepend=np.nan)


def next_return(ohlcv: np.ndarray) -> np.ndarray:
    return np.append(returns(ohlcv)[1:], 0.0)


def next_return_on_busy_bars(ohlcv: np.ndarray) -> np.ndarray:
    return np.where(ohlcv[:, 4] > 2_000, next_return(ohlcv), SPREAD.compute(ohlcv))  # one bar in five


def scaled_by_all_bars(ohlcv: np.ndarray) -> np.ndarray:
    value = SPREAD.compute(ohlcv)
    return (value - value.mean()) / (value.std() + 1e-12)


def centred_average(ohlcv: np.ndarray) -> np.ndarray:
    return np.convolve(SPREAD.compute(ohlcv), np.ones(5) / 5, mode="same")


def sum_from_the_end(ohlcv: np.ndarray) -> np.ndarray:
    return SPREAD.compute(ohlcv)[::-1].cumsum()[::-1]


def exponential_mean(ohlcv: np.ndarray) -> np.ndarray:
    """Of the spread, with a weight of 0.1 for the newest bar."""
    return np.array(list(itertools.accumulate(SPREAD.compute(ohlcv), lambda mean, x: 0.9 * mean + 0.1 * x)))


def writing(ohlcv: np.ndarray) -> np.ndarray:
    ohlcv[:, 4] = 0.0
    return SPREAD.compute(ohlcv)


CALLS = itertools.count()

BROKEN = {
    "the next return": (
        Indicator("leak", next_return, warm_up=0),
        "test_no_value_depends_on_a_later_bar",
        r"the indicator 'leak' .* at bar 230 it is .* .* followed bar 230: it looks 1 or more bars ahead",
    ),
    "the next return, at times alone": (
        Indicator("leak", next_return_on_busy_bars, warm_up=0),
        "test_no_value_depends_on_a_later_bar",
        "it looks 1 or more bars ahead",
    ),
    "a scaler that saw all bars": (
        Indicator("leak", scaled_by_all_bars, warm_up=0),
        "test_no_value_depends_on_a_later_bar",
        r"it looks 231 or more bars ahead.*std\(\) or max\(\) of the whole array",
    ),
    "a centred average": (
        Indicator("leak", centred_average, warm_up=0),
        "test_no_value_depends_on_a_later_bar",
        r"at bar 229 .* it looks 2 or more bars ahead.*a centred or `same` window",
    ),
    "a sum from the end": (
        Indicator("leak", sum_from_the_end, warm_up=0),
        "test_no_value_depends_on_a_later_bar",
        "the same whatever comes after",
    ),
    "noise": (
        Indicator("noise", lambda ohlcv: SPREAD.compute(ohlcv) + next(CALLS), warm_up=0),
        "test_the_same_candles_give_the_same_values",
        "two calls with equal candles .* keep no state",
    ),
    "writing into its candles": (
        Indicator("writing", writing, warm_up=0),
        "test_the_candles_are_left_alone",
        r"changed the array .* `ohlcv = ohlcv.copy\(\)`",
    ),
    "one value too few": (
        Indicator("short", lambda ohlcv: SPREAD.compute(ohlcv)[1:], warm_up=0),
        "test_there_is_one_value_per_bar",
        r"for 430 bars it gave the shape \(429,\), not \(430,\)",
    ),
    "unknown after its warm-up": (
        Indicator("unknown", returns, warm_up=0),
        "test_every_value_after_the_warm_up_is_finite",
        "at bar 0 it is nan .* declare a longer warm_up",
    ),
    "a constant": (
        Indicator("constant", lambda ohlcv: np.zeros(len(ohlcv)), warm_up=0),
        "test_the_value_moves",
        "its standard deviation .* it is 0",
    ),
    "a price": (
        Indicator("price", lambda ohlcv: ohlcv[:, 1] - ohlcv[:, 2], warm_up=0),
        "test_the_price_level_does_not_matter",
        r"the level of prices.* with every price times 1000 .* divide each price",
    ),
    "a volume": (
        Indicator("volume", lambda ohlcv: np.log1p(ohlcv[:, 4]), warm_up=0),
        "test_the_unit_of_volume_does_not_matter",
        r"the level of volumes.* with every volume times 10000 .* divide each volume",
    ),
    "a warm-up that is too short": (
        Indicator("impatient", exponential_mean, warm_up=20),
        "test_the_start_of_a_segment_is_forgotten_after_the_warm_up",
        r"after its warm_up of 20 bars .* until bar \d\d.* declare warm_up=\d\d",
    ),
    "a sum from the start": (
        Indicator("endless", lambda ohlcv: np.cumsum(SPREAD.compute(ohlcv)), warm_up=20),
        "test_the_start_of_a_segment_is_forgotten_after_the_warm_up",
        "for ever.* take a trailing window",
    ),
    "a neutral value of 1": (
        Indicator("ratio", lambda ohlcv: ohlcv[:, 1] / ohlcv[:, 2], warm_up=0),
        "test_a_market_that_does_not_move_gives_zeros",
        "at a constant price of 50 it reaches 1\n.* subtract its neutral value",
    ),
    "a logarithm of the volume": (
        Indicator("traded", lambda ohlcv: np.diff(np.log(ohlcv[:, 4]), prepend=np.nan), warm_up=1),
        "test_every_legal_candle_gives_a_finite_value",
        r"it is -?(nan|inf) .* that bar is \[.*, 0.0\]\n.* a volume may be 0",
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("indicator", "promise", "words"), BROKEN.values(), ids=BROKEN)
def test_the_contract_catches(indicator, promise, words):
    contract = IndicatorContract()
    contract.indicator = indicator
    with pytest.raises(AssertionError, match=f"(?s)must: .*{words}"):
        getattr(contract, promise)()
    assert promise in contract.broken_promises()


def test_every_promise_can_be_broken():
    assert {promise for _, promise, _ in BROKEN.values()} == set(IndicatorContract.promises())


def test_a_check_names_every_broken_promise_and_passes_a_member_that_keeps_them():
    check_indicator(SPREAD)
    check_indicator(INDICATORS["atr_regime_shift"])
    with pytest.raises(
        AssertionError, match=r"(?s)^2 of 11 promises are broken\nno value depends on a later bar:\n.*zeros:"
    ):
        check_indicator(Indicator("leak", lambda ohlcv: np.append(ohlcv[1:, 3], ohlcv[-1, 3]) / ohlcv[:, 3], warm_up=0))


def test_an_error_of_the_member_is_a_broken_promise_and_keeps_its_words():
    def failing(ohlcv: np.ndarray) -> np.ndarray:
        return SPREAD.compute(ohlcv) if len(ohlcv) > 100 else ohlcv[100]

    with pytest.raises(
        AssertionError, match=r"(?s)^2 of 11 .* found: it raised IndexError: index 100 is out of bounds"
    ):
        check_indicator(Indicator("failing", failing, warm_up=0))


def test_unittest_runs_the_promises_too():
    class Test(IndicatorContract, unittest.TestCase):
        indicator = Indicator("leak", next_return, warm_up=0)

    result = unittest.defaultTestLoader.loadTestsFromTestCase(Test).run(unittest.TestResult())
    assert result.testsRun == len(IndicatorContract.promises())
    assert [test.id().rpartition(".")[2] for test, _ in result.failures] == ["test_no_value_depends_on_a_later_bar"]


def test_one_fault_that_breaks_every_promise_is_one_line():
    with pytest.raises(AssertionError) as caught:
        check_indicator(object())  # type: ignore[arg-type]
    assert str(caught.value) == (
        "11 of 11 promises are broken, all alike: found: it raised AttributeError: 'object' object has no attribute "
        "'warm_up'"
    )
