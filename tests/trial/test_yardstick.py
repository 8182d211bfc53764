"""Equal weight, which every evaluation is relative to, is backtested once per training."""

import numpy as np

from ftray.features import FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WalkForwardSpec
from ftray.trading import MarketRules, equal_weight
from ftray.trial.evaluation import Yardstick


def test_it_is_computed_once_and_again_for_the_next_fold():
    market, features = SimulatorSpec(n_assets=2, n_bars=2_000), FeatureSpec(lookback=8, indicators=("close",))
    folds = [build_dataset(market, WalkForwardSpec(n_folds=2), features, fold) for fold in (0, 1)]
    yardstick = Yardstick(MarketRules())
    first = yardstick.on(folds[0])
    again = build_dataset(market, WalkForwardSpec(n_folds=2), features)  # as the process that evaluates loads it
    assert yardstick.on(folds[0]) is first is yardstick.on(again)
    second = yardstick.on(folds[1])
    assert second is not first
    np.testing.assert_array_equal(
        second.returns, equal_weight(folds[1], folds[1].windows.validation, MarketRules()).returns
    )
