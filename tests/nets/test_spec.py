import pytest

from ftray.errors import SpecError
from ftray.nets import PRESETS, FTSpec, MLPSpec
from ftray.spec import parse


def test_a_width_that_the_heads_do_not_divide_names_both_and_the_nearest_valid_ones():
    with pytest.raises(SpecError, match=r"d_token 64 and n_heads 6; nearest: d_token 60 or 66, or n_heads 4"):
        FTSpec(d_token=64, n_heads=6)


def test_the_nearest_valid_width_stays_inside_the_range():
    with pytest.raises(SpecError, match=r"nearest: d_token 35, or n_heads 8"):
        FTSpec(d_token=32, n_heads=7)


@pytest.mark.parametrize(
    "wrong",
    [{"d_token": 31}, {"d_token": 193}, {"n_blocks": 5}, {"n_heads": 1}, {"encoding_dim": 255}, {"patch_length": 0}],
)
def test_values_outside_their_range_are_refused(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        FTSpec(**wrong)


def test_frozen_random_weights_are_refused():
    with pytest.raises(SpecError, match="pretrained"):
        FTSpec(frozen=True)
    assert FTSpec(frozen=True, pretrained="auto").frozen


def test_presets_are_the_published_ones():
    shapes = {n: (p.d_token, p.n_blocks, p.n_heads, p.encoding_dim) for n, p in PRESETS.items()}
    assert shapes == {"small": (32, 1, 2, 256), "balanced": (64, 2, 4, 512), "large": (128, 3, 8, 1024)}
    assert PRESETS["balanced"] == FTSpec()


def test_specs_parse_from_mappings():
    assert parse(MLPSpec, {"kind": "mlp", "hidden": 128}).hidden == 128
    with pytest.raises(SpecError, match="did you mean 'n_heads'"):
        parse(FTSpec, {"n_head": 2})
