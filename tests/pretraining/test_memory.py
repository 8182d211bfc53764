"""The memory of a pre-training job: its formula held against what a real step and a real exam allocate."""

import pytest
import torch

from ftray.features import FeatureSpec, build_dataset
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import FTSpec
from ftray.pretraining import PretrainingSpec
from ftray.pretraining.baselines import fit_pca
from ftray.pretraining.memory import exam_bytes, pretraining_need, step_floats
from ftray.pretraining.samples import draw_samples
from ftray.pretraining.spec import tower_spec
from ftray.pretraining.trainer import MASKS, Trainer, new_model
from ftray.vram.table import FLOAT
from tests.vram.allocations import Allocations

SPEC = PretrainingSpec(device="cpu", batch_size=32, horizon=24)
N_BARS = 4_000


@pytest.fixture(scope="module")
def market():
    return build_dataset(SimulatorSpec(n_assets=3, n_bars=N_BARS), WindowsSpec(), FeatureSpec(lookback=24))


@pytest.mark.parametrize(
    "encoder",
    [
        FTSpec(),
        FTSpec(d_token=32, n_blocks=1, n_heads=2),
        FTSpec(patch_length=6),
        FTSpec(n_blocks=3, activation_checkpointing=True),
        FTSpec(readout="assets"),
        FTSpec(readout="assets", d_token=32, n_blocks=1, n_heads=2),
    ],
    ids=lambda e: (
        f"{e.d_token}/{e.n_blocks} patch {e.patch_length} {e.readout}{' checkpointed' * e.activation_checkpointing}"
    ),
)
def test_the_formula_bounds_what_a_real_step_holds(market, encoder):
    trainer = Trainer(SPEC, market, draw_samples(market, encoder, SPEC), new_model(encoder, SPEC, market.layout))
    trainer.model.train()
    masks = trainer._generator(MASKS, 1)

    def step(batch: int) -> None:
        chosen = slice(32 * batch, 32 * (batch + 1))
        trainer._step(1, batch, trainer.fit[0][chosen], trainer.fit[1][chosen], masks)
        trainer.optimizer.zero_grad(set_to_none=True)

    step(0)  # moments are in place from here on
    with Allocations() as allocations:
        step(1)
    need = pretraining_need(encoder, SPEC, market.layout, N_BARS)
    bound = FLOAT * SPEC.batch_size * step_floats(tower_spec(encoder), market.layout) + need.gradients
    assert allocations.peak <= bound <= 2.2 * allocations.peak
    assert need.weights == 2 * FLOAT * sum(p.numel() for p in trainer.model.parameters())
    assert need.data >= FLOAT * (trainer.table.numel() + sum(part.numel() for part in trainer.fit))


def test_the_formula_bounds_the_exam_at_the_end(market):
    """Its largest piece: principal components of four times as many windows as are filled in."""
    layout, n_windows = market.layout, 100
    windows = torch.randn(4 * n_windows, layout.n_series, layout.lookback)
    with Allocations() as allocations:
        fit_pca(windows, n_components=64)
    needed = allocations.peak + windows.nbytes
    assert needed <= exam_bytes(n_windows, layout) <= 2 * needed
