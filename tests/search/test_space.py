"""A trial file with ranges is a conditional search space with stable names."""

import pickle

import optuna
import pytest

from ftray.errors import SpecError
from ftray.search.space import Space

TREE = {
    "encoder": {
        "choice": [
            {"kind": "mlp", "hidden": {"int": [64, 512, 64]}},
            {"kind": "ft", "d_token": {"choice": [32, 64]}, "pretrained": "none"},
            {"kind": "ft", "d_token": {"choice": [32, 64]}, "pretrained": "auto", "frozen": {"choice": [True, False]}},
        ]
    },
    "ppo": {"learning_rate": {"log": ["1e-5", 1e-3]}, "epochs": {"log": [1, 16]}, "gamma": {"float": [0.9, 0.99]}},
    "seed": 3,
}


def test_names_are_paths_and_the_ranges_are_typed():
    params = Space(TREE).params
    assert {name: param.extremes() for name, param in params.items()} == {
        "trial/encoder/kind": ("mlp", "ft pretrained=none", "ft pretrained=auto"),
        "trial/encoder/hidden": (64, 512),
        "trial/encoder/d_token": (32, 64),
        "trial/encoder/frozen": (True, False),
        "trial/ppo/learning_rate": (1e-5, 1e-3),
        "trial/ppo/epochs": (1, 16),
        "trial/ppo/gamma": (0.9, 0.99),
    }


def test_only_parameters_of_the_chosen_subtree_are_sampled_and_the_values_fill_the_same_tree_again():
    space, study = Space(TREE), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds = set()
    for _ in range(30):
        values, filled = space.sample(study.ask())
        kinds.add(values["trial/encoder/kind"])
        assert ("trial/encoder/hidden" in values) == (filled["encoder"]["kind"] == "mlp")
        assert ("trial/encoder/frozen" in values) == (filled["encoder"].get("pretrained") == "auto")
        assert space.fill(values) == filled
        assert filled["seed"] == 3 and 1e-5 <= filled["ppo"]["learning_rate"] <= 1e-3
    assert len(kinds) == 3


def test_the_corners_reach_both_ends_of_every_range_and_every_subtree():
    filled = list(Space(TREE).corners())
    assert {tree["encoder"]["kind"] for tree in filled} == {"mlp", "ft"}
    for section, key, ends in [
        ("ppo", "learning_rate", {1e-5, 1e-3}),
        ("ppo", "epochs", {1, 16}),
        ("encoder", "hidden", {64, 512}),
        ("encoder", "d_token", {32, 64}),
        ("encoder", "frozen", {True, False}),
    ]:
        values = {tree[section][key] for tree in filled if key in tree[section]}
        assert values >= ends and (len(values) == 2 or section == "ppo")


def test_the_corners_have_a_value_between_the_ends_of_real_numbers():
    tree = {"a": {"float": [1, 4]}, "b": {"float": [0, 1, 0.5]}, "c": {"log": [1.0, 9.0]}, "d": {"float": [2, 2]}}
    ends = {"a": {1, 4}, "b": {0, 1}, "c": {1, 9}, "d": {2}}
    values = {name: {filled[name] for filled in Space(tree).corners()} for name in tree}
    assert {name: len(values[name] - ends[name]) for name in tree} == {"a": 1, "b": 1, "c": 1, "d": 0}
    assert not any(value.is_integer() for name in tree for value in values[name] - ends[name])


def test_every_configuration_has_a_parameter_that_every_branch_has():
    conditional = {"trial/encoder/hidden", "trial/encoder/d_token", "trial/encoder/frozen"}
    assert Space(TREE).always == set(Space(TREE).params) - conditional
    everywhere = [{"kind": kind, "w": {"int": [1, 9]}, kind: {"int": [1, 2]}} for kind in ("a", "b")]
    assert Space({"e": {"choice": everywhere}}).always == {"trial/e/kind", "trial/e/w"}


def test_a_tree_without_ranges_has_one_corner_itself():
    assert list(Space({"seed": 1, "ppo": {"epochs": 2}}).corners()) == [{"seed": 1, "ppo": {"epochs": 2}}]


def test_whole_numbers_may_have_a_point():
    assert Space({"seed": {"int": [1.0, 5.0, 2.0]}}).params == Space({"seed": {"int": [1, 5, 2]}}).params


def test_a_space_can_be_pickled():
    assert pickle.loads(pickle.dumps(Space(TREE))).params == Space(TREE).params


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"seed": {"int": 3}}, r"^trial\.seed: a range needs a list"),
        ({"seed": {"int": [4, 1]}}, r"^trial\.seed: .*is no range"),
        ({"seed": {"int": [1, 2.5]}}, r"^trial\.seed: .*whole numbers"),
        ({"seed": {"int": [1, 4, 2, 7]}}, r"^trial\.seed: .*too many numbers"),
        ({"seed": {"int": ["1", 4]}}, r"^trial\.seed: .*whole numbers"),
        ({"seed": {"int": [1, 10**400]}}, r"^trial\.seed: .*is no range: must be a finite number"),
        ({"lr": {"float": [0.0, "1_0"]}}, r"^trial\.lr: .*is no range: must be a number, got '1_0'"),
        ({"seed": {"int": [True, 4]}}, r"^trial\.seed: .*takes numbers"),
        ({"seed": {"choise": [1, 2]}}, r"^trial\.seed: .*did you mean 'choice'"),
        ({"lr": {"log": [0.0, 1.0]}}, r"^trial\.lr: .*is no range"),
        ({"lr": {"float": ["a", 1.0]}}, r"^trial\.lr: .*is no range"),
        ({"e": {"choice": [{"kind": "mlp"}, 3]}}, r"^trial\.e: options must be all plain values or all mappings"),
        ({"e": {"choice": [[1], [2]]}}, r"^trial\.e: options must be plain values or mappings"),
        ({"e": {"choice": [{"kind": "mlp"}, {"kind": "mlp"}]}}, r"^trial\.e: two options look the same"),
        (
            {"e": {"choice": [{"kind": "a", "w": {"int": [1, 2]}}, {"kind": "b", "w": {"int": [1, 3]}}]}},
            r"^trial\.e\.w: the same search parameter with two ranges: a whole number from 1 to 2 and a whole .* to 3$",
        ),
    ],
)
def test_a_broken_range_is_refused_by_its_path(tree, message):
    with pytest.raises(SpecError, match=message):
        Space(tree)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"trial/encoder/d_tokn": 32}, "no such search parameter; did you mean 'trial/encoder/d_token'"),
        ({"trial/encoder/d_token": 48}, r"^search\.points\.0\.trial/encoder/d_token: must be one of 32, 64, got 48$"),
        ({"trial/ppo/epochs": 17}, "must be a whole number from 1 to 16, got 17$"),
        ({"trial/ppo/gamma": "high"}, "must be a number from 0.9 to 0.99, got 'high'$"),
    ],
)
def test_a_point_outside_the_space_is_refused(point, message):
    with pytest.raises(SpecError, match=message):
        Space(TREE).point(point, ("search", "points", "0"))
