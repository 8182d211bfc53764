import pytest
import torch

from ftray.features import ObservationLayout
from ftray.nets.masking import KINDS
from ftray.pretraining.baselines import mean_of
from ftray.pretraining.reconstruction import reconstruction

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi", "still"), lookback=30)


@pytest.fixture(scope="module")
def windows():
    values = torch.randn(40, 6, 30, generator=torch.Generator().manual_seed(0))
    values[:, 4:] = 0.0
    return values


@pytest.fixture(scope="module")
def scores(windows):
    def half_right(shown, mask):
        return torch.cat([shown[:, :2], shown[:, 2:] * 0.5], dim=1)

    return reconstruction({"mean": mean_of(torch.zeros(6)), "half": half_right}, windows, LAYOUT, batch_size=16)


def test_every_kind_of_mask_has_its_metrics(scores):
    assert tuple(scores) == KINDS
    assert set(scores["cells"]["half"]) == {"mse", "r2", "r2_by_indicator"}


@pytest.mark.parametrize("kind", KINDS)
def test_r2_is_the_share_of_the_means_error_that_is_saved(scores, kind):
    assert scores[kind]["half"]["r2_by_indicator"] == pytest.approx({"close": 1.0, "rsi": 0.75, "still": None})
    assert scores[kind]["mean"]["r2"] == 0.0
    ratio = scores[kind]["half"]["mse"] / scores[kind]["mean"]["mse"]
    assert scores[kind]["half"]["r2"] == pytest.approx(1 - ratio)


def test_visible_cells_do_not_count(windows):
    def right_where_hidden(shown, mask):
        return torch.where(mask, shown, shown + 1e3)

    found = reconstruction({"mean": mean_of(torch.zeros(6)), "x": right_where_hidden}, windows, LAYOUT, 16)
    assert {kind: found[kind]["x"]["mse"] for kind in KINDS} == dict.fromkeys(KINDS, 0.0)


def test_the_exam_does_not_depend_on_batches_or_on_the_callers_random_numbers(windows):
    def exam(batch_size):
        torch.manual_seed(batch_size)
        return reconstruction({"mean": mean_of(torch.zeros(6))}, windows, LAYOUT, batch_size)["spans"]["mean"]["mse"]

    assert exam(7) == pytest.approx(exam(40), rel=1e-9)
