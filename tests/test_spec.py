"""The door: what is valid passes unchanged, and everything else is refused by its full name."""

import dataclasses
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftray.errors import SpecError
from ftray.families import Family
from ftray.spec import Between, Count, Distinct, Fraction, Matching, NameIn, fingerprint, parse, spec, to_mapping


@spec
class Circle:
    kind: Literal["circle"] = "circle"
    radius: Annotated[float, Between(0.0, 10.0)] = 1.0


@spec
class Square:
    kind: Literal["square"] = "square"
    side: Count = 1


@spec
class Drawing:
    name: str
    shape: Circle | Square = Circle()
    share: Fraction | None = None
    tags: tuple[str, ...] = ()
    closed: bool = True

    def check(self) -> None:
        if self.share is not None and not self.closed:
            raise SpecError("needs a closed drawing", ("share",))


@dataclasses.dataclass(frozen=True)
class Colour:
    name: str


COLOURS = Family("colour", Colour("red"))


@spec
class Pen:
    width: Annotated[float, Between(above=0.0, below=2.0)] = 1.0
    code: Annotated[str, Matching("[A-Z]+", "capital letters")] | None = None
    key: Annotated[str, Matching("[a-z]+", "a key", secret=True)] = "a"
    colours: Annotated[tuple[Annotated[str, NameIn(COLOURS)], ...], Distinct("colour")] = ("red",)
    owners: Annotated[tuple[str, ...], Distinct("owner", fold=True)] = ("me",)


@given(
    name=st.text(),
    shape=st.one_of(
        st.floats(0, 10).map(lambda r: Circle(radius=r)), st.integers(1, 10**9).map(lambda s: Square(side=s))
    ),
    share=st.none() | st.floats(0, 1),
    tags=st.lists(st.text(), max_size=3).map(tuple),
)
def test_a_spec_survives_the_way_through_a_mapping(name, shape, share, tags):
    drawing = Drawing(name=name, shape=shape, share=share, tags=tags)
    assert parse(Drawing, to_mapping(drawing)) == drawing
    assert fingerprint(parse(Drawing, to_mapping(drawing))) == fingerprint(drawing)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"name": "a", "shap": {}}, r"^trial\.shap: no such key; did you mean 'shape'\?"),
        ({"name": "a", "shape": {"kind": "circle", "radios": 1}}, r"^trial\.shape\.radios: no such key; did you mean"),
        ({"name": "a", "shape": {"kind": "circle", "radius": 11}}, r"^trial\.shape\.radius: must be between 0 and 10"),
        ({"name": "a", "shape": {"kind": "square", "side": 0}}, r"^trial\.shape\.side: must be at least 1, got 0"),
        ({"name": "a", "shape": {"kind": "square", "side": True}}, r"^trial\.shape\.side: must be an int, got True"),
        ({"name": "a", "shape": {"kind": "square", "side": 1.5}}, r"^trial\.shape\.side: must be an int, got 1.5"),
        ({"name": "a", "shape": {"kind": "cube"}}, r"^trial\.shape\.kind: must be one of circle, square; got 'cube'"),
        (
            {"name": "a", "shape": {"kind": ["cube"]}},
            r"^trial\.shape\.kind: must be one of circle, square; got \['cube'\]",
        ),
        ({"name": "a", "shape": {"side": 2}}, r"^trial\.shape: must be a mapping with `kind: circle \| square`"),
        ({"name": "a", "share": float("nan")}, r"^trial\.share: must be a finite number, got nan"),
        ({"name": "a", "tags": "x"}, r"^trial\.tags: must be a list, got 'x'"),
        ({"name": "a", "tags": [1]}, r"^trial\.tags\.0: must be a str, got 1"),
        ({"name": "a", "closed": 1}, r"^trial\.closed: must be a bool, got 1"),
        ({}, r"^trial\.name: is required and missing"),
        ([], r"^trial: expected a mapping"),
    ],
)
def test_what_is_wrong_is_refused_with_its_full_path(mapping, message):
    with pytest.raises(SpecError, match=message):
        parse(Drawing, mapping, path=("trial",))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"width": 0}, r"^pen\.width: must be above 0 and below 2, got 0\.0"),
        ({"width": 2}, r"^pen\.width: must be above 0 and below 2, got 2\.0"),
        ({"code": "ABc"}, r"^pen\.code: must be capital letters; got 'ABc'"),
        ({"code": "AB\n"}, r"^pen\.code: must be capital letters"),
        ({"key": "PASSWORD"}, r"^pen\.key: must be a key$"),
        ({"colours": ["red", "rad"]}, r"^pen\.colours\.1: no colour 'rad'; did you mean 'red'"),
        ({"colours": ["red", "red"]}, r"^pen\.colours\.1: names 'red' twice"),
        ({"colours": []}, r"^pen\.colours: must name at least one colour, or be left out"),
        ({"owners": ["Me", "you", "mE"]}, r"^pen\.owners\.2: names 'mE' twice"),
    ],
)
def test_a_field_is_held_to_its_rule(mapping, message):
    with pytest.raises(SpecError, match=message):
        parse(Pen, mapping, path=("pen",))


def test_a_name_that_joins_a_table_later_is_known():
    with COLOURS.having(Colour("blue")):
        assert parse(Pen, {"colours": ["blue"]}).colours == ("blue",)


@spec
class Case:
    """A spec without a kind that may be left out of another."""

    lid: bool = True


@spec
class Box:
    case: Case | None = None


def test_a_spec_that_may_be_left_out_needs_no_kind():
    assert parse(Box, {"case": {"lid": False}}).case == Case(lid=False)
    assert parse(Box, {"case": None}).case is None and Box(case=Case()).case == Case()
    with pytest.raises(SpecError, match=r"^box\.case\.lit: no such key"):
        parse(Box, {"case": {"lit": False}}, path=("box",))


def test_a_mapping_without_a_kind_is_of_the_defaults_kind_if_it_fits():
    assert parse(Drawing, {"name": "a", "shape": {"radius": 2}}).shape == Circle(radius=2.0)
    assert parse(Drawing, {"name": "a", "shape": {}}).shape == Circle()


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert parse(Circle, {"radius": "1e-3"}).radius == 1e-3


@pytest.mark.parametrize("text", ["1_0e-3", " 1e-3", "1e-3\n", "infinity", "nan", "0x1", "١"])
def test_a_text_of_another_form_is_no_number(text):
    with pytest.raises(SpecError, match=r"^radius: must be a number, got "):
        parse(Circle, {"radius": text})


def test_construction_in_python_passes_the_same_door():
    with pytest.raises(SpecError, match=r"^radius: must be between 0 and 10, got 12"):
        Circle(radius=12.0)
    with pytest.raises(SpecError, match=r"^share: needs a closed drawing"):
        dataclasses.replace(Drawing(name="a", share=0.5), closed=False)


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Circle().radius = 2.0  # type: ignore[misc]


def test_every_change_changes_the_fingerprint():
    prints = {fingerprint(value) for value in (Circle(), Circle(radius=2.0), Square(), {"radius": 1.0}, [], "circle")}
    assert len(prints) == 6
