"""One trial: it trains, is judged on the validation window, resumes, and starts from the given weights."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ftray.agent import PPOSpec
from ftray.agent.training import POLICY, check_start, iterate, learner_module, market_fingerprint, ppo_config
from ftray.errors import TrainingError, WeightsError
from ftray.features import FeatureSpec
from ftray.market import SimulatorSpec, Window, WindowsSpec
from ftray.metrics import check_reported
from ftray.nets import FTSpec, MLPSpec, read_checkpoint, weights_fingerprint
from ftray.pretraining import PretrainingSpec
from ftray.tables.bars import bars_file
from ftray.trading import TradingSpec
from ftray.trial import TrialSpec, prepare_dataset, pretrain_encoder
from ftray.trial.run import check_no_leakage, run_trial, starting_weights

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("cluster", "without_probes"),
]  # RLlib wants a Ray even without env runners

FT = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8, pretrained="auto")
TRIAL = TrialSpec(
    market=SimulatorSpec(n_assets=2, n_bars=1_200),
    windows=WindowsSpec(holding=6),
    features=FeatureSpec(lookback=8, indicators=("close", "volume", "rsi")),
    encoder=MLPSpec(hidden=64, encoding_dim=64),
    pretraining=PretrainingSpec(epochs=1, windows_per_epoch=64, batch_size=32, horizon=6, device="cpu"),
    trading=TradingSpec(episode_bars=50),
    ppo=PPOSpec(
        env_steps=256,
        train_batch_size=128,
        minibatch_size=64,
        epochs=1,
        n_env_runners=0,
        envs_per_runner=8,
        evaluate_every=1,
    ),
    onnx=False,
)


class Reports(list):
    def __call__(self, metrics, checkpoint=None):
        self.append({**metrics, "checkpoint": checkpoint})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What the trials of this module share: prepared data, pre-trained encoders."""
    return tmp_path_factory.mktemp("shared")


def run(spec, folder, shared, **how):
    reports = Reports()
    run_trial(spec, reports, folder=folder, shared=shared, **how)
    return reports


