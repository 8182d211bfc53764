"""Every encoder keeps the contract of its family; a new member is one line in `VARIANTS`."""

import numpy as np
import pytest
import torch
from torch import nn

from ftray.features import ObservationLayout
from ftray.nets import ENCODERS, PRESETS, FTSpec, MLPSpec, build_encoder, gather_windows
from ftray.testing import EncoderContract
from ftray.testing.encoders import samples

REFERENCE = ObservationLayout(tuple("ABCDEFG"), tuple(f"indicator_{i}" for i in range(14)), lookback=60)
VARIANTS = {
    "ft": FTSpec(d_token=32, n_heads=2, encoding_dim=256),
    "ft patches": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3),
    "ft early": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3, fusion="early"),
    "ft assets": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3, readout="assets"),
    "ft assets early": FTSpec(d_token=32, n_heads=2, encoding_dim=256, fusion="early", readout="assets"),
    "ft checkpointing": FTSpec(d_token=32, n_heads=2, encoding_dim=256, activation_checkpointing=True),
    "ft forecasts": FTSpec(d_token=32, n_heads=2, encoding_dim=256, patch_length=3, readout="forecasts"),
    "mlp": MLPSpec(hidden=64, encoding_dim=64),
}
LIMITS = {"small": 0.4e6, "balanced": 1.8e6, "large": 7e6}


class TestEveryEncoder(EncoderContract):
    without_effect = ("key.bias",)
    """Softmax drops what all keys have in common, in the paper's model, too."""

    @pytest.fixture(autouse=True, params=VARIANTS)
    def member(self, request):
        self.spec = VARIANTS[request.param]
        self.encoder = ENCODERS[self.spec.kind]

    def test_it_is_built_by_its_kind(self):
        assert type(build_encoder(self.spec, REFERENCE)) is self.encoder

    def test_what_cannot_be_fused_says_why(self):
        encoder, (windows, account) = self.built(), samples()
        if not encoder.shares_bars:
            with pytest.raises(TypeError, match="early fusion"):
                encoder.fuse(encoder.market(windows), account)


def test_every_kind_of_spec_has_an_encoder():
    assert set(ENCODERS) == {spec.kind for spec in VARIANTS.values()}


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
