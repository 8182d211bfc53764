"""A simulated market: correlated assets with regimes, volatility clustering and realistic candles.

Takes: a `SimulatorSpec`. Gives: `Candles` with regime labels; the same spec gives the same bits.
Every log return is Gaussian given its volatility, with the drift corrected for convexity, so that prices are a
martingale with `drift: 0`: no policy has an edge there. With `leak: 1` the volume of a bar determines the next return.
These two are the controls: statistics must find nothing in the first, and learning must exploit the second. A `pattern`
makes a fraction of every return predictable, and `expected_returns` says what an informed trader would expect.

Legend: T bars, A assets.
"""

from typing import Annotated, Literal

import numpy as np

from ftray.errors import SpecError
from ftray.market.candles import Candles
from ftray.market.intervals import Interval, parse_interval
from ftray.market.patterns import PATTERNS, persistent
from ftray.spec import Between, Count, Fraction, Index, NonNegative, spec

SYMBOLS = ("AAVE", "AVAX", "BTC", "LINK", "ETH", "LTC", "UNI")
START = np.datetime64("2020-01-01T00:00:00", "ns")

# Per regime: bear, sideways, bull. Rates are per year of 365 days; crypto's yearly volatility is near 1.
REGIME_DAYS = np.array([9.0, 14.0, 11.0])
REGIME_DRIFT = np.array([-2.4, 0.0, 2.4])
REGIME_VOLATILITY = np.array([1.3, 0.7, 1.0])
MARKET_VOLATILITY = 0.75
ASSET_VOLATILITY = (0.35, 0.75)
BETA = (0.8, 1.3)
OUTAGE_BARS = (2, 6)


@spec
class SimulatorSpec:
    """A simulated market; the same spec gives the same candles, to the last bit.

    n_assets: correlated assets.
    n_bars: bars returned, whatever the outages.
    interval: length of a bar, such as `5m`, `1h`, `1d`.
    seed: of all random numbers.
    drift: strength of the regimes' drifts; 0 leaves no edge to find.
    leak: fraction of the log volume's variation that is the next bar's return, in units of its volatility; 0 none, 1
        all. A bar opens where the last one closed, so this is the return from one fill at an open to the next.
    n_outages: gaps in time, of 2 to 5 bars each; they split the market into n_outages + 1 segments.
    pattern: what of a return the bars before it determine. momentum: an asset goes on as it went. mean_reversion: it
        gives back what it won. lead_lag: all follow the first. motif: a pattern of signs over the last 24 bars, of
        which no moving average shows anything. volatility_timing: an asset rises while its volatility is low.
    strength: of the pattern: its standard deviation, relative to that of the whole return. 0.1 is strong already: it
        explains 1 % of the variance of every return.
    """

    kind: Literal["simulator"] = "simulator"
    n_assets: Count = 7
    n_bars: Annotated[int, Between(2)] = 30_000
    interval: Interval = "1h"
    seed: Index = 0
    drift: NonNegative = 1.0
    leak: Fraction = 0.0
    n_outages: Index = 0
    pattern: Literal["none", "momentum", "mean_reversion", "lead_lag", "motif", "volatility_timing"] = "none"
    strength: Fraction = 0.0

    def check(self) -> None:
        if (self.pattern == "none") != (self.strength == 0.0):
            wanted = "0 without a pattern" if self.strength else f"above 0 for pattern: {self.pattern}"
            raise SpecError(f"must be {wanted}, got {self.strength}", ("strength",))
        if self.n_outages >= self.n_bars:
            raise SpecError(f"must be below n_bars = {self.n_bars}, got {self.n_outages}", ("n_outages",))


def simulated_symbols(spec: SimulatorSpec) -> tuple[str, ...]:
    """The names of the simulated assets: seven known ones, then SIM8, SIM9, and so on."""
    return (*SYMBOLS, *(f"SIM{i}" for i in range(len(SYMBOLS) + 1, spec.n_assets + 1)))[: spec.n_assets]


def simulate(spec: SimulatorSpec) -> Candles:
    """The candles of a simulated market, with the regime of every bar in `Candles.regimes`."""
    return _simulated(spec)[0]


def expected_returns(spec: SimulatorSpec) -> np.ndarray:
    """The log return of every bar that a trader expects at the end of the bar before who knows how the market is made.

    Such a trader knows regimes, volatilities and surprises, which a policy has to infer from the candles. Shape:
    (n_bars, n_assets) float64. Raises: SpecError for a leak between 0 and 1, whose expectation has no closed form.
    """
    if 0.0 < spec.leak < 1.0:
        raise SpecError(f"must be 0 or 1 for expected returns, got {spec.leak}", ("leak",))
    return _simulated(spec)[1]


def _simulated(spec: SimulatorSpec) -> tuple[Candles, np.ndarray]:
    """The candles, and the log returns to expect."""
    rng = np.random.default_rng(spec.seed)
    interval = parse_interval(spec.interval)
    kept = _kept_bars(rng, spec)
    n_bars = int(kept[-1]) + 2  # one more than is returned: the last volume may leak a return, too
    bars_per_day = float(np.timedelta64(1, "D") / interval)

    regimes = _regimes(rng, n_bars, bars_per_day)
    drift, shocks, volatility = _distribution(rng, spec, regimes, bars_per_day)
    expected, shocks = _with_pattern(spec, drift, shocks, volatility)
    returns = drift + shocks
    first_price = np.exp(rng.uniform(np.log(1.0), np.log(1_000.0), spec.n_assets))
    closes = first_price * np.exp(np.cumsum(returns, axis=0))
    opens = np.concatenate([first_price[None], closes[:-1]])
    highs, lows = _extremes(rng, opens, closes, returns, volatility)
    volumes = _volumes(rng, spec, shocks / volatility, volatility, first_price, bars_per_day)

    values = np.stack([opens, highs, lows, closes, volumes], axis=-1)[kept]
    candles = Candles(simulated_symbols(spec), START + kept * interval, values, interval, regimes[kept])
    return candles, (returns if spec.leak else expected)[kept]


