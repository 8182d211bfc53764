"""The module computes the same thing whichever way the market reaches it, and keeps the market out of its weights."""

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from ftray.agent import PPOSpec
from ftray.agent.module import FTPolicy
from ftray.agent.vectors import acting, market_vectors
from ftray.errors import SpecError, WeightsError
from ftray.nets import FTSpec, MLPSpec, build_encoder, market_state_dict, weights_fingerprint
from ftray.spec import to_mapping

FT = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8)
ENCODERS = {
    "ft": FT,
    "ft, early fusion": FTSpec(**{**to_mapping(FT), "fusion": "early"}),
    "ft, a query per asset": FTSpec(**{**to_mapping(FT), "readout": "assets"}),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}


def build(dataset, data_folder, spec, *, inference_only=False, **model_config) -> FTPolicy:
    torch.manual_seed(0)
    return RLModuleSpec(  # type: ignore[return-value]
        module_class=FTPolicy,
        observation_space=gymnasium.spaces.Box(0, 2**24, (dataset.layout.compact_size,), np.float32),
        action_space=gymnasium.spaces.Box(-1, 1, (dataset.layout.n_assets,), np.float32),
        inference_only=inference_only,
        model_config={"encoder": to_mapping(spec), "dataset": data_folder and str(data_folder), **model_config},
    ).build()


@pytest.fixture
def observations(dataset):
    """40 compact observations; some bars come several times, as several accounts may stand at one."""
    rng = np.random.default_rng(0)
    bars = rng.choice(dataset.table.decision_bars(dataset.windows.train)[:25], 40)
    account = rng.dirichlet(np.ones(dataset.layout.n_account), 40)
    return torch.from_numpy(np.concatenate([bars[:, None], account], axis=1).astype(np.float32))


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_compact_and_full_observations_have_the_same_encoding(dataset, data_folder, observations, spec):
    module = build(dataset, data_folder, spec).eval()
    bars, account = observations[:, 0].long().numpy(), observations[:, 1:].numpy()
    full = torch.from_numpy(dataset.table.observation(bars, account))
    torch.testing.assert_close(module.encode(observations), module.encoder.encode(full), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=list(ENCODERS))
def test_a_backtest_acts_as_the_module_would_step_by_step(dataset, data_folder, observations, spec):
    module = build(dataset, data_folder, spec).eval()
    torch.nn.init.normal_(module.policy_head[-1].weight, std=0.3)
    bars, account = observations[:, 0].long().numpy(), observations[:, 1:].numpy()
    ahead = acting(module, dataset, np.unique(bars))(bars, account)
    np.testing.assert_allclose(ahead, module.act(bars, account), rtol=1e-4, atol=1e-5)
    assert np.abs(ahead).max() <= 1.0 and ahead.std() > 0.01
    assert module.market_vectors is None


def test_market_vectors_stand_at_the_bars_asked_for_and_nowhere_else(dataset, data_folder):
    module = build(dataset, data_folder, FT).eval()
    bars = dataset.table.decision_bars(dataset.windows.validation)
    vectors = market_vectors(module.encoder, module.table, bars)
    assert vectors.shape == (len(dataset.candles), module.encoder.d_market)
    known = torch.isfinite(vectors).all(dim=1).numpy()
    np.testing.assert_array_equal(np.flatnonzero(known), bars)


def test_values_of_a_whole_batch_are_computed_without_gradients_and_equal_those_of_the_loss(
    dataset, data_folder, observations, monkeypatch
):
    monkeypatch.setattr("ftray.agent.module.BARS_PER_PASS", 7)
    module = build(dataset, data_folder, FT).train()
    batch = {Columns.OBS: observations}
    chunked = module.compute_values(batch)
    assert not chunked.requires_grad
    in_loss = module.compute_values(batch, embeddings=module.forward_train(batch)[Columns.EMBEDDINGS])
    assert in_loss.requires_grad
    torch.testing.assert_close(chunked, in_loss, rtol=1e-4, atol=1e-5)


def test_the_market_is_no_part_of_weights_or_syncs(dataset, data_folder):
    learner = build(dataset, data_folder, FT)
    parameters = sum(p.numel() * p.element_size() for p in learner.parameters())
    state = learner.get_state()
    assert sum(np.asarray(value).nbytes for value in state.values()) == parameters
    assert "table" not in state and learner.table.numel() == dataset.table.values.size
    runner = build(dataset, data_folder, FT, inference_only=True)
    assert sum(np.asarray(value).nbytes for value in runner.get_state(inference_only=True).values()) == parameters
    assert not runner.training


def test_full_observations_need_a_layout_and_no_dataset(dataset, data_folder, observations):
    compact = build(dataset, data_folder, FT).eval()
    full = build(dataset, None, FT, layout=dataset.layout.to_mapping()).eval()
    full.load_state_dict(compact.state_dict())
    bars, account = observations[:, 0].long().numpy(), observations[:, 1:].numpy()
    seen = torch.from_numpy(dataset.table.observation(bars, account))
    torch.testing.assert_close(full.encode(seen), compact.encode(observations), rtol=1e-4, atol=1e-5)


