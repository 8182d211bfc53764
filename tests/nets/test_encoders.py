"""The contract of the whole family; a new member is one line in `VARIANTS`."""

import numpy as np
import pytest
import torch
from torch import nn

from ftray.features import ObservationLayout
from ftray.nets import ENCODERS, PRESETS, FTSpec, MLPSpec, build_encoder, gather_windows

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "macd"), lookback=7)
REFERENCE = ObservationLayout(tuple("ABCDEFG"), tuple(f"indicator_{i}" for i in range(14)), lookback=60)
VARIANTS = {
    "ft": FTSpec(d_token=32, n_heads=2, encoding_dim=256),
    "ft patches": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3),
    "ft early": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3, fusion="early"),
    "ft checkpointing": FTSpec(d_token=32, n_heads=2, encoding_dim=256, activation_checkpointing=True),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}
LIMITS = {"small": 0.4e6, "balanced": 1.8e6, "large": 7e6}


@pytest.fixture(params=VARIANTS)
def encoder(request):
    torch.manual_seed(0)
    return build_encoder(VARIANTS[request.param], LAYOUT)


def samples(n=5):
    generator = torch.Generator().manual_seed(1)
    shape = (n, LAYOUT.n_series, LAYOUT.lookback)
    return torch.randn(shape, generator=generator), torch.rand((n, LAYOUT.n_account), generator=generator)


def test_every_kind_of_spec_has_an_encoder():
    assert set(ENCODERS) == {spec.kind for spec in VARIANTS.values()}


def test_an_encoding_is_as_wide_as_the_spec_says(encoder):
    windows, account = samples()
    assert encoder(windows, account).shape == (5, encoder.spec.encoding_dim) == (5, encoder.encoding_dim)
    assert encoder.market(windows).shape == (5, encoder.d_market)


def test_a_full_observation_is_sliced_through_the_layout(encoder):
    windows, account = samples()
    observation = torch.cat([account, windows.flatten(1)], dim=1)
    torch.testing.assert_close(encoder.encode(observation), encoder(windows, account))


def test_samples_of_a_batch_do_not_touch_each_other(encoder):
    windows, account = samples()
    torch.testing.assert_close(encoder(windows, account)[2:3], encoder(windows[2:3], account[2:3]), rtol=0, atol=1e-6)


def test_training_mode_changes_nothing_because_ppo_compares_two_passes(encoder):
    windows, account = samples()
    assert torch.equal(encoder.train()(windows, account), encoder.eval()(windows, account))


def test_a_shared_market_vector_and_the_account_make_the_encoding(encoder):
    windows, account = samples()
    if encoder.shares_bars:
        torch.testing.assert_close(encoder.fuse(encoder.market(windows), account), encoder(windows, account))
    else:
        with pytest.raises(TypeError, match="early fusion"):
            encoder.fuse(encoder.market(windows), account)


def test_the_account_changes_the_encoding(encoder):
    windows, account = samples()
    assert not torch.allclose(encoder(windows, account), encoder(windows, account.flip(0)))


def test_gradients_reach_every_parameter(encoder):
    encoder(*samples()).square().sum().backward()
    missed = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # Softmax drops what all keys have in common: a key bias has no effect, in the paper's model neither.
    assert [name for name in missed if not name.endswith("key.bias")] == []


def test_market_parameters_are_those_that_the_market_vector_depends_on(encoder):
    encoder.market(samples()[0]).square().sum().backward()
    reached = {name for name, p in encoder.named_parameters() if p.grad is not None}
    market = {id(p) for p in encoder.market_parameters()}
    assert reached <= {name for name, p in encoder.named_parameters() if id(p) in market}


def test_gathered_windows_are_those_of_the_table():
    table = torch.arange(60.0).reshape(20, 3)
    windows = gather_windows(table, torch.tensor([4, 19]), 5)
    every = np.lib.stride_tricks.sliding_window_view(table.numpy(), 5, axis=0)
    np.testing.assert_array_equal(windows.numpy(), every[[0, 15]])


@pytest.mark.parametrize("preset", PRESETS)
def test_an_actor_critic_at_5888_features_keeps_its_parameter_limit(preset):
    assert REFERENCE.size == 5_888
    spec = PRESETS[preset]
    with torch.device("meta"):
        heads = [nn.Linear(spec.encoding_dim, spec.encoding_dim) for _ in range(2)]
        heads += [nn.Linear(spec.encoding_dim, 2 * REFERENCE.n_assets), nn.Linear(spec.encoding_dim, 1)]
        modules = nn.ModuleList([build_encoder(spec, REFERENCE), *heads])
    assert sum(p.numel() for p in modules.parameters()) <= LIMITS[preset]
