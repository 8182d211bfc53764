"""The learner: same mathematics in parts, rates of its own for a pre-trained tower, and no silence."""

import contextlib
import dataclasses
import itertools
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from ftray.agent import PPOSpec
from ftray.agent.env_runner import FTEnvRunner
from ftray.agent.training import check_start, iterate, learner_module, ppo_config, share_vectors
from ftray.agent.vectors import fresh_vectors, market_vectors
from ftray.errors import TrainingError
from ftray.nets import FTSpec, build_encoder, market_state_dict
from ftray.trading import TradingSpec
from ftray.vram.plan import NO_GPU, GpuShares

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]  # RLlib wants a Ray even without env runners

FT = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8)
PPO = PPOSpec(
    env_steps=1_000,
    train_batch_size=256,
    minibatch_size=64,
    epochs=2,
    n_env_runners=0,
    envs_per_runner=8,
    grad_clip=0.5,
)
TRADING = TradingSpec(episode_bars=50)


@pytest.fixture
def weights(dataset, tmp_path):
    path = tmp_path / "weights.pth"
    torch.manual_seed(7)
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, path)
    return path


@contextlib.contextmanager
def training(data_folder, ppo=PPO, encoder=FT, trading=TRADING, **given):
    torch.manual_seed(0)
    algorithm = ppo_config(ppo, encoder, trading, dataset=data_folder, **given).build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()


def test_a_minibatch_in_parts_gives_the_same_parameters(data_folder):
    trained = []
    for micro_batches in (1, 4):
        with training(data_folder, micro_batches=micro_batches) as algorithm:
            before = [p.detach().clone() for p in learner_module(algorithm).parameters()]
            metrics = iterate(algorithm)
            trained.append(([p.detach().clone() for p in learner_module(algorithm).parameters()], metrics))
    (whole, figures), (in_parts, figures_in_parts) = trained
    for start, one, other in zip(before, whole, in_parts, strict=True):
        # Adam turns rounding of a gradient near zero into a step: what matters is small relative to what was learned.
        assert (one - other).norm() <= 0.02 * (one - start).norm() + 1e-7
    for name in ("loss/policy", "loss/value", "entropy", "kl", "explained_variance", "gradient_norm"):
        assert figures[name] == pytest.approx(figures_in_parts[name], rel=1e-2, abs=1e-4)


def test_metrics_describe_the_update_and_its_speed(data_folder):
    with training(data_folder, trading=dataclasses.replace(TRADING, accounts_per_bar=4)) as algorithm:
        metrics = iterate(algorithm)
    assert 0 <= metrics["clip_fraction"] <= 1 and metrics["kl"] > 0 and metrics["gradient_norm"] > 0
    assert 0 < metrics["encoder/gradient_norm"] <= metrics["gradient_norm"]
    assert -1 <= metrics["advantages/intraclass_correlation"] <= 1
    split = 1 / metrics["steps_per_second/sampling"] + 1 / metrics["steps_per_second/learning"]
    assert 1 / metrics["steps_per_second"] == pytest.approx(split)
    assert "reward" not in metrics  # 32 bars of an episode of 50: RLlib says NaN while none has ended
    assert all(type(value) in (int, float) and np.isfinite(value) for value in metrics.values())


def test_a_pretrained_tower_warms_up_to_a_rate_of_its_own(data_folder, weights):
    ppo = dataclasses.replace(PPO, learning_rate=1e-3, fine_tune_factor=0.5, fine_tune_warm_up=0.5)
    with training(data_folder, ppo, weights=weights) as algorithm:
        learner, module = algorithm.learner_group._learner, learner_module(algorithm)
        tower = learner.get_optimizer("default_policy", "tower")
        assert {id(p) for p in tower.param_groups[0]["params"]} == {id(p) for p in module.encoder.tower.parameters()}
        rates = []
        for _ in range(4):
            rates.append(float(tower.param_groups[0]["lr"]))
            iterate(algorithm)
        assert learner.get_optimizer("default_policy").param_groups[0]["lr"] == 1e-3
    assert rates == pytest.approx([5e-4 * 256 / 500, 5e-4, 5e-4, 5e-4])