def test_a_trial_reports_every_iteration_and_ends_with_validation_metrics_and_a_checkpoint(tmp_path, shared):
    reports = run(dataclasses.replace(TRIAL, ppo=dataclasses.replace(TRIAL.ppo, evaluate_every=2)), tmp_path, shared)
    assert [row["env_steps"] for row in reports] == sorted(row["env_steps"] for row in reports)
    assert reports[-1]["env_steps"] >= 256
    assert "validation/sharpe" not in reports[0] and reports[0]["checkpoint"] is None
    for name in ("sharpe", "total_return", "max_drawdown"):
        assert isinstance(reports[-1][f"validation/{name}"], float)
    assert reports[-1]["checkpoint"].is_dir()
    for row in reports:
        check_reported(set(row) - {"checkpoint"})
    assert json.dumps({k: v for k, v in reports[-1].items() if k != "checkpoint"})
    bars, fills = (pd.read_parquet(bars_file(tmp_path, table, 0, TRIAL.seed)) for table in ("returns", "fills"))
    assert len(bars) == reports[-1]["validation/n_bars"] and bars["time"].is_monotonic_increasing
    assert np.prod(1 + bars["return"]) - 1 == pytest.approx(reports[-1]["validation/total_return"])
    orders, hour = fills[fills["cause"] == "order"], pd.Timedelta("1h")
    assert set(orders["time"]) == set(bars["time"][bars["turnover"] > 0] - hour) and (fills["notional"] != 0).all()
    assert orders["fee"].sum() == pytest.approx(bars["fees"].sum())


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tmp_path, shared):
    first, again, other = (
        [row["loss/value"] for row in run(dataclasses.replace(TRIAL, seed=seed), tmp_path / name, shared)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_a_trial_continues_from_its_checkpoint_with_its_steps_and_its_optimiser(tmp_path, shared):
    half = dataclasses.replace(TRIAL, ppo=dataclasses.replace(TRIAL.ppo, env_steps=128))
    checkpoint = run(half, tmp_path / "half", shared)[-1]["checkpoint"]
    resumed = run(TRIAL, tmp_path / "whole", shared, resume=checkpoint)
    assert resumed[0]["iteration"] == 2 and resumed[0]["env_steps"] > 128

    data, _ = prepare_dataset(TRIAL, shared)
    algorithm = ppo_config(TRIAL.ppo, TRIAL.encoder, TRIAL.trading, dataset=data).build_algo()
    try:
        algorithm.restore_from_path(str(checkpoint))
        (optimizer,) = algorithm.learner_group._learner._optimizer_parameters
        steps = {float(state["step"]) for state in optimizer.state.values()}
        assert len(steps) == 1 and steps.pop() >= 1
    finally:
        algorithm.stop()


def test_a_trial_without_a_gpu_share_leaves_the_gpu_of_its_machine_alone(tmp_path, shared, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    auto = dataclasses.replace(TRIAL.pretraining, device="auto")
    spec = dataclasses.replace(TRIAL, encoder=FT, pretraining=auto)
    weights, _ = starting_weights(spec, prepare_dataset(spec, shared)[1], tmp_path)
    assert weights.exists()


def test_a_frozen_encoder_is_bit_identical_after_training_and_a_fine_tuned_one_is_not(tmp_path, shared):
    data, dataset = prepare_dataset(TRIAL, shared)
    weights = pretrain_encoder(dataclasses.replace(TRIAL, encoder=FT), dataset, shared).path
    pretrained = weights_fingerprint(read_checkpoint(weights)["encoder_state_dict"])
    for frozen in (True, False):
        encoder = dataclasses.replace(FT, frozen=frozen)
        spec = dataclasses.replace(TRIAL, encoder=encoder, ppo=dataclasses.replace(TRIAL.ppo, env_steps=128))
        checkpoint = run(spec, tmp_path / str(frozen), shared)[-1]["checkpoint"]
        algorithm = ppo_config(spec.ppo, spec.encoder, spec.trading, dataset=data, weights=weights).build_algo()
        try:
            algorithm.restore_from_path(str(checkpoint))
            assert (market_fingerprint(learner_module(algorithm)) == pretrained) is frozen
        finally:
            algorithm.stop()


def test_the_optimiser_of_a_frozen_encoder_does_not_carry_it(shared):
    data, dataset = prepare_dataset(TRIAL, shared)
    weights = pretrain_encoder(dataclasses.replace(TRIAL, encoder=FT), dataset, shared).path
    encoder = dataclasses.replace(FT, frozen=True)
    algorithm = ppo_config(TRIAL.ppo, encoder, TRIAL.trading, dataset=data, weights=weights).build_algo()
    try:
        learner, module = algorithm.learner_group._learner, learner_module(algorithm)
        carried = {id(p) for o in learner._optimizer_parameters for group in o.param_groups for p in group["params"]}
        assert not carried & {id(p) for p in module.encoder.tower.parameters()}
        assert {id(p) for p in module.policy_head.parameters()} <= carried
    finally:
        algorithm.stop()


def test_weights_that_saw_the_validation_window_are_refused_with_both_times(tmp_path, shared):
    _, dataset = prepare_dataset(TRIAL, shared)
    weights = pretrain_encoder(dataclasses.replace(TRIAL, encoder=FT), dataset, shared).path
    content = torch.load(weights, weights_only=True)
    (validation,), test = dataset.windows.validation, dataset.windows.test
    after_the_gap = Window(test.stop - 20, test.stop)  # the bars before are left out after the validation window, too
    refused = {
        "validation window begins": [dataset.windows.train[0], validation],
        "test window begins": [after_the_gap],
        "does not say on which bars": [],
    }
    for message, windows in refused.items():
        path = tmp_path / "weights.pth"
        torch.save({**content, "train_windows": [dataset.times(window) for window in windows]}, path)
        encoder = dataclasses.replace(FT, pretrained=str(path))
        with pytest.raises(WeightsError, match=message):
            run(dataclasses.replace(TRIAL, encoder=encoder), tmp_path, shared)


def test_weights_that_were_chosen_on_the_test_window_are_refused(shared):
    _, dataset = prepare_dataset(TRIAL, shared)
    weights = pretrain_encoder(dataclasses.replace(TRIAL, encoder=FT), dataset, shared).path
    assert read_checkpoint(weights)["validation_windows"] == [dataset.times(one) for one in dataset.windows.validation]
    check_no_leakage(weights, dataset)
    (validation,) = dataset.windows.validation
    tested = dataclasses.replace(dataset.windows, validation=(), test=Window(validation.stop - 1, len(dataset.candles)))
    with pytest.raises(WeightsError, match=r"was chosen on bars from .*, and the trial's test window begins at"):
        check_no_leakage(weights, dataclasses.replace(dataset, windows=tested))


def test_an_iteration_without_samples_is_an_error_and_not_silence():
    module = SimpleNamespace(unwrapped=lambda: SimpleNamespace(table=None))

    class Dead:
        env_runner_group, config = None, SimpleNamespace(train_batch_size_per_learner=1)
        learner_group = SimpleNamespace(_learner=SimpleNamespace(module={POLICY: module}))

        def train(self):
            return {"env_runners": {}, "training_iteration": 1}

    with pytest.raises(TrainingError, match="brought no samples"):
        iterate(Dead())  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_is_an_error(tmp_path, shared):
    wild = dataclasses.replace(TRIAL.ppo, reward_scale=1e38)
    with pytest.raises(
        TrainingError,
        match=r"a gradient must be finite, and this one is not \(not finite in the loss: value = (inf|nan)",
    ):
        run(dataclasses.replace(TRIAL, ppo=wild), tmp_path, shared)


def test_pretrained_weights_arrive_in_learner_and_env_runner_and_a_trial_without_them_is_stopped(tmp_path, shared):
    data, dataset = prepare_dataset(TRIAL, shared)
    weights = pretrain_encoder(dataclasses.replace(TRIAL, encoder=FT), dataset, shared).path
    content = read_checkpoint(weights)
    one = dataclasses.replace(TRIAL.ppo, n_env_runners=1)
    algorithm = ppo_config(one, FT, TRIAL.trading, dataset=data, weights=weights).build_algo()
    try:
        check_start(algorithm, weights=weights)
        held = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: market_fingerprint(runner.module), local_env_runner=False
        )
        assert held == [weights_fingerprint(content["encoder_state_dict"])]
        others = {name: weight + 1 for name, weight in content["encoder_state_dict"].items()}
        torch.save({**content, "encoder_state_dict": others}, tmp_path / "others.pth")
        with pytest.raises(WeightsError, match="did not arrive in: learner, env runner 1"):
            check_start(algorithm, weights=tmp_path / "others.pth")
    finally:
        algorithm.stop()


def test_a_trial_alone_needs_nothing_but_its_own_folder(tmp_path):
    spec = dataclasses.replace(TRIAL, encoder=FT, ppo=dataclasses.replace(TRIAL.ppo, env_steps=128))
    run_trial(spec, Reports(), folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"data", "encoders", "checkpoint"}
    shutil.rmtree(tmp_path)
