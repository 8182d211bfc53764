import pytest
import torch

from ftray.pretraining.baselines import fit_pca, interpolation, last_value, mean_of

X = float("nan")  # stands for a hidden cell, whose value no baseline may read
MEANS = torch.tensor([9.0])


def filled(predict, *cells):
    windows = torch.tensor([[cells]])
    mask = windows.isnan()
    return torch.where(mask, predict(windows.nan_to_num(-777.0), mask), windows).flatten().tolist()


@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        (mean_of, [9, 1, 9, 9, 4, 9]),
        (last_value, [9, 1, 1, 1, 4, 4]),
        (interpolation, [1, 1, 2, 3, 4, 4]),
    ],
)
def test_hidden_cells_are_filled_in_from_visible_ones_alone(predict, expected):
    assert filled(predict(MEANS), X, 1.0, X, X, 4.0, X) == expected


@pytest.mark.parametrize("predict", [mean_of, last_value, interpolation])
def test_a_series_hidden_whole_is_its_mean(predict):
    assert filled(predict(MEANS), X, X, X) == [9, 9, 9]


def low_rank_windows(n):
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(2, 4 * 5, generator=generator)
    noise = 0.01 * torch.randn(n, 20, generator=generator)
    return (torch.randn(n, 2, generator=generator) @ basis + noise + 3.0).view(n, 4, 5)


def test_pca_fills_in_what_its_components_explain():
    windows = low_rank_windows(200)
    mask = torch.rand(windows.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    pca = fit_pca(windows[:150], n_components=2)
    assert (pca(windows, mask) - windows)[150:][mask[150:]].square().mean() < 1e-3
    assert torch.allclose(pca(windows, mask), pca(windows.masked_fill(mask, 777.0), mask))
    assert pca.noise == pytest.approx(1e-4, rel=0.2)


def test_pca_of_a_window_hidden_whole_is_the_mean():
    windows = low_rank_windows(50)
    pca = fit_pca(windows, n_components=2)
    torch.testing.assert_close(pca(windows, windows > -1e9)[0].flatten(), pca.mean)


def test_pca_finds_at_most_as_many_components_as_windows_allow():
    assert fit_pca(low_rank_windows(5), n_components=64).scores(low_rank_windows(5)).shape == (5, 4)
