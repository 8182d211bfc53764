"""All trials of a study are judged on the same bars, whatever its space searches."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from ftray.errors import RunFolderError
from ftray.features import Dataset, FeatureSpec, dataset_of
from ftray.market import Candles, SimulatorSpec, load_market
from ftray.spec import to_mapping
from ftray.study import StudySpec, parse_study
from ftray.study.spec import open_run
from ftray.trading import benchmarks, equal_weight
from ftray.trial import TrialSpec
from ftray.trial.judging import judge_of

MARKET = {"kind": "simulator", "n_assets": 2, "n_bars": 4_000, "n_outages": 3}
INDICATORS = ("open", "close", "cci", "rsi", "dx", "atr_regime_shift")


@pytest.fixture(scope="module")
def candles() -> Candles:
    return load_market(SimulatorSpec(n_assets=2, n_bars=4_000, n_outages=3))


def data_of(candles: Candles, trial: TrialSpec, fold: int = 0) -> Dataset:
    return dataset_of(candles, trial.windows, trial.features, fold)


def judged(dataset: Dataset) -> list[Any]:
    """The windows that a trial is evaluated on, and the bars in them at which it decides."""
    windows = (*dataset.windows.validation, dataset.windows.test)
    return [(window, dataset.table.decision_bars(window).tolist()) for window in windows]


def test_a_short_and_a_long_lookback_are_validated_on_the_same_bars_beside_the_same_benchmarks():
    candles = load_market(SimulatorSpec(n_assets=2, n_bars=6_000))
    study = parse_study({"trial": {"market": MARKET, "features": {"lookback": {"choice": [24, 480]}}}})
    short, long = (next(t for t in study.corner_trials if t.features.lookback == n) for n in (24, 480))
    assert short.windows == long.windows and short.windows.lookback == 480
    first, second = data_of(candles, short), data_of(candles, long)
    assert first.windows == second.windows and judged(first) == judged(second)
    assert first.layout.lookback == 24 and second.layout.lookback == 480
    one, other = (benchmarks(data, data.windows.validation, short.trading.rules) for data in (first, second))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name].returns, other[name].returns, err_msg=name)
    alone = data_of(candles, parse_study({"trial": {"market": MARKET, "features": {"lookback": 24}}}).corner_trials[0])
    assert judged(alone) != judged(first), "the window of a trial that is searched alone is its own"


def test_the_trial_of_any_point_has_the_reach_of_the_whole_space():
    study = parse_study({"trial": {"market": MARKET, "features": {"lookback": {"int": [24, 480]}}}})
    for lookback in (24, 100, 480):
        trial = study.trial(study.space.fill({"trial/features/lookback": lookback}))
        assert (trial.features.lookback, trial.windows.lookback, trial.windows.warm_up) == (lookback, 480, None)
        assert judge_of(trial) == judge_of(study.corner_trials[0])


def test_a_reach_of_ones_own_is_kept():
    trial = {"market": MARKET, "windows": {"lookback": 600}, "features": {"lookback": {"choice": [24, 480]}}}
    assert {one.windows.lookback for one in parse_study({"trial": trial}).corner_trials} == {600}


def test_a_study_that_searches_no_reach_keeps_its_windows_as_they_were_stored():
    study = parse_study({"trial": {"market": MARKET, "ppo": {"epochs": {"int": [1, 4]}}}})
    assert study.reach == {}
    assert {(one.windows.lookback, one.windows.warm_up) for one in study.corner_trials} == {(None, None)}


def test_a_study_of_an_earlier_version_whose_trials_had_windows_of_their_own_is_not_continued(tmp_path):
    tree = {"name": "s", "trial": {"market": MARKET, "features": {"lookback": {"choice": [24, 480]}}}}
    study = parse_study(tree)
    run = open_run(study, tmp_path)
    now = study.corner_trials[0]
    run.add_trial("trial-0000", 0, "trial", {}, now)
    assert open_run(study, tmp_path).id == run.id
    old = dataclasses.replace(now, windows=dataclasses.replace(now.windows, lookback=None))
    stored = to_mapping(old)
    del stored["windows"]["lookback"], stored["windows"]["warm_up"]
    run.add_trial("trial-0001", 1, "trial", {}, stored)
    with pytest.raises(RunFolderError, match=r"trial-0001, which an earlier version .* under another name"):
        open_run(study, tmp_path)


def some_features(draw: random.Random) -> dict[str, Any]:
    def one() -> dict[str, Any]:
        names = draw.sample(INDICATORS, draw.randint(1, 3))
        low = draw.randint(1, 80)
        lookback = draw.choice([low, {"int": [low, low + draw.randint(0, 60)]}, {"choice": [low, 5, 90]}])
        return {"lookback": lookback, "indicators": names, "clip": draw.choice([8, {"float": [2.0, 9.0]}])}

    if draw.random() < 0.5:
        return one()
    options = [one() for _ in range(draw.randint(1, 3))]
    for number, option in enumerate(options):  # the label of an option: another plain value
        option |= {"lookback": 10 + 25 * number, "clip": 8}
    return {"choice": options}


def some_encoder(draw: random.Random) -> dict[str, Any]:
    mlp = {"kind": "mlp", "hidden": draw.choice([64, {"int": [64, 256, 64]}])}
    ft = {"kind": "ft", "d_token": {"choice": [32, 64]}, "pretrained": draw.choice(["none", "auto"])}
    return draw.choice([mlp, ft, {"choice": [mlp, ft]}, {"kind": {"choice": ["mlp", "ft"]}}])


def some_windows(draw: random.Random) -> dict[str, Any]:
    holding = draw.randint(1, 30)
    return {
        "single": {"kind": "single", "validation": draw.choice([0.15, 0.2])},
        "walk_forward": {"kind": "walk_forward", "n_folds": draw.randint(1, 3), "expanding": draw.random() < 0.5},
        "combinatorial": {"kind": "combinatorial", "n_groups": 4, "n_validation_groups": draw.randint(1, 2)},
    }[draw.choice(["single", "walk_forward", "combinatorial"])] | {"holding": holding}


def some_space(draw: random.Random) -> StudySpec:
    trading: dict[str, Any] = {"turnover_penalty": {"float": [0.0, 0.01]}, "rules": {"fee": draw.choice([0.0, 0.001])}}
    if draw.random() < 0.5:
        trading = {"choice": [trading, {**trading, "reward": "excess_growth"}]}
    trial = {
        "market": MARKET,
        "windows": some_windows(draw),
        "features": some_features(draw),
        "encoder": some_encoder(draw),
        "trading": trading,
        "pretraining": {"epochs": {"int": [1, 9]}},
        "ppo": {"learning_rate": {"log": [1e-5, 1e-3]}, "gamma": draw.choice([0.99, {"choice": [0.9, 0.99]}])},
        "seeds": draw.randint(1, 3),
    }
    return parse_study({"trial": trial})


@pytest.mark.parametrize("n_spaces", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_random_space_judges_all_its_corners_on_the_same_bars_by_the_same_rules(candles, n_spaces):
    draw, n_moved = random.Random(n_spaces), 0
    for number in range(n_spaces):
        study = some_space(draw)
        trials = study.corner_trials
        assert all(judge_of(trial) == judge_of(trials[0]) for trial in trials)
        different = {(one.features.lookback, one.features.indicators): one for one in trials}.values()
        fold = draw.randrange(trials[0].n_folds)
        datasets = [data_of(candles, trial, fold) for trial in different]
        assert all(judged(one) == judged(datasets[0]) for one in datasets)
        assert all(one.windows == datasets[0].windows for one in datasets)
        n_moved += len({(t.features.lookback, t.features.warm_up) for t in trials}) > 1
        if number % 20 == 0:
            held = [equal_weight(data, data.windows.validation, trials[0].trading.rules).returns for data in datasets]
            assert all(np.array_equal(returns, held[0]) for returns in held)
    assert n_moved > n_spaces / 4, "many of the spaces search what would move the windows"
    assert FeatureSpec(indicators=INDICATORS).warm_up == 220
