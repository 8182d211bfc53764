import dataclasses

import torch

from ftray.pretraining.samples import draw_samples
from ftray.pretraining.trainer import Trainer, learning_rate, new_model
from tests.pretraining.conftest import ENCODER, SPEC


def model_of(dataset):
    return new_model(ENCODER, SPEC, dataset.layout)


def a_batch(dataset):
    layout, generator = dataset.layout, torch.Generator().manual_seed(0)
    windows = torch.randn(5, layout.n_series, layout.lookback, generator=generator)
    hidden = torch.rand(windows.shape, generator=generator) < 0.3
    return windows, hidden, torch.randn(5, layout.n_assets, generator=generator)


def test_the_loss_counts_hidden_cells_alone_and_divides_by_their_number(dataset):
    windows, hidden, volatility = a_batch(dataset)
    predictions = (windows + 0.5, volatility)
    predictions[0][~hidden] = 1e6
    losses = model_of(dataset).losses(predictions, (windows, volatility), hidden)
    masked, pooled = losses.means()
    torch.testing.assert_close(masked.item(), 0.5 * 0.5**2, rtol=1e-5, atol=1e-7)
    assert losses.n_masked == hidden.sum()
    assert pooled == 0


def test_nothing_hidden_is_no_loss_and_not_a_division_by_zero(dataset):
    windows, hidden, volatility = a_batch(dataset)
    losses = model_of(dataset).losses((windows + 1, volatility), (windows, volatility), hidden & False)
    assert losses.total(1.0) == 0


def test_every_feature_is_read_from_its_own_token(dataset):
    model, (windows, hidden, _) = model_of(dataset).eval(), a_batch(dataset)
    tokens = model.encoder.tokens(windows, hidden, model.mask_rows)[:, 1:]
    series, bar = 3, 6  # with patches of 4 bars: the second token of its series
    token = tokens[:, 2 * series + 1]
    expected = token @ model.decoder[series, bar] + model.decoder_bias[series, bar]
    torch.testing.assert_close(model(windows, hidden)[0][:, series, bar], expected, rtol=1e-4, atol=1e-5)


def test_both_losses_train_the_whole_market_tower_and_nothing_of_the_trial(dataset):
    model, (windows, hidden, volatility) = model_of(dataset), a_batch(dataset)
    model.losses(model(windows, hidden), (windows, volatility), hidden).total(0.5).backward()
    trained = {id(parameter) for parameter in model.trained_parameters()}
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, p in model.named_parameters() if id(p) in trained}


def test_some_hidden_cells_show_another_bar_of_the_same_feature(dataset):
    spec = dataclasses.replace(SPEC, resample=0.5)
    trainer = Trainer(spec, dataset, draw_samples(dataset, spec), model_of(dataset))
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
