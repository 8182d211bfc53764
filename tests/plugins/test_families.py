"""A family is one table with one way to add to it."""

import pytest

from ftray.errors import PluginError
from ftray.families import Family, registered
from ftray.features import INDICATORS, Indicator
from ftray.market import MARKETS, Market
from ftray.nets import ENCODERS, MLPEncoder
from ftray.plugins import load_plugins
from ftray.spec import spec

from .conftest import FAMILIES
from .outside import INDICATOR, write


def body(ohlcv):
    return ohlcv[:, 3] / ohlcv[:, 0]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.noun)
def test_a_table_is_read_by_name_and_changed_by_register_alone(family):
    assert isinstance(family, Family) and len(family) == len(list(family)) > 1
    with pytest.raises(TypeError):
        family["mine"] = family[next(iter(family))]
    with pytest.raises(KeyError):
        family["mine"]


def test_a_name_that_another_module_has_is_refused_with_both_modules(tmp_path):
    write(tmp_path, "first", INDICATOR)
    write(tmp_path, "second", INDICATOR)
    load_plugins(["first"])
    with pytest.raises(PluginError, match="indicator 'body' of second must have another name: first has one already"):
        load_plugins(["second"])
    with pytest.raises(PluginError, match=r"'rsi' of tests.*: ftray has one already"):
        INDICATORS.register(Indicator("rsi", body, warm_up=0))


def test_a_module_that_is_executed_again_replaces_its_own_members():
    for warm_up in (1, 2):
        INDICATORS.register(Indicator("body", body, warm_up))
        assert INDICATORS["body"].warm_up == warm_up


def test_an_unknown_name_is_answered_with_the_nearest_one_all_known_ones_and_the_way_to_add_some():
    said = MARKETS.unknown("simulater")
    assert said.startswith(
        "no market 'simulater'; did you mean 'simulator'? Known: files, simulator; if a plug-in has it"
    )
    assert "`plugins`" in said and "--plugin" in said


def test_a_member_may_be_borrowed_for_a_test():
    with INDICATORS.having(Indicator("body", body, 0)), INDICATORS.having(Indicator("rsi", body, 0)):
        assert INDICATORS["body"].compute is INDICATORS["rsi"].compute is body
    assert "body" not in INDICATORS and INDICATORS["rsi"].warm_up > 0
    assert registered() == {}


@pytest.mark.parametrize("name", ["", "a b", "a/b", 5, None])
def test_a_member_without_a_proper_name_is_refused(name):
    with pytest.raises(PluginError, match=rf"the indicator .* must have a name of letters, .*, got {name!r}"):
        INDICATORS.register(Indicator(name, body, warm_up=0))
    with pytest.raises(PluginError, match=r"the indicator <function body .* got None"):
        INDICATORS.register(body)  # type: ignore[arg-type]


@spec
class WithoutKind:
    n_bars: int = 3


@spec
class WithAnyKind:
    kind: str = "any"


class NoSpec:
    kind = "plain"


@pytest.mark.parametrize(
    ("spec_class", "why"),
    [
        (WithoutKind, "WithoutKind must have a field like kind: Literal"),
        (WithAnyKind, "WithAnyKind must have a field like kind: Literal"),
        (NoSpec, "must be a class decorated with @ftray.spec.spec"),
    ],
)
def test_a_spec_class_that_no_study_file_could_choose_is_refused(spec_class, why):
    with pytest.raises(PluginError, match=why):
        MARKETS.register(Market(spec_class, lambda market: None, lambda market: ()))  # type: ignore[arg-type, return-value]


def test_an_encoder_whose_spec_does_not_say_how_wide_its_encoding_is_is_refused():
    from typing import Literal

    @spec
    class NarrowSpec:
        kind: Literal["narrow"] = "narrow"

    with pytest.raises(PluginError, match="NarrowSpec must have the field encoding_dim; it has: kind"):
        ENCODERS.register(type("Narrow", (MLPEncoder,), {"spec_class": NarrowSpec}))