def test_a_misspelt_key_of_the_module_is_refused_with_the_nearest_right_one(dataset, data_folder):
    with pytest.raises(SpecError, match=r"no 'wieghts' in model_config; did you mean 'weights'\?"):
        build(dataset, data_folder, FT, wieghts="x.pth")
    with pytest.raises(SpecError, match="needs `dataset`"):
        build(dataset, None, FT)


def test_a_step_down_the_gradient_leaves_a_frozen_tower_as_it_was(dataset, data_folder, observations, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.manual_seed(7)
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, weights)
    frozen = FTSpec(**{**to_mapping(FT), "pretrained": str(weights), "frozen": True})
    module = build(dataset, data_folder, frozen, weights=str(weights))
    before = weights_fingerprint(market_state_dict(module.encoder))
    assert before == weights_fingerprint(torch.load(weights, weights_only=True)["encoder_state_dict"])
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    out = module.forward_train({Columns.OBS: observations})
    (out[Columns.ACTION_DIST_INPUTS].pow(2).sum() + out[Columns.EMBEDDINGS].pow(2).sum()).backward()
    heads = module.policy_head[0].weight.detach().clone()
    optimizer.step()
    assert weights_fingerprint(market_state_dict(module.encoder)) == before
    assert not torch.equal(module.policy_head[0].weight, heads)


def test_weights_of_another_shape_are_refused(dataset, data_folder, tmp_path):
    weights = tmp_path / "weights.pth"
    other = FTSpec(**{**to_mapping(FT), "d_token": 64})
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(other, dataset.layout))}, weights)
    with pytest.raises(WeightsError, match=r"64.*32"):
        build(dataset, data_folder, FT, weights=str(weights))


def test_the_log_standard_deviation_stays_in_range(dataset, data_folder, observations):
    module = build(dataset, data_folder, FT).eval()
    torch.nn.init.constant_(module.policy_head[-1].bias, 50.0)
    log_std = module.forward_inference({Columns.OBS: observations})[Columns.ACTION_DIST_INPUTS].chunk(2, -1)[1]
    assert log_std.max() == 1.0


def test_dropout_thins_what_both_heads_read_in_the_loss_and_nothing_anywhere_else(dataset, data_folder, observations):
    module = build(dataset, data_folder, FT, dropout=0.25).train()
    whole, batch = module.encode(observations), {Columns.OBS: observations}
    torch.manual_seed(1)
    out = module.forward_train(batch)
    thinned = out[Columns.EMBEDDINGS]
    seen, read = thinned != 0.0, whole != 0.0
    torch.testing.assert_close(thinned[seen], whole[seen] / 0.75)
    assert abs((seen & read).sum() / read.sum() - 0.75) < 0.03
    torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], module.policy_head(thinned))
    values = module.compute_values(batch, embeddings=thinned)
    torch.testing.assert_close(values, module.value_head(thinned).squeeze(-1))
    torch.manual_seed(1)
    assert torch.equal(module.forward_train(batch)[Columns.EMBEDDINGS], thinned)
    for forward in (module.forward_inference, module.forward_exploration):
        out = forward(batch)
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], module.policy_head(whole))
        torch.testing.assert_close(out[Columns.VF_PREDS], module.compute_values(batch))
    torch.testing.assert_close(module.compute_values(batch), module.value_head(whole).squeeze(-1))


def test_actions_begin_with_the_log_standard_deviation_asked_for_and_the_same_mean(dataset, data_folder, observations):
    found = {}
    for asked in (0.0, -1.5, 1.0):
        module = build(dataset, data_folder, ENCODERS["mlp"], log_std=asked).eval()
        mean, log_std = module.forward_inference({Columns.OBS: observations})[Columns.ACTION_DIST_INPUTS].chunk(2, -1)
        torch.testing.assert_close(log_std, torch.full_like(log_std, asked), atol=0.02, rtol=0.0)
        found[asked] = mean
    assert torch.equal(found[0.0], found[-1.5]) and torch.equal(found[0.0], found[1.0])


def test_no_log_standard_deviation_is_below_its_floor_and_the_mean_acts_the_same(dataset, data_folder, observations):
    bars, account = observations[:, 0].long().numpy(), observations[:, 1:].numpy()
    acted = []
    for floor in (-5.0, -1.0):
        module = build(dataset, data_folder, ENCODERS["mlp"], min_log_std=floor)
        torch.nn.init.constant_(module.policy_head[-1].bias[dataset.layout.n_assets :], -50.0)
        for forward in (module.forward_train, module.forward_exploration):
            log_std = forward({Columns.OBS: observations})[Columns.ACTION_DIST_INPUTS].chunk(2, -1)[1]
            assert (log_std == floor).all()
        acted.append(module.act(bars, account))
    assert (acted[0] == acted[1]).all()


def test_a_start_below_the_floor_is_refused_with_what_to_do():
    message = r"at least min_log_std, got log_std -2 and min_log_std -1; raise the one or lower the other"
    with pytest.raises(SpecError, match=message):
        PPOSpec(log_std=-2.0, min_log_std=-1.0)
    assert PPOSpec(log_std=-1.0, min_log_std=-1.0).min_log_std == -1.0


@pytest.mark.parametrize(("name", "value"), [("dropout", 1.0), ("min_log_std", -5.5), ("weight_decay", -0.1)])
def test_an_option_outside_its_range_is_refused(name, value):
    with pytest.raises(SpecError, match=name):
        PPOSpec(**{name: value})
