"""YAML as its writers mean it: numbers are numbers, dates and clock times are text, and a key comes once."""

import pytest

from ftray.search.space import Space
from ftray.study.tree import load_tree
from ftray.yaml_reader import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("-2E+3", -2000.0),
        (".5", 0.5),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-4'", "1e-4"),
        ("12", 12),
        ("[1e-4, 1e-3]", [1e-4, 1e-3]),
        ("{choice: [1e-5, 1e-3]}", {"choice": [1e-5, 1e-3]}),
    ],
)
def test_a_value_is_what_it_looks_like(text, value):
    found = read_yaml(f"x: {text}")["x"]
    assert found == value and type(found) is type(value)


def test_numbers_without_a_dot_are_numbers_in_ranges_points_and_settings(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("trial: {ppo: {learning_rate: {choice: [1e-5, 1e-3]}}}\nsearch: {points: [{x: 1e-5}]}\n")
    tree = load_tree(file, ["trial.ppo.gamma={float: [5e-1, 9e-1]}"])
    space = Space(tree["trial"])
    assert space.params["trial/ppo/learning_rate"].distribution.choices == (1e-5, 1e-3)
    assert (space.params["trial/ppo/gamma"].distribution.low, tree["search"]["points"][0]["x"]) == (0.5, 1e-5)
