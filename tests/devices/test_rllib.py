"""RLlib's learner with ours inside, on a second device: whole iterations, checkpoints, and what env runners get."""

import dataclasses

import pytest
import torch
from ray.rllib.core.learner.torch import torch_learner
from ray.rllib.env import single_agent_env_runner

from ftray.agent.training import check_start, iterate, learner_module, ppo_config
from ftray.agent.vectors import write_market_vectors
from ftray.nets import MLPSpec, build_encoder, market_state_dict
from ftray.trading import TradingSpec

from ..agent.test_learner import FT, PPO
from .second_device import SECOND, second_device

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]  # RLlib wants a Ray even without env runners

ENCODERS = {
    "late fusion": FT,
    "late fusion, frozen": dataclasses.replace(FT, pretrained="auto", frozen=True),
    "early fusion": dataclasses.replace(FT, fusion="early"),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}
PATHS = [
    pytest.param(FT, True, id="late fusion, env runners there"),
    *(pytest.param(spec, False, id=name, marks=pytest.mark.long) for name, spec in ENCODERS.items()),
]


@pytest.mark.parametrize(("spec", "acts_there"), PATHS)
def test_a_learner_on_a_gpu_learns_what_one_on_the_cpu_does_and_continues_from_its_checkpoint(
    dataset, data, spec, acts_there, tmp_path, monkeypatch
):
    given = {}
    if getattr(spec, "frozen", False):
        given["weights"] = tmp_path / "weights.pth"
        torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, given["weights"])
        given["market_vectors"] = write_market_vectors(spec, given["weights"], dataset, tmp_path)
    ppo = dataclasses.replace(PPO, train_batch_size=64, minibatch_size=32, epochs=1)

    def built():
        torch.manual_seed(0)
        return ppo_config(ppo, spec, TradingSpec(episode_bars=50), dataset=data, **given).build_algo()

    def learned(there: bool):
        algorithm = built()
        try:
            check_start(algorithm, weights=given.get("weights"))
            first = iterate(algorithm)
            algorithm.save_to_path(str(tmp_path / f"checkpoint-{there}"))
        finally:
            algorithm.stop()
        algorithm = built()
        try:
            algorithm.restore_from_path(str(tmp_path / f"checkpoint-{there}"))
            second = iterate(algorithm)
            module = learner_module(algorithm)
            assert (next(module.parameters()).device == SECOND) is there
            runner = algorithm.env_runner.module
            assert (next(runner.parameters()).device == SECOND) is (there and acts_there)
            return first, second, [p.detach().cpu() for p in module.parameters()]
        finally:
            algorithm.stop()

    *expected, weights = learned(False)
    with second_device() as device:
        for users in (torch_learner, single_agent_env_runner)[: 1 + acts_there]:
            monkeypatch.setattr(users, "get_device", lambda *given, **more: device)
        *found, weights_there = learned(True)
        for row, other in zip(expected, found, strict=True):
            for name in ("loss/policy", "loss/value", "entropy", "gradient_norm"):
                assert other[name] == pytest.approx(row[name], rel=1e-3, abs=1e-5)
        torch.testing.assert_close(weights_there, weights, rtol=1e-2, atol=1e-4)