def _with_pattern(
    spec: SimulatorSpec, drift: np.ndarray, shocks: np.ndarray, volatility: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The returns to expect, and the shocks with the pattern in them, as volatile as before. Shape: (T, A) each."""
    if spec.pattern == "none":
        return drift, shocks
    predictable = spec.strength * volatility * PATTERNS[spec.pattern](shocks / volatility, volatility)
    return drift + predictable, predictable + np.sqrt(1.0 - spec.strength**2) * shocks


def _kept_bars(rng: np.random.Generator, spec: SimulatorSpec) -> np.ndarray:
    """The bars that survive the outages, counted with the lost ones. Shape: (n_bars,) int64, increasing."""
    lost = np.zeros(spec.n_bars, np.int64)
    cuts = rng.choice(np.arange(1, spec.n_bars), spec.n_outages, replace=False)
    lost[cuts] = rng.integers(*OUTAGE_BARS, spec.n_outages)
    return np.arange(spec.n_bars) + np.cumsum(lost)


def _regimes(rng: np.random.Generator, n_bars: int, bars_per_day: float) -> np.ndarray:
    """A Markov chain over bear, sideways, bull: geometric spells, each followed by one of the two others. (T,) int8."""
    switch = np.minimum(1.0, 1.0 / (REGIME_DAYS * bars_per_day))
    labels = np.empty(n_bars, np.int8)
    regime, start = int(rng.integers(3)), 0
    while start < n_bars:
        stop = start + int(rng.geometric(switch[regime]))
        labels[start:stop] = regime
        regime, start = (regime + int(rng.integers(1, 3))) % 3, stop
    return labels


def _distribution(
    rng: np.random.Generator, spec: SimulatorSpec, regimes: np.ndarray, bars_per_day: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drift, shock and volatility of every bar's log return, each (T, A): one common factor, and each asset's own.

    Log volatility is a persistent AR(1) process (Taylor 1986, Modelling Financial Time Series): returns are fat-tailed
    and their sizes cluster, and given the volatility they stay Gaussian.
    """
    shape = (len(regimes), spec.n_assets)
    bars_per_year = 365.0 * bars_per_day
    beta, own = rng.uniform(*BETA, spec.n_assets), rng.uniform(*ASSET_VOLATILITY, spec.n_assets)
    level = REGIME_VOLATILITY[regimes, None] / np.sqrt(bars_per_year)
    common_volatility = beta * MARKET_VOLATILITY * level * _clustering(rng, (shape[0], 1), 3.0 * bars_per_day, 0.45)
    own_volatility = own * level * _clustering(rng, shape, 1.0 * bars_per_day, 0.35)

    shocks = common_volatility * rng.standard_normal((shape[0], 1)) + own_volatility * rng.standard_normal(shape)
    volatility = np.hypot(common_volatility, own_volatility)
    drift = spec.drift * beta * REGIME_DRIFT[regimes, None] / bars_per_year
    return drift - volatility**2 / 2, shocks, volatility  # E[exp(r)] = exp(drift): the convexity correction


def _clustering(rng: np.random.Generator, shape: tuple[int, int], half_life: float, deviation: float) -> np.ndarray:
    """Factors on a volatility: log-normal, persistent, with a mean square of 1. Shape: `shape`."""
    return np.exp(deviation * persistent(rng.standard_normal(shape), half_life) - deviation**2)


def _extremes(
    rng: np.random.Generator, opens: np.ndarray, closes: np.ndarray, returns: np.ndarray, volatility: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """High and low of every bar (T, A): the extremes of a Brownian bridge from open to close, each sampled exactly.

    Source: Glasserman 2003, Monte Carlo Methods in Financial Engineering, section 6.4. High and low are sampled
    independently of each other, which leaves the distribution of each exact.
    """
    up, down = (np.hypot(returns, volatility * np.sqrt(2.0 * rng.standard_exponential(returns.shape))) for _ in "hl")
    highs = opens * np.exp((returns + up) / 2)
    lows = opens * np.exp((returns - down) / 2)
    # The extremes are outside both ends but for rounding, which no legal candle may have.
    return np.maximum(highs, np.maximum(opens, closes)), np.minimum(lows, np.minimum(opens, closes))


def _volumes(
    rng: np.random.Generator,
    spec: SimulatorSpec,
    scores: np.ndarray,
    volatility: np.ndarray,
    first_price: np.ndarray,
    bars_per_day: float,
) -> np.ndarray:
    """Volume in base units (T, A): it rises with volatility and with the size of the bar's own return.

    scores: (T, A) shocks in units of their volatility; the last one belongs to the bar after the market's end.
    """
    activity = (
        np.log(volatility / volatility.mean(axis=0))
        + 0.4 * np.abs(scores)
        + 0.4 * persistent(rng.standard_normal(scores.shape), max(1.0, bars_per_day / 4))
    )
    activity[:-1] += spec.leak * (scores[1:] - activity[:-1])
    typical = np.exp(rng.uniform(np.log(1e6), np.log(1e8), spec.n_assets)) / bars_per_day / first_price
    return typical * np.exp(activity)
