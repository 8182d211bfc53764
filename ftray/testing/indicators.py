"""The contract of indicators: causal, known after the warm-up, without price level or unit, 0 where nothing moves.

Legend: T bars.
"""

import numpy as np

from ftray.features.indicators import FORGOTTEN, Indicator
from ftray.testing.candles import JUMPS, VOLATILITIES, VOLUMES, extreme_ohlcv, ohlcv
from ftray.testing.contract import Contract, broken
from ftray.testing.look_ahead import assert_no_look_ahead

N_EXTREMES = 40
"""Odd markets that an indicator must be finite on."""


class IndicatorContract(Contract):
    """What an indicator promises.

    indicator: the member. It need not be registered.

        class TestSpread(IndicatorContract):
            indicator = SPREAD
    """

    indicator: Indicator

    def known(self, candles: np.ndarray) -> np.ndarray:
        """The values after the warm-up."""
        return self.indicator.compute(candles)[self.indicator.warm_up :]

    def candles(self, n_bars: int = 430, *, seed: int = 0) -> np.ndarray:
        """An ordinary market with `n_bars` bars after the warm-up. Shape: (T, 5)."""
        return ohlcv(self.indicator.warm_up + n_bars, seed=seed)

    def test_no_value_depends_on_a_later_bar(self) -> None:
        candles, warm_up = self.candles(), self.indicator.warm_up
        bars = (
            warm_up + 230,
            *range(warm_up, len(candles) - 1, 11),
            len(candles) - 2,
        )  # some look ahead at times alone
        name = f"the indicator {self.indicator.name!r}"
        assert_no_look_ahead(self.indicator.compute, candles, bars, known_from=warm_up, name=name)

    def test_the_same_candles_give_the_same_values(self) -> None:
        candles = self.candles()
        if not np.array_equal(self.known(candles), self.known(candles.copy()), equal_nan=True):
            raise broken(
                "an indicator must give the same values for the same candles, each time",
                "two calls with equal candles gave different values",
                "keep no state between calls, and sample no random numbers",
            )

    def test_the_candles_are_left_alone(self) -> None:
        candles = self.candles()
        before = candles.copy()
        self.indicator.compute(candles)
        if not np.array_equal(candles, before):
            raise broken(
                "an indicator must leave its candles alone: every other indicator reads the same array",
                "compute() changed the array that it was given",
                "write into a copy: `ohlcv = ohlcv.copy()`",
            )

    def test_there_is_one_value_per_bar(self) -> None:
        for n_bars in (len(self.candles()), 50, 13, 2, 1):
            try:
                shape = np.shape(self.indicator.compute(ohlcv(n_bars)))
                found = f"for {n_bars} bars it gave the shape {shape}, not ({n_bars},)"
            except Exception as error:
                shape, found = None, f"for {n_bars} bars it raised {error!r}"
            if shape != (n_bars,):
                raise broken(
                    "an indicator must give one value per bar, for a segment shorter than its warm-up, too",
                    found,
                    "fill the bars that nothing is known of with NaN: the first `warm_up` values are never read",
                )

    def test_every_value_after_the_warm_up_is_finite(self) -> None:
        self.assert_finite(self.candles())

    def test_the_value_moves(self) -> None:
        deviation = np.nanstd(self.known(self.candles()))
        if not deviation > 1e-4:
            raise broken(
                "an indicator must move: on ordinary candles its standard deviation must be above 0.0001",
                f"it is {deviation:.3g}",
                "give it a scale near 1, as a log ratio or a share has",
            )

    def test_the_price_level_does_not_matter(self) -> None:
        for factor in (1e3, 1e-8):
            self.assert_same_values("price", factor, self.candles() * [factor, factor, factor, factor, 1.0])

    def test_the_unit_of_volume_does_not_matter(self) -> None:
        self.assert_same_values("volume", 1e4, self.candles() * [1.0, 1.0, 1.0, 1.0, 1e4])

    def test_the_start_of_a_segment_is_forgotten_after_the_warm_up(self) -> None:
        for seed in range(5):
            self.assert_start_is_forgotten(self.candles(1_280, seed=seed), range(300, 1_200, 60))

    def test_a_market_that_does_not_move_gives_zeros(self) -> None:
        for price in (50.0, 0.1, 33.37, 61_234.56):
            still = np.tile([price, price, price, price, 0.0], (len(self.candles()), 1))
            largest = np.abs(self.known(still)).max()
            if not largest <= 1e-9:
                raise broken(
                    "an indicator must be 0 in a market that does not move, so that 0 means `nothing happens`",
                    f"at a constant price of {price:g} it reaches {largest:.3g}",
                    "subtract its neutral value (as RSI / 50 − 1 does), and keep divisors off zero",
                )

    def test_every_legal_candle_gives_a_finite_value(self) -> None:
        rng = np.random.default_rng(0)
        for seed in range(N_EXTREMES):
            market = {
                "price": 10 ** rng.uniform(-6, 6),
                "volatility": rng.choice(VOLATILITIES),
                "volume": rng.choice(VOLUMES),
                "still": rng.uniform(),
                "untraded": rng.uniform(),
                "jump": rng.choice(JUMPS),
            }
            self.assert_finite(extreme_ohlcv(self.indicator.warm_up + 150, seed=31 * seed, **market))

    def assert_finite(self, candles: np.ndarray) -> None:
        """Every value after the warm-up is finite on these candles (T, 5)."""
        known = self.known(candles)
        lost = np.flatnonzero(~np.isfinite(known))
        if len(lost):
            bar = self.indicator.warm_up + int(lost[0])
            raise broken(
                f"an indicator must be finite on every bar after its warm_up of {self.indicator.warm_up}",
                f"at bar {bar} it is {known[lost[0]]} ({len(lost)} of {len(known)} bars); "
                f"that bar is {candles[bar].tolist()}",
                "declare a longer warm_up, or keep divisors and logarithms off zero: a price may stand still, "
                "a volume may be 0",
            )

    def assert_same_values(self, what: str, factor: float, scaled: np.ndarray) -> None:
        """`scaled`, the ordinary candles with every price or volume times `factor`, give what those give."""
        one, other = self.known(self.candles()), self.known(scaled)
        apart = np.flatnonzero(~np.isclose(other, one, rtol=1e-6, atol=1e-8, equal_nan=True))
        if len(apart):
            i = int(apart[0])
            raise broken(
                f"an indicator must not depend on the level of {what}s: years at 10 and at 60,000 must be comparable",
                f"with every {what} times {factor:g} its value at bar {self.indicator.warm_up + i} is {other[i]:.6g}, "
                f"not {one[i]:.6g}",
                f"divide each {what} by another one, such as the bar's close or a trailing mean",
            )

    def assert_start_is_forgotten(self, candles: np.ndarray, starts: range) -> None:
        """After the warm-up at most `FORGOTTEN` standard deviations are left of where a segment began."""
        compute, warm_up = self.indicator.compute, self.indicator.warm_up
        whole = compute(candles)
        deviation = whole[warm_up:].std()
        needed, left, never = 0, 0.0, False
        for start in starts:
            error = np.abs(compute(candles[start:]) - whole[start:])
            far = np.flatnonzero(~(error <= FORGOTTEN * deviation))  # NaN is as far as can be
            if len(far) and far[-1] >= warm_up:
                needed, left = max(needed, int(far[-1]) + 1), max(left, float(np.nanmax(error[warm_up:])))
                never = never or far[-1] == len(error) - 1
        if needed:
            raise broken(
                f"after its warm_up of {warm_up} bars an indicator must have forgotten where a segment began: at most "
                f"{FORGOTTEN:.1%} of its standard deviation may be left",
                f"a segment that begins later changes it by up to {left / deviation:.1%} of its standard deviation "
                + ("for ever" if never else f"until bar {needed}"),
                "take a trailing window in place of a sum from the segment's start"
                if never
                else f"declare warm_up={needed}",
            )


def check_indicator(indicator: Indicator) -> None:
    """Holds an indicator to every promise of `IndicatorContract`.

    Raises: AssertionError, which names every promise that it breaks, how, and what to do.
    """
    contract = IndicatorContract()
    contract.indicator = indicator
    contract.check()
