"""Weights must know nothing of the windows that a trial is evaluated on, nor of the gap around them."""

import dataclasses
import json

import numpy as np
import pytest

from ftray.features import Dataset, FeatureSpec, build_dataset, dataset_of
from ftray.market import (
    CombinatorialSpec,
    FoldsSpec,
    SimulatorSpec,
    WalkForwardSpec,
    Window,
    WindowsSpec,
    load_market,
    n_folds,
)
from ftray.pretraining import chosen_on_test, overlaps

FEATURES = FeatureSpec(lookback=20, indicators=("close", "rsi"))
MARKET = SimulatorSpec(n_assets=1, n_bars=3_000, n_outages=3)
SPECS = (WindowsSpec(), WalkForwardSpec(n_folds=2), CombinatorialSpec(n_groups=4))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """The purge is 20 + 24 = 44 bars; after a window another 150 bars of warm-up are left out."""
    return build_dataset(dataclasses.replace(MARKET, n_outages=0), WindowsSpec(), FEATURES)


def seen(dataset: Dataset, start: int, stop: int, seconds: float | None = None) -> str | None:
    return overlaps([dataset.times(Window(start, stop))], dataset, seconds)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_the_train_windows_of_every_fold_know_nothing(spec: FoldsSpec):
    candles = load_market(MARKET)
    for fold in range(n_folds(spec)):
        dataset = dataset_of(candles, spec, FEATURES, fold)
        assert overlaps([dataset.times(window) for window in dataset.windows.train], dataset) is None


def test_the_purge_before_a_window_is_left_out_to_the_bar(dataset):
    (validation,) = dataset.windows.validation
    assert dataset.windows.gap_before == 44
    assert seen(dataset, 0, validation.start - 44) is None
    for stop in (validation.start - 43, validation.start, validation.start + 1):
        problem = seen(dataset, 0, stop)
        assert problem and "the trial's validation window begins at" in problem
        assert "44 bars before it and 194 after it are left out" in problem


def test_what_indicators_remember_after_a_window_is_left_out_to_the_bar(dataset):
    (validation,) = dataset.windows.validation
    untested = dataclasses.replace(dataset, windows=dataclasses.replace(dataset.windows, test=Window(3_000, 3_000)))
    start = validation.stop + 44 + 150
    assert untested.windows.gap_after == 44 + 150
    assert seen(untested, start, start + 50) is None
    assert "validation window" in (seen(untested, start - 1, start + 50) or "")


def test_a_bar_lasts_from_its_opening_on(dataset):
    """A daily bar that opens a day before the gap ends where it begins; one of an hour later reaches into it."""
    (validation,) = dataset.windows.validation
    daily = [["2020-01-01T00:00:00", str(dataset.candles.times[validation.start - 44 * 24 - 24].astype("M8[s]"))]]
    assert overlaps(daily, dataset, 86_400.0) is None
    daily[0][1] = str(dataset.candles.times[validation.start - 44 * 24 - 23].astype("M8[s]"))
    assert "validation window" in (overlaps(daily, dataset, 86_400.0) or "")
    assert overlaps(daily, dataset) is None, "hourly bars of these times end long before it"


def test_an_empty_test_window_refuses_nothing():
    walk = dataset_of(load_market(MARKET), WalkForwardSpec(n_folds=2, test=0.0), FEATURES)
    assert not len(walk.windows.test)
    assert overlaps([walk.times(window) for window in walk.windows.train], walk) is None


def test_weights_may_be_chosen_on_every_bar_before_the_test_window(dataset):
    test = dataset.windows.test
    assert chosen_on_test([dataset.times(Window(0, test.start))], dataset) is None
    assert "chosen on bars" in (chosen_on_test([dataset.times(Window(0, test.start + 1))], dataset) or "")
    untested = dataclasses.replace(dataset, windows=dataclasses.replace(dataset.windows, test=Window(3_000, 3_000)))
    assert chosen_on_test([dataset.times(test)], untested) is None


def test_a_dataset_of_an_earlier_version_has_the_smallest_gap_of_its_windows(dataset, tmp_path):
    folder = dataset.save(tmp_path / "old")
    meta = json.loads((folder / "meta.json").read_text())
    del meta["gaps"], meta["lookback"]
    (folder / "meta.json").write_text(json.dumps(meta))
    old = Dataset.load(folder)
    assert (old.windows.gap_before, old.windows.gap_after) == (44, 44)
    (validation,) = old.windows.validation
    np.testing.assert_array_equal(old.table.decision_bars(validation), dataset.table.decision_bars(validation))