def test_gradients_are_clipped_by_the_norm_of_all_optimisers_together(data_folder, weights):
    with training(data_folder, dataclasses.replace(PPO, grad_clip=1e-3), weights=weights) as algorithm:
        learner = algorithm.learner_group._learner
        norms, step = [], torch.optim.Adam.step

        def noted(optimizer, *given, **more):
            (group,) = optimizer.param_groups
            norms.append(sum(float(p.grad.norm() ** 2) for p in group["params"] if p.grad is not None))
            return step(optimizer, *given, **more)

        for optimizer in learner._optimizer_parameters:
            optimizer.step = noted.__get__(optimizer)
        assert iterate(algorithm)["gradient_norm"] > 1e-3
    together = np.sqrt(np.reshape(norms, (-1, 2)).sum(axis=1))
    np.testing.assert_allclose(together, 1e-3, rtol=1e-2)


def test_weights_that_are_no_numbers_stop_the_trial_with_a_diagnosis(data_folder):
    with training(data_folder) as algorithm:
        iterate(algorithm)
        with torch.no_grad():
            algorithm.env_runner.module.policy_head[0].weight[0, 0] = float("nan")
        with pytest.raises(TrainingError, match=r"actions of .* that are not finite"):
            iterate(algorithm)


def test_a_gradient_that_is_no_number_stops_the_trial_with_a_diagnosis(data_folder, monkeypatch):
    with training(data_folder) as algorithm:
        learner = algorithm.learner_group._learner
        loss = learner.compute_loss_for_module
        monkeypatch.setattr(learner, "compute_loss_for_module", lambda **given: loss(**given) * float("nan"))
        before = [p.detach().clone() for p in learner_module(algorithm).parameters()]
        with pytest.raises(TrainingError, match=r"in the weights: nothing; in the gradients: encoder.*grad_clip"):
            iterate(algorithm)
        after = learner_module(algorithm).parameters()
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_sync_sends_the_parameters_and_not_the_market(data_folder, dataset):
    with training(data_folder) as algorithm:
        module = learner_module(algorithm)
        parameters = sum(p.numel() * p.element_size() for p in module.parameters())
        sent = len(pickle.dumps(algorithm.learner_group.get_state(components="learner/rl_module", inference_only=True)))
    assert parameters <= sent <= 1.01 * parameters + 20_000
    assert dataset.table.values.nbytes > 20_000


def test_a_reward_is_the_sum_over_a_whole_episode_however_it_was_cut(data_folder):
    """RLlib's `episode.get_return()` is that of the last fragment alone; 32 steps a fragment, 50 an episode."""
    with training(data_folder) as algorithm:
        runner, episodes, compared = algorithm.env_runner, {}, 0
        for _ in range(4):
            ended = []
            for fragment in runner.sample():
                own = episodes.setdefault(fragment.id_, [])
                own.extend(fragment.get_rewards())
                if fragment.is_done:
                    ended.append(sum(own))
            metrics = runner.get_metrics()
            if ended:
                compared += 1
                assert float(metrics["episode_return_mean"].peek()) == pytest.approx(np.mean(ended), rel=1e-5)
        assert compared >= 2


def test_the_array_env_runner_samples_what_rllib_s_own_would(data_folder):
    def sampled(env_runner_cls):
        torch.manual_seed(0)
        config = ppo_config(PPO, FT, TRADING, dataset=data_folder, seed=3)
        config.env_runners(env_runner_cls=env_runner_cls)
        algorithm = config.build_algo()
        try:
            episodes = [e for _ in range(3) for e in algorithm.env_runner.sample()]
        finally:
            algorithm.stop()
        return sorted(
            (
                *np.asarray(episode.get_observations())[t : t + 2].ravel(),
                *np.asarray(episode.get_actions())[t],
                episode.get_rewards()[t],
                episode.get_extra_model_outputs("action_logp")[t],
                episode.get_extra_model_outputs("vf_preds")[t],
                episode.is_truncated and t == len(episode) - 1,
            )
            for episode in episodes
            for t in range(len(episode))
        )

    ours, theirs = sampled(FTEnvRunner), sampled(SingleAgentEnvRunner)
    assert len(ours) > 700
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_an_env_runner_killed_in_mid_iteration_is_replaced_and_training_continues(data_folder):
    ppo = dataclasses.replace(PPO, n_env_runners=2, cpus_per_env_runner=0.5, train_batch_size=2_048)
    with training(data_folder, ppo) as algorithm:
        check_start(algorithm)
        iterate(algorithm)
        (victim, _) = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
        threading.Timer(0.05, os.kill, (victim, signal.SIGKILL)).start()
        steps, deadline = [], time.monotonic() + 120
        while len(steps) < 2 or algorithm.env_runner_group.num_healthy_remote_env_runners() < 2:
            steps.append(iterate(algorithm)["env_steps"])
            assert time.monotonic() < deadline, "the env runner was not replaced"
            time.sleep(0.5)
        pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
        assert victim not in pids and len(pids) == 2
        assert all(one < other for one, other in itertools.pairwise(steps))


