import math

import pytest
import torch

from ftray.pretraining.probes import PROBES, minimise
from ftray.pretraining.ridge import CHUNK, RIDGE_PENALTIES, Split, predict, ridge, ridge_losses


def samples(n, width, n_labels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, width, generator=generator, dtype=torch.float64) + 3.0
    truth = torch.randn(width, n_labels, generator=generator, dtype=torch.float64) / width**0.5
    return inputs, inputs @ truth + torch.randn(n, n_labels, generator=generator, dtype=torch.float64) - 5.0


@pytest.mark.parametrize("width", [5, 90], ids=["few inputs", "more inputs than samples"])
@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_closed_form_is_what_gradient_descent_finds(width, penalty):
    inputs, labels = samples(60, width)
    (model,) = ridge(inputs, labels, [penalty])

    # Its objective is the mean over samples and labels, plus half of its penalty.
    descended = minimise(PROBES["volatility"].loss, inputs, labels, 2, 2 * width * penalty / labels.shape[1])
    torch.testing.assert_close(predict(inputs, model[None])[0], predict(inputs, descended[None])[0], atol=5e-3, rtol=0)


def test_both_dimensions_solve_the_same_equations():
    inputs, labels = samples(40, 39)
    doubled = torch.cat([inputs, inputs], dim=1) / 2**0.5  # more inputs than samples, and the same products
    one, other = ridge(inputs, labels, [0.02]), ridge(doubled, labels, [0.01])
    torch.testing.assert_close(predict(inputs, one), predict(doubled, other))


def test_inputs_are_summed_over_chunks_whatever_their_precision():
    inputs, labels = samples(50, 2 * CHUNK + 7)
    exact, single = (ridge(one, labels, RIDGE_PENALTIES) for one in (inputs, inputs.float()))
    assert exact.shape == (len(RIDGE_PENALTIES), inputs.shape[1] + 1, 2)
    x = inputs - inputs.mean(dim=0)
    expected = x.mT @ torch.linalg.solve(
        x @ x.mT + 50 * inputs.shape[1] * RIDGE_PENALTIES[3] * torch.eye(50, dtype=torch.float64),
        labels - labels.mean(dim=0),
    )
    torch.testing.assert_close(exact[3, :-1], expected)
    torch.testing.assert_close(single, exact, atol=1e-5, rtol=1e-3)


def test_an_infinite_penalty_leaves_the_mean():
    inputs, labels = samples(20, 3)
    (model,) = ridge(inputs, labels, [math.inf])
    assert torch.equal(model, torch.cat([torch.zeros(3, 2), labels.mean(dim=0, keepdim=True)]))


def split(n):
    tuned = torch.arange(n) >= 0.8 * n
    return Split(tuned, ~tuned)


def test_each_set_of_labels_takes_its_own_penalty():
    inputs, labels = samples(400, 5)
    vectors = inputs[:300], inputs[300:]
    turned = torch.where(split(300).tuned[:, None], -labels[:300] - 10.0, labels[:300])
    sets = {"lasting": (labels[:300], labels[300:]), "turning": (turned, labels[300:])}
    found = {name: torch.from_numpy(one) for name, one in ridge_losses(vectors, sets, split(300)).items()}
    for name, pair in sets.items():
        alone = ridge_losses(vectors, {name: pair}, split(300))[name]
        torch.testing.assert_close(found[name], torch.from_numpy(alone))
    assert found["lasting"].mean() < 0.9 * labels[300:].var(dim=0).mean()
    # What misleads on the tuned samples is not used at all.
    torch.testing.assert_close(found["turning"], (labels[300:] - turned.mean(dim=0)).square().mean(dim=1))
