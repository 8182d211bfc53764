import itertools
import re

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


RANGES = {
    (FTSpec, "d_token"): (32, 192),
    (FTSpec, "n_blocks"): (1, 4),
    (FTSpec, "n_heads"): (2, 8),
    (FTSpec, "encoding_dim"): (256, 1024),
    (MLPSpec, "hidden"): (64, 2048),
    (MLPSpec, "encoding_dim"): (64, 1024),
}


@pytest.mark.parametrize(("kind", "name"), RANGES)
def test_both_ends_of_a_range_are_valid_and_one_beyond_is_refused_with_range_and_value(kind, name):
    low, high = RANGES[kind, name]
    for value in (low, high):
        assert getattr(kind(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(SpecError, match=f"^{name}: must be between {low} and {high}, got {value}$"):
            kind(**{name: value})


def test_a_patch_holds_at_least_one_bar():
    with pytest.raises(SpecError, match=r"^patch_length: must be at least 1, got 0$"):
        FTSpec(patch_length=0)


def test_an_unknown_fusion_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match=r"fusion: .*late.*early"):
        FTSpec(fusion="middle")  # type: ignore[arg-type]


def test_every_advice_on_width_and_heads_is_itself_valid():
    for d_token, n_heads in itertools.product(range(32, 193), range(2, 9)):
        try:
            FTSpec(d_token=d_token, n_heads=n_heads)
        except SpecError as error:
            message = str(error)
            assert d_token % n_heads and f"got d_token {d_token} and n_heads {n_heads}" in message
            widths = re.search(r"nearest: d_token (\d+)(?: or (\d+))?", message)
            assert widths
            for width in filter(None, widths.groups()):
                assert abs(int(width) - d_token) < n_heads
                FTSpec(d_token=int(width), n_heads=n_heads)
            for heads in re.findall(r"or n_heads (\d+)", message):
                FTSpec(d_token=d_token, n_heads=int(heads))
        else:
            assert d_token % n_heads == 0


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