def test_a_learner_on_the_cpu_leaves_the_gpu_of_its_machine_alone(data_folder, weights, monkeypatch):
    """PyTorch's optimisers ask for an accelerator's stream in every step, which initialises CUDA."""

    def refused(*_, **__):
        raise AssertionError("a step on the CPU must not ask for a stream")

    with training(data_folder, weights=weights) as algorithm:
        learner = algorithm.learner_group._learner
        assert len(learner._optimizer_parameters) == 2
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
        monkeypatch.setattr(torch.accelerator, "current_stream", refused)
        for optimizer in learner._optimizer_parameters:
            optimizer.step()


@pytest.mark.parametrize("n_env_runners", [0, pytest.param(1, marks=pytest.mark.long)])
def test_env_runners_act_by_the_vectors_that_they_are_given(data_folder, dataset, n_env_runners):
    """They are those of the weights that the runners hold: actions stay what they are without them."""
    with training(data_folder, dataclasses.replace(PPO, n_env_runners=n_env_runners)) as algorithm:
        module, bars = learner_module(algorithm), dataset.table.decision_bars(dataset.windows.train)
        assert fresh_vectors(module, PPO.batch_size) is None  # on the CPU a learner is no faster than an env runner
        seen = np.array([[bars[0], 0.5, 0.25, 0.25], [bars[-1], 1.0, 0.0, 0.0]], np.float32)

        def acts(runner):
            return runner.module.act(seen[:, 0], seen[:, 1:]), runner.module.market_vectors is not None

        group, remote = algorithm.env_runner_group, n_env_runners > 0
        before = group.foreach_env_runner(acts, local_env_runner=not remote)
        share_vectors(algorithm, market_vectors(module.encoder, module.table, bars))
        after = group.foreach_env_runner(acts, local_env_runner=not remote)
        for (own, had), (given, has) in zip(before, after, strict=True):
            assert (had, has) == (False, True)
            np.testing.assert_allclose(given, own, atol=1e-6)
        iterate(algorithm)
        new_weights = group.foreach_env_runner(acts, local_env_runner=not remote)
        assert not any(has for _, has in new_weights), "vectors of the weights before"


def gradients_of(learner, run, samples):
    for parameter in learner._policy.parameters():
        parameter.grad = None
    run(samples)
    found = {name: parameter.grad for name, parameter in learner._policy.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"))])  # fmt: skip
def test_a_pass_that_can_be_recorded_gives_the_same_gradients(data_folder, device):
    gpus = GpuShares(learner=0.01) if device == "cuda" else NO_GPU
    trading = dataclasses.replace(TRADING, accounts_per_bar=4)
    with training(data_folder, trading=trading, gpus=gpus) as algorithm:
        learner, seen = algorithm.learner_group._learner, []
        learner._possibly_compiled_update = lambda batch, **given: seen.append(dict(batch["default_policy"]))
        with contextlib.suppress(Exception):  # only the minibatches are wanted
            algorithm.train()
        assert seen and learner._device.type == device
        for samples in seen[:6]:
            expected = gradients_of(learner, learner._in_parts, samples)
            found = gradients_of(learner, learner._captured or learner._at_once, samples)
            assert found.keys() == expected.keys()
            for name, gradient in found.items():
                torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)
        if device == "cuda":
            assert learner._captured._graphs, "nothing was recorded"
            assert fresh_vectors(learner._policy, PPO.batch_size) is not None
