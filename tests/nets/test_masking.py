import pytest
import torch

from ftray.errors import SpecError
from ftray.nets import MaskSpec, draw_mask

SHAPE = (400, 10, 24)


def only(kind):
    return MaskSpec(**dict.fromkeys(("cells", "spans", "series", "bars"), 0.0) | {kind: 1.0})


def mask(spec, ratio=0.3, seed=0, shape=SHAPE):
    return draw_mask(spec, ratio, shape, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["cells", "spans", "series", "bars"])
@pytest.mark.parametrize("ratio", [0.0, 0.15, 0.5])
def test_every_kind_hides_the_ratio_on_average(kind, ratio):
    assert mask(only(kind), ratio).float().mean().item() == pytest.approx(ratio, abs=0.02)


def test_spans_hide_the_first_bars_as_often_as_the_others():
    by_bar = mask(only("spans")).float().mean(dim=(0, 1))
    torch.testing.assert_close(by_bar, torch.full((24,), 0.3), rtol=0, atol=0.05)


def test_spans_are_runs_of_at_least_their_length_except_at_the_edges():
    hidden = mask(MaskSpec(cells=0, series=0, bars=0, span_length=4))
    inside = torch.nn.functional.pad(hidden, (4, 4), value=True)  # a run may continue outside the window
    for row in inside.flatten(0, 1)[:200]:
        values, lengths = row.unique_consecutive(return_counts=True)
        assert (lengths[values] >= 4).all()


def test_series_are_hidden_whole():
    hidden = mask(only("series"))
    assert torch.equal(hidden.any(dim=2), hidden.all(dim=2))


def test_bars_are_hidden_across_all_series():
    hidden = mask(only("bars"))
    assert torch.equal(hidden.any(dim=1), hidden.all(dim=1))


def test_kinds_are_mixed_in_their_proportions():
    hidden = mask(MaskSpec(cells=0, spans=0, series=3, bars=1))
    by_series = (hidden.any(dim=2) == hidden.all(dim=2)).all(dim=1)
    assert by_series.float().mean().item() == pytest.approx(0.75, abs=0.06)


def test_the_same_generator_state_draws_the_same_mask():
    assert torch.equal(mask(MaskSpec(), seed=3), mask(MaskSpec(), seed=3))
    assert not torch.equal(mask(MaskSpec(), seed=3), mask(MaskSpec(), seed=4))


def test_spans_longer_than_the_lookback_are_the_lookback():
    assert mask(MaskSpec(cells=0, series=0, bars=0, span_length=100), shape=(4, 3, 5)).shape == (4, 3, 5)


def test_no_kind_at_all_is_refused():
    with pytest.raises(SpecError, match="cells, spans, series, bars"):
        MaskSpec(cells=0, spans=0, series=0, bars=0)
