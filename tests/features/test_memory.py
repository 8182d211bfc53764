"""What is trained on after a validation window remembers nothing of it, not even through an indicator's memory."""

import dataclasses

import numpy as np
import pytest

from ftray.features import FeatureSpec, dataset_of
from ftray.features.indicators import FORGOTTEN, INDICATORS
from ftray.features.raw import raw_features
from ftray.market import Candles, CombinatorialSpec, Fold, SimulatorSpec, fold, load_market, n_folds

SPEC = CombinatorialSpec()
"""6 groups, 2 of them validated."""


def market(n_bars: int) -> Candles:
    return load_market(SimulatorSpec(n_assets=2, n_bars=n_bars))


def rewritten(candles: Candles, one: Fold) -> Candles:
    """Another market inside the validation windows: their bars in reverse order, at another level."""
    values = candles.values.copy()
    for window in one.validation:
        values[window.start : window.stop] = values[window.start : window.stop][::-1] * [1.3, 1.3, 1.3, 1.3, 3.0]
    return dataclasses.replace(candles, values=values)


def moved(candles: Candles, features: FeatureSpec, one: Fold) -> np.ndarray:
    """By how many standard deviations the features of a fold's train bars move, the most of each bar. Shape: (n,)."""
    bars = np.concatenate([np.arange(window.start, window.stop) for window in one.train])
    before, after = (raw_features(market, features)[bars] for market in (candles, rewritten(candles, one)))
    known = np.isfinite(before).all(axis=1)
    return (np.abs(after - before)[known] / before[known].std(axis=0)).max(axis=1)


@pytest.mark.parametrize("names", [tuple(INDICATORS), ("rsi",), ("macd", "volume"), ("atr_regime_shift",), ("open",)])
@pytest.mark.parametrize("n_bars", [2_000, 6_000])
def test_no_feature_of_a_train_bar_depends_on_a_bar_of_the_folds_validation(n_bars, names):
    candles, features = market(n_bars), FeatureSpec(indicators=names)
    for one in fold(n_bars, SPEC, features.lookback, features.warm_up).folds[:: 1 if n_bars == 2_000 else 4]:
        assert moved(candles, features, one).max() <= FORGOTTEN


@pytest.mark.parametrize(("n_bars", "share"), [(2_000, 0.25), (6_000, 0.03)])
def test_without_the_warm_up_in_the_gap_many_would(n_bars, share):
    candles, features = market(n_bars), FeatureSpec()
    folds = fold(n_bars, SPEC, features.lookback, warm_up=0).folds
    assert max((moved(candles, features, one) > 0.01).mean() for one in folds) > share


def test_no_observation_of_a_train_window_changes_with_the_validation_windows():
    candles, features = market(2_000), FeatureSpec(lookback=12)
    account = np.eye(3, dtype=np.float32)[:1]
    for number in range(0, n_folds(SPEC), 4):
        dataset = dataset_of(candles, SPEC, features, number)
        other = dataset_of(rewritten(candles, fold_of(dataset)), SPEC, features, number)
        bars = dataset.table.decision_bars(dataset.windows.train)
        assert bars.tolist() == other.table.decision_bars(other.windows.train).tolist() and len(bars) > 100
        accounts = np.repeat(account, len(bars), axis=0)
        one, changed = (data.table.observation(bars, accounts) for data in (dataset, other))
        np.testing.assert_allclose(changed, one, atol=FORGOTTEN)


def fold_of(dataset) -> Fold:
    return Fold(dataset.windows.train, dataset.windows.validation)


@pytest.mark.parametrize("warm_up", [0, 150, 600])
def test_the_gap_after_a_validation_window_is_purge_and_the_longer_of_embargo_and_warm_up(warm_up):
    folds = fold(20_000, SPEC, lookback=60, warm_up=warm_up)  # the embargo: 1 % of 16,916 development bars
    assert folds.gap_before == 84 and folds.gap_after == 84 + max(170, warm_up)
    gaps = [t.start - v.stop for one in folds.folds for t in one.train for v in one.validation if t.start >= v.stop]
    assert min(gaps) == folds.gap_after >= 60 + warm_up
