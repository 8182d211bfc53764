import dataclasses

import pytest
import torch

from ftray.nets import market_state_dict
from ftray.pretraining.model import EMBEDDING_SCALE, HUBER, time_basis
from ftray.pretraining.samples import draw_samples
from ftray.pretraining.trainer import Trainer, learning_rate, new_model
from tests.pretraining.conftest import ENCODER, SPEC, WITH_RETURNS

BY_ASSETS = dataclasses.replace(ENCODER, readout="assets")
ENCODERS = pytest.mark.parametrize("encoder", [ENCODER, BY_ASSETS], ids=lambda encoder: encoder.readout)


def model_of(dataset, encoder=ENCODER):
    return new_model(encoder, SPEC, dataset.layout)


def a_batch(dataset):
    layout, generator = dataset.layout, torch.Generator().manual_seed(0)
    windows = torch.randn(5, layout.n_series, layout.lookback, generator=generator)
    hidden = torch.rand(windows.shape, generator=generator) < 0.3
    return windows, hidden, torch.randn(5, layout.n_assets, generator=generator)


def test_the_loss_counts_hidden_cells_alone_and_divides_by_their_number(dataset):
    windows, hidden, volatility = a_batch(dataset)
    predictions = (windows + 0.5, volatility, windows[..., -1], volatility[:, :0])
    predictions[0][~hidden] = 1e6
    losses = model_of(dataset).losses(predictions, (windows, volatility), hidden)
    masked, pooled, present, returns = losses.means()
    torch.testing.assert_close(masked.item(), 0.5 * 0.5**2, rtol=1e-5, atol=1e-7)
    assert losses.n_masked == hidden.sum()
    assert (pooled, present, returns) == (0, 0, 0)


def test_large_errors_count_by_their_size_and_not_by_their_square(dataset):
    windows, hidden, volatility = a_batch(dataset)
    for error, expected in ((1.0, 0.5), (103.0, HUBER * (103.0 - HUBER / 2))):
        predictions = (windows + error, volatility, windows[..., -1], volatility[:, :0])
        masked, *_ = model_of(dataset).losses(predictions, (windows, volatility), hidden).means()
        torch.testing.assert_close(masked.item(), expected, rtol=1e-4, atol=1e-4)


def test_the_pooled_vector_is_asked_for_the_present_as_well(dataset):
    windows, hidden, volatility = a_batch(dataset)
    predictions = (windows, volatility, windows[..., -1] + 0.5, volatility[:, :0])
    losses = model_of(dataset).losses(predictions, (windows, volatility), hidden)
    torch.testing.assert_close(losses.total(0.5).item(), 0.5 * 0.5 * 0.5**2, rtol=1e-5, atol=1e-7)


def test_a_hidden_cell_shows_its_mask_row_and_never_a_zero(dataset):
    model, (windows, hidden, _) = model_of(dataset).eval(), a_batch(dataset)
    masked = model(windows, hidden)[0]
    assert torch.equal(masked, model(windows.masked_fill(hidden, 7.0), hidden)[0])
    zeroed = model(windows.masked_fill(hidden, 0.0), hidden & False)[0]
    assert not torch.isclose(masked, zeroed).any(dim=(1, 2)).all()
    assert (model.mask_rows.norm(dim=-1) > 0).all()


def test_every_series_and_patch_starts_from_one_orthonormal_basis_of_time(dataset):
    model = model_of(dataset)
    rows = model.encoder.tower.tokenizer.weight.detach()
    assert torch.equal(rows, rows[:1, :4].repeat(len(rows), 2, 1))
    torch.testing.assert_close(rows[0, :4] @ rows[0, :4].T, EMBEDDING_SCALE**2 / 4 * torch.eye(4), rtol=1e-5, atol=1e-5)


def test_a_time_basis_wider_than_the_token_keeps_the_slow_movements():
    basis = time_basis(60, 32)
    torch.testing.assert_close(basis.T @ basis, torch.eye(32), rtol=1e-4, atol=1e-4)
    slow, fast = torch.linspace(-1, 1, 60), torch.tensor([1.0, -1.0]).repeat(30)
    assert (slow @ basis).norm() > 0.99 * slow.norm()
    assert (fast @ basis).norm() < 0.5 * fast.norm()


def test_one_token_per_feature_starts_as_the_paper_has_it(dataset):
    literal = dataclasses.replace(ENCODER, patch_length=1)
    rows = new_model(literal, SPEC, dataset.layout).encoder.tower.tokenizer.weight
    assert len(torch.unique(rows)) == rows.numel()


