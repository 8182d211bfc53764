"""Whatever a GPU computes of a trial's learning mixes no tensors of two devices and gives the CPU's results."""

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from ftray.agent.connectors import ActionsToEnv, ObservationsToModule
from ftray.agent.loss import ppo_loss
from ftray.agent.minibatches import minibatches, parts
from ftray.vram.measuring import TrainingStep
from ftray.vram.table import Worker
from tests.devices.policies import ENCODERS, SHARING, full, observed, policy, train_batch
from tests.devices.second_device import SECOND, second_device


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_a_policy_forwards_values_and_acts(data, dataset, weights, spec, assert_alike):
    def path(device: torch.device) -> Any:
        module = policy(data, weights, spec, device)
        seen = torch.from_numpy(observed(dataset)).to(device)
        out = module.forward_train({Columns.OBS: seen})
        batch = ObservationsToModule(device=device)(episodes=[], obs=observed(dataset))
        sampled = ActionsToEnv()(batch=module.forward_exploration(batch), explore=False)
        return (
            out,
            module.compute_values({Columns.OBS: seen}),
            module.compute_values({Columns.OBS: seen}, embeddings=out[Columns.EMBEDDINGS]),
            module.act(observed(dataset)[:, 0].astype(np.int64), observed(dataset)[:, 1:]),
            module.n_passes(seen.cpu()),
            {name: np.asarray(array) for name, array in sampled.items()},
        )

    assert_alike(path)


@pytest.mark.parametrize("spec", [ENCODERS["late fusion"], ENCODERS["early fusion"], ENCODERS["mlp"]], ids=str)
def test_a_policy_reads_full_observations(data, dataset, weights, spec, assert_alike):
    def path(device: torch.device) -> Any:
        module = policy(data, weights, spec, device, dataset=None, layout=dataset.layout.to_mapping())
        return module.forward_inference({Columns.OBS: torch.from_numpy(full(dataset)).to(device)})

    assert_alike(path)


@pytest.mark.parametrize("spec", SHARING.values(), ids=list(SHARING))
def test_an_env_runner_prefetches(data, dataset, weights, spec, assert_alike):
    def path(device: torch.device) -> Any:
        module, seen, out = policy(data, weights, spec, device), observed(dataset, 6), []
        with torch.inference_mode(), module.prefetching(seen, 4):
            for step in range(4):
                seen[:, 0] += 1 if step != 2 else 30  # episodes that restart elsewhere
                out.append(module.encode(torch.from_numpy(seen).to(device)))
        return out

    assert_alike(path)


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_a_learner_steps_down_the_gradient(data, dataset, weights, spec, assert_alike):
    def path(device: torch.device) -> Any:
        module, batch = policy(data, weights, spec, device).train(), train_batch(dataset, device)
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer, losses = torch.optim.Adam(trained, fused=True), []
        groups = module.groups(batch[Columns.OBS].cpu().numpy())
        for minibatch in minibatches(batch, groups, 16, 2, np.random.default_rng(0)):
            optimizer.zero_grad(set_to_none=True)
            for part in parts(len(minibatch[Columns.OBS]), 2):
                some = {name: column[part] for name, column in minibatch.items()}
                out = module.forward_train(some)
                values = module.compute_values(some, embeddings=out[Columns.EMBEDDINGS])
                inputs = out[Columns.ACTION_DIST_INPUTS]
                loss, figures = ppo_loss(some, inputs, values, clip=0.2, value_weight=0.5, entropy_weight=0.01)
                loss.backward()
                losses.append(figures)
            carried = [p for p in trained if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([p.grad for p in carried])
            torch.nn.utils.clip_grads_with_norm_(carried, 0.5, norm)
            optimizer.step()
        return losses

    assert_alike(path, on_gpu=1e-2)  # Adam turns rounding of a gradient near zero into a step


def test_fused_adam_continues_from_a_state_that_was_on_the_cpu(assert_alike):
    def path(device: torch.device) -> Any:
        def steps(optimizer: Any, weight: Tensor) -> None:
            for _ in range(2):
                weight.grad = weight.detach() * 2
                optimizer.step()

        first = torch.nn.Parameter(torch.arange(3.0).to(device))
        optimizer = torch.optim.Adam([first], lr=0.1, fused=True)
        steps(optimizer, first)
        state = optimizer.state_dict()
        state["state"][0] = {name: value.cpu() for name, value in state["state"][0].items()}
        second = torch.nn.Parameter(first.detach().clone())
        restored = torch.optim.Adam([second], lr=0.1, fused=True)
        restored.load_state_dict(state)
        steps(restored, second)
        return second

    assert_alike(path)


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_measuring_does_a_learners_work(dataset, spec, monkeypatch):
    # It transposes in place, which the stand-in cannot.
    monkeypatch.setattr(torch.nn.init, "orthogonal_", lambda tensor, gain: torch.nn.init.normal_(tensor))
    worker = Worker(spec, dataset.layout, minibatch=8, no_grad=4, n_bars=60, n_samples=16)
    with second_device():
        step = TrainingStep(worker, str(SECOND))
        step.train()
        step.infer()
        step.market_vectors()
        assert step.table.device == SECOND
