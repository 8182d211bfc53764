"""A user's own code against the public names. `make lint` checks the types that it asserts: what an editor completes.

What trains is called in no test here; the README's tests run it.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
import pytest
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import ftray
from ftray import plots

OLD = Path(__file__).parent / "runs" / "format_1"


def test_from_candles_to_a_backtest():
    market = ftray.SimulatorSpec(n_assets=2, n_bars=3_000)
    candles = assert_type(ftray.load_market(market), ftray.Candles)
    dataset = assert_type(ftray.build_dataset(market, ftray.WindowsSpec(), ftray.FeatureSpec()), ftray.Dataset)
    layout = assert_type(dataset.layout, ftray.ObservationLayout)
    assert dataset.candles.fingerprint == candles.fingerprint and layout.symbols == candles.symbols

    def all_in_the_first(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        assert dataset.table.observation(bars, accounts).shape == (len(bars), layout.size)
        return np.tile([1.0, 0.0], (len(bars), 1))

    rules = ftray.MarketRules(fee=0.0)
    result = assert_type(ftray.backtest(all_in_the_first, dataset, dataset.windows.validation, rules), ftray.Backtest)
    assert assert_type(result.performance(), dict[str, float])["n_bars"] == len(result)

    env = ftray.TradingEnv(dataset, dataset.windows.train, ftray.TradingSpec(rules=rules))
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)


def test_a_study_is_asked_by_name():
    study = assert_type(ftray.open_study(OLD), ftray.Study)
    best = assert_type(study.best(), ftray.Best)
    assert best.trial in set(assert_type(study.trials, pd.DataFrame)["trial"])
    groups = assert_type(study.compare("encoder"), pd.DataFrame)
    assert isinstance(assert_type(plots.plot_comparison(groups), go.Figure), go.Figure)
    assert assert_type(study.to_optuna(), optuna.Study).best_trial.user_attrs["trial"] == best.trial
    studies = assert_type(ftray.open_studies(OLD.parent), ftray.Studies)
    assert assert_type(studies[OLD.name], ftray.Study).name == study.name


def test_what_is_wrong_is_wrong_in_an_editor_too():
    with pytest.raises(TypeError, match="hiden"):
        ftray.MLPSpec(hiden=64)  # type: ignore[call-arg]
    with pytest.raises(ftray.errors.SpecError) as wrong:
        ftray.TrialSpec(encoder=ftray.MLPSpec(hidden=1))
    assert assert_type(wrong.value.path, tuple[str, ...]) == ("hidden",)


def train(folder: str) -> ftray.Policy:
    """One trial from its spec to its policy."""
    spec = ftray.TrialSpec(
        market=ftray.FilesSpec(path="candles", symbols=("BTC", "ETH")),
        windows=ftray.WalkForwardSpec(n_folds=4),
        encoder=ftray.FTSpec(d_token=32, n_heads=2, pretrained="auto"),
        pretraining=ftray.PretrainingSpec(epochs=5, masks=ftray.MaskSpec(bars=0.5)),
        trading=ftray.TradingSpec(rules=ftray.MarketRules(impact=0.01), reward="log_growth"),
        ppo=ftray.PPOSpec(env_steps=10_000),
        seeds=3,
    )

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        print(metrics["env_steps"], checkpoint)

    assert_type(ftray.run_trial(spec, report, folder=folder, shared="runs"), dict[str, Any])
    return ftray.load_policy(f"{folder}/policy")


def decide(policy: ftray.Policy, candles: ftray.Candles) -> np.ndarray:
    """The action after the last bar."""
    return assert_type(policy(policy.observe(candles, [1.0, 0.0, 0.0])), np.ndarray)


def search(file: str) -> ftray.Study:
    """A study from its file to its results."""
    study = assert_type(ftray.load_study(file, ["search.n_trials=10"]), ftray.StudySpec)
    return ftray.open_study(ftray.run_study(study, "runs").location)


def pretrain(dataset: ftray.Dataset) -> RLModuleSpec:
    """An encoder that is pre-trained alone, then in a module of RLlib's."""
    encoder = ftray.FTSpec(d_token=32, n_heads=2)
    card = assert_type(ftray.pretrain(encoder, ftray.PretrainingSpec(), dataset, "encoder"), ftray.EncoderCard)
    model = {"encoder": {"kind": "ft"}, "layout": dataset.layout.to_mapping(), "weights": str(card.path)}
    return RLModuleSpec(module_class=ftray.FTPolicy, model_config=model)