@ENCODERS
def test_a_checkpoint_brings_back_encoder_and_decoder(dataset, encoder):
    ours, (windows, hidden, _) = model_of(dataset, encoder).eval(), a_batch(dataset)
    other = new_model(encoder, dataclasses.replace(SPEC, seed=9), dataset.layout).eval()
    assert not torch.equal(other(windows, hidden)[0], ours(windows, hidden)[0])
    state = market_state_dict(ours.encoder)
    other.load_checkpoint({"encoder_state_dict": state, "decoder_state_dict": ours.decoder_state_dict()})
    for theirs, expected in zip(other(windows, hidden), ours(windows, hidden), strict=True):
        assert torch.equal(theirs, expected)


def test_nothing_hidden_is_no_loss_and_not_a_division_by_zero(dataset):
    windows, hidden, volatility = a_batch(dataset)
    predictions = (windows + 1, volatility, windows[..., -1], volatility[:, :0])
    losses = model_of(dataset).losses(predictions, (windows, volatility), hidden & False)
    assert losses.total(1.0) == 0


def test_every_feature_is_read_from_its_own_token(dataset):
    model, (windows, hidden, _) = model_of(dataset).eval(), a_batch(dataset)
    tokens = model.encoder.tokens(windows, hidden, model.mask_rows)[:, 1:]
    series, bar = 3, 6  # with patches of 4 bars: the second token of its series
    token = tokens[:, 2 * series + 1]
    expected = token @ model.decoder[series, bar] + model.decoder_bias[series, bar]
    torch.testing.assert_close(model(windows, hidden)[0][:, series, bar], expected, rtol=1e-4, atol=1e-5)


def test_with_a_query_per_asset_an_assets_labels_are_read_from_its_own_query(dataset):
    layout = dataset.layout
    model = new_model(BY_ASSETS, WITH_RETURNS, layout).eval()
    windows, hidden, _ = a_batch(dataset)
    before = model(windows, hidden)
    with torch.no_grad():
        model.encoder.tower.readout.queries[1] += torch.randn(BY_ASSETS.d_token)
    after = model(windows, hidden)
    assert torch.equal(before[0], after[0])
    series = layout.n_indicators, layout.n_assets
    labels = len(ENCODER.horizons) * 2, layout.n_assets  # returns, then ranks, of all assets
    for there, here, shape in zip(before[1:], after[1:], ((1, layout.n_assets), series, labels), strict=True):
        changed = (there != here).unflatten(1, shape)
        assert not changed[..., 0].any() and changed[..., 1].all()


@ENCODERS
def test_both_losses_train_the_whole_market_tower_and_nothing_of_the_trial(dataset, encoder):
    model, (windows, hidden, volatility) = model_of(dataset, encoder), a_batch(dataset)
    model.losses(model(windows, hidden), (windows, volatility), hidden).total(0.5).backward()
    trained = {id(parameter) for parameter in model.trained_parameters()}
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, p in model.named_parameters() if id(p) in trained}


def test_some_hidden_cells_show_another_bar_of_the_same_feature(dataset):
    spec = dataclasses.replace(SPEC, resample=0.5)
    trainer = Trainer(spec, dataset, draw_samples(dataset, ENCODER, spec), model_of(dataset))
    lookback, table = dataset.layout.lookback, trainer.table
    windows = torch.stack([table[b - lookback + 1 : b + 1].T for b in trainer.fit[0][:8].tolist()])
    hidden = torch.rand(windows.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    shown, mask = trainer._resampled(windows, hidden, torch.Generator().manual_seed(2))
    assert torch.equal(shown[~hidden], windows[~hidden])
    assert not (mask & ~hidden).any()
    resampled = hidden & ~mask
    assert 0.4 < resampled.sum() / hidden.sum() < 0.6
    for _, series, bar in resampled.nonzero()[:50].tolist():
        assert (shown[resampled][:, None] != windows[resampled][:, None]).float().mean() > 0.5
        assert torch.isin(shown[:, series, bar], table[:, series]).all()


def test_the_learning_rate_warms_up_and_decays_to_zero():
    rates = [learning_rate(dataclasses.replace(SPEC, warm_up=0.1), step, 100) for step in range(100)]
    assert rates[0] == SPEC.learning_rate / 10
    assert max(rates) == rates[9] == rates[10] == SPEC.learning_rate
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3 * SPEC.learning_rate
