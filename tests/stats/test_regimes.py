"""Regime labels know the past alone; a regime with few bars gets no verdict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftray import stats
from ftray.market import Segment, SimulatorSpec, Window, simulate
from ftray.stats.regimes import UNKNOWN

LOOKBACK = 48
BEAR, SIDEWAYS, BULL = range(3)


def market(n_bars: int = 1_500, n_assets: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(0, 0.002, n_bars // 100 + 1), 100)[:n_bars]
    return np.exp(np.cumsum(drift[:, None] + rng.normal(0, 0.01, (n_bars, n_assets)), axis=0))


def labels_of(closes: np.ndarray, segments, train: Window | None = None) -> np.ndarray:
    thresholds = stats.regime_thresholds(closes, segments, train or Window(0, 700), lookback=LOOKBACK)
    return stats.regime_labels(closes, segments, thresholds, lookback=LOOKBACK)


@settings(max_examples=30)
@given(st.integers(0, 1_000), st.integers(701, 1_499), st.integers(0, 1_200))
def test_the_future_changes_no_label(seed, bar, cut):
    """Everything after the bar is replaced; the market has a hole at the cut."""
    closes, other = market(seed=seed), market(seed=seed + 1)
    segments = [Segment(0, cut), Segment(cut, len(closes))] if cut else [Segment(0, len(closes))]
    changed = np.concatenate([closes[: bar + 1], other[bar + 1 :]])
    np.testing.assert_array_equal(labels_of(closes, segments)[: bar + 1], labels_of(changed, segments)[: bar + 1])


def test_the_future_changes_no_bit_of_what_the_labels_are_made_of():
    closes = market()
    segments = [Segment(0, 1_500)]
    strict = [stats.RegimeThresholds(trend, depth) for trend in np.linspace(0, 3, 40) for depth in (0.01, 0.05)]
    changed = closes.copy()
    changed[1_001:] *= 3.0
    for thresholds in strict:
        one, two, short = (
            stats.regime_labels(prices, ranges, thresholds, lookback=LOOKBACK)[:1_001]
            for prices, ranges in (
                (closes, segments),
                (changed, segments),
                (closes[:1_001], [Segment(0, 1_001)]),
            )
        )
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, short)


def test_thresholds_depend_on_the_train_window_alone():
    closes, segments, train = market(), [Segment(0, 1_500)], Window(200, 700)
    changed = closes.copy()
    changed[:200] *= 5.0
    changed[700:] = market(seed=9)[700:]
    one, two = (stats.regime_thresholds(prices, segments, train, lookback=LOOKBACK) for prices in (closes, changed))
    assert one == two


def test_no_label_reads_across_a_gap_in_time():
    closes = market()
    closes[600:] *= 100.0  # a jump that must not read as a bull market
    segments = [Segment(0, 600), Segment(600, 1_500)]
    labels = labels_of(closes, segments, Window(0, 600))
    assert (labels[:LOOKBACK] == UNKNOWN).all() and (labels[600 : 600 + LOOKBACK] == UNKNOWN).all()
    assert (labels[LOOKBACK:600] != UNKNOWN).all() and (labels[600 + LOOKBACK :] != UNKNOWN).all()
    alone = stats.regime_labels(
        closes[600:],
        [Segment(0, 900)],
        stats.regime_thresholds(closes, segments, Window(0, 600), lookback=LOOKBACK),
        lookback=LOOKBACK,
    )
    np.testing.assert_array_equal(labels[600:], alone)


def test_labels_say_what_the_words_mean():
    thresholds = stats.RegimeThresholds(trend=1.0, drawdown=0.1)
    rng = np.random.default_rng(0)
    wobble = np.tile([0.01, -0.01], 100)[:, None] + rng.normal(0, 1e-4, (200, 2))
    up, flat, down = (np.exp(np.cumsum(drift + wobble, axis=0)) for drift in (0.004, 0.0, -0.004))
    for closes, expected in ((up, BULL), (flat, SIDEWAYS), (down, BEAR)):
        labels = stats.regime_labels(closes, [Segment(0, 200)], thresholds, lookback=LOOKBACK)
        assert (labels[LOOKBACK:] == expected).all()
    standing = stats.regime_labels(np.ones((200, 2)), [Segment(0, 200)], thresholds, lookback=LOOKBACK)
    assert (standing[LOOKBACK:] == SIDEWAYS).all()


def test_a_crash_out_of_a_rise_is_no_bull_market():
    closes = np.exp(np.cumsum(np.where(np.arange(100) < 80, 0.01, -0.01) + 1e-4 * np.sin(np.arange(100))))[:, None]
    labels = stats.regime_labels(closes, [Segment(0, 100)], stats.RegimeThresholds(0.5, 0.1), lookback=50)
    assert labels[75] == BULL
    assert closes[95] > closes[45] and labels[95] == SIDEWAYS  # up over the lookback, but 15 % below the top


def test_labels_agree_with_the_simulators_regimes_far_beyond_chance():
    candles = simulate(SimulatorSpec(n_bars=12_000, n_assets=5, interval="4h", drift=3.0))
    thresholds = stats.regime_thresholds(candles.column("close"), candles.segments, Window(0, 6_000), lookback=42)
    labels = stats.regime_labels(candles.column("close"), candles.segments, thresholds, lookback=42)
    assert candles.regimes is not None
    bull, bear = labels[candles.regimes == BULL], labels[candles.regimes == BEAR]
    assert (bull == BULL).mean() > 2 * (bear == BULL).mean()
    assert (bear == BEAR).mean() > 2 * (bull == BEAR).mean()


@given(st.floats(0.001, 1_000.0))
def test_labels_ignore_the_unit_of_prices(scale):
    closes, segments = market(400), [Segment(0, 400)]
    thresholds = stats.RegimeThresholds(0.7, 0.05)
    scaled = closes * np.array([scale, 1.0, 1 / scale])
    one, two = (stats.regime_labels(prices, segments, thresholds, lookback=LOOKBACK) for prices in (closes, scaled))
    assert (one != two).mean() < 0.01  # but for rounding at a threshold


def test_measures_per_regime_are_those_of_its_bars_with_an_interval():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 6_000)
    returns = rng.normal(0, 0.01, 6_000)
    for label, drift in ((BEAR, 0.0), (SIDEWAYS, 0.0), (BULL, 0.001)):
        returns[labels == label] += drift - returns[labels == label].mean()
    measured = stats.regime_performance(returns, labels, 8_760)
    assert list(measured) == ["bear", "sideways", "bull"]
    bull = measured["bull"]
    own = returns[labels == BULL]
    assert bull.n_bars == len(own)
    assert bull.sharpe == stats.sharpe(own, 8_760) and bull.annual_return == stats.annual_return(own, 8_760)
    assert bull.interval is not None and 0 < bull.interval[0] < bull.sharpe < bull.interval[1]
    assert measured["bear"].interval is not None and measured["bear"].interval[0] < 0 < measured["bear"].interval[1]
    assert sum(one.n_bars for one in measured.values()) == np.count_nonzero(labels >= 0)


def test_no_measure_is_given_of_too_few_bars():
    labels = np.repeat([BEAR, BULL], [stats.MIN_BARS - 1, stats.MIN_BARS])
    measured = stats.regime_performance(np.full(len(labels), 0.001), labels, 8_760)
    assert measured["bear"] == stats.RegimePerformance(stats.MIN_BARS - 1, None, None, None)
    assert measured["sideways"] == stats.RegimePerformance(0, None, None, None)
    assert measured["bull"].annual_return is not None
    assert stats.regime_performance([0.1], [BULL], 365, min_bars=0)["bull"].sharpe is None


@pytest.mark.parametrize(
    ("closes", "lookback", "words"),
    [
        (np.ones(10), 4, "shape .bars, assets."),
        (np.zeros((10, 1)), 4, "finite and positive"),
        (np.ones((10, 1)), 1, "lookback must be at least 2 bars, got 1"),
        (np.ones((10, 1)), 10, r"the train window \[0, 10\) must hold an unbroken run of more than 10 bars"),
    ],
)
def test_what_has_no_regime_is_refused(closes, lookback, words):
    with pytest.raises(ValueError, match=words):
        stats.regime_thresholds(closes, [Segment(0, 10)], Window(0, 10), lookback=lookback)
