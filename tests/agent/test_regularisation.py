"""Options against overfitting: each does what it says, and nothing where it is off."""

import dataclasses
import math

import pytest
import torch

from ftray.agent.learner import adam
from ftray.agent.training import iterate, learner_module
from ftray.nets import MLPSpec, build_encoder, market_state_dict

from .test_learner import FT, PPO, training

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

MLP = MLPSpec(hidden=64, encoding_dim=64)


def test_weight_decay_shrinks_matrices_by_its_fraction_of_the_rate_and_leaves_all_else_alone():
    torch.manual_seed(0)
    shapes = {"head.weight": (3, 4), "head.bias": (3,), "norm.weight": (4,), "tokenizer.bias": (2, 3, 4)}
    parameters = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = adam(parameters, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for _ in range(2):
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    torch.testing.assert_close(parameters["head.weight"], before["head.weight"] * (1 - 0.01 * 0.5) ** 2)
    assert all(torch.equal(parameters[name], before[name]) for name in shapes if name != "head.weight")


def test_without_weight_decay_the_optimiser_is_adam_with_the_state_of_earlier_versions():
    optimizer = adam({"weight": torch.nn.Parameter(torch.ones(2, 2)), "bias": torch.nn.Parameter(torch.ones(2))}, 0.0)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam and len(group["params"]) == 2 and group["weight_decay"] == 0.0


def test_with_every_option_off_a_training_is_that_of_earlier_versions(data_folder):
    """The numbers are those of the version before these options."""
    with training(data_folder, encoder=MLP) as algorithm:
        learner, _ = algorithm.learner_group._learner, iterate(algorithm)
        metrics = iterate(algorithm)
        assert [type(one) for one in learner._optimizer_parameters] == [torch.optim.Adam]
    before = {
        "loss/policy": -0.00075557,
        "loss/value": 2.336386,
        "entropy": 2.823628,
        "kl": 3.152865e-05,
        "gradient_norm": 1.931687,
        "reward": -7.166682,
    }
    assert {name: metrics[name] for name in before} == pytest.approx(before, rel=1e-3)


def test_a_fine_tuned_tower_keeps_what_it_knows_and_all_other_matrices_decay(data_folder, dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, weights)
    with training(data_folder, dataclasses.replace(PPO, weight_decay=0.5), weights=weights) as algorithm:
        learner, module = algorithm.learner_group._learner, learner_module(algorithm)
        before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        for optimizer in learner._optimizer_parameters:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
        shrunk = set()
        for name, parameter in module.named_parameters():
            if not torch.equal(parameter, before[name]):
                torch.testing.assert_close(parameter, before[name] * (1 - PPO.learning_rate * 0.5))
                shrunk.add(name)
    heads = {f"{head}_head.{layer}.weight" for head in ("policy", "value") for layer in (0, 2)}
    assert shrunk == heads | {"encoder.account_weight", "encoder.projection.weight"}


def test_all_options_together_learn_in_parts_and_from_alternatives(data_folder):
    options = {"weight_decay": 1.0, "dropout": 0.3, "log_std": -1.0, "min_log_std": -1.0, "alternatives": 3}
    with training(data_folder, dataclasses.replace(PPO, **options), MLP, micro_batches=3) as algorithm:
        before = learner_module(algorithm).policy_head[0].weight.detach().clone()
        metrics = iterate(algorithm)
        assert not torch.equal(learner_module(algorithm).policy_head[0].weight, before)
    assert metrics["entropy"] >= 2 * (0.5 * math.log(2 * math.pi * math.e) - 1.0) - 1e-4


def test_a_pass_with_dropout_is_never_captured(data_folder, monkeypatch):
    for dropout in (0.0, 0.1):
        with (
            training(data_folder, dataclasses.replace(PPO, dropout=dropout), MLP) as algorithm,
            monkeypatch.context() as m,
        ):
            m.setattr("ftray.agent.learner.worth_a_graph", lambda *_: True)
            assert algorithm.learner_group._learner._is_captured() is (dropout == 0.0)
