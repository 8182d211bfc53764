"""The JSON Schema and the parser agree: what one accepts the other accepts, and mistakes fail in both at their place.

Rules between fields are the parser's alone; `ftray.search.json_schema` lists them.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ftray.cli import main
from ftray.errors import SpecError
from ftray.families import Family
from ftray.search.json_schema import Hint, SchemaWriter
from ftray.search.samplers import SAMPLERS
from ftray.spec import Between, Count, NameIn, spec
from ftray.study import parse_study
from ftray.study.json_schema import study_schema
from ftray.study.stopping import SCHEDULERS
from ftray.trial import TrialSpec

from ..search.test_space import TREE
from .tiny import TINY

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "tune_configs").glob("*.yaml"))
FIRST_LINE = "# yaml-language-server: $schema=study.schema.json\n"

STUDY = Draft202012Validator(study_schema())
TRIAL = Draft202012Validator(study_schema(ranges=False))


def places(tree: Any, validator: Draft202012Validator = STUDY) -> list[str]:
    """Where a schema finds mistakes."""
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(tree)]


def test_the_shipped_schema_is_what_the_verb_prints(capsys):
    assert main(["schema"]) == 0
    shipped = (ROOT / "tune_configs" / "study.schema.json").read_text()
    assert capsys.readouterr().out == shipped, "write it again: ftray schema > tune_configs/study.schema.json"


def test_the_verb_prints_a_schema_of_trial_files(capsys):
    assert main(["schema", "--trial"]) == 0
    assert json.loads(capsys.readouterr().out) == study_schema(ranges=False)


@pytest.mark.parametrize("validator", [STUDY, TRIAL])
def test_the_schema_is_one_of_its_draft(validator):
    Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("path", [*CONFIGS, ROOT / ".ci" / "tiny_1h.yaml"], ids=lambda path: path.stem)
def test_a_shipped_file_validates(path):
    tree = yaml.safe_load(path.read_text())
    assert places(tree) == []
    assert (places(tree, TRIAL) == []) == (not parse_study(tree).space.params)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_file_names_its_schema(path):
    assert path.read_text().startswith(FIRST_LINE)


def stored_study() -> dict[str, Any]:
    stored = json.loads((ROOT / "tests" / "runs" / "format_1" / "study.json").read_text())["study"]
    return {key: stored[key] for key in ("trial", "search")}


VALID: dict[str, Any] = {
    "tiny": TINY,
    "every kind of range": {"trial": {key: TREE[key] for key in ("encoder", "ppo", "seed")}},
    "stored in a run folder": stored_study(),
    "nothing": {},
    "sections without a value": {"trial": None, "search": None},
    "the default's kind": {"trial": {"encoder": {"patch_length": 12}, "windows": {"test": 0.1}, "market": {}}},
    "a searched kind": {"trial": {"encoder": {"kind": {"choice": ["mlp", "ft"]}, "encoding_dim": {"int": [256, 512]}}}},
    "a choice of subtrees within one": {
        "trial": {
            "encoder": {
                "choice": [
                    {"kind": "mlp"},
                    {"kind": "ft", "n_blocks": {"int": [1, 4]}, "patch_length": {"log": [1, 60]}},
                ]
            },
            "features": {"choice": [{"lookback": 24}, {"lookback": 48, "clip": {"choice": [4, 8]}}]},
        }
    },
    "no limit among options": {"trial": {"pretraining": {"patience": {"choice": [None, 90]}}}},
    "a number as text": {"trial": {"ppo": {"learning_rate": "1e-4", "entropy": {"log": ["1e-5", 0.01]}}}},
    "objectives and constraints": {
        "search": {
            "objectives": [
                {"metric": "validation/sharpe", "direction": "maximize"},
                {"metric": "validation/max_drawdown", "direction": "minimize"},
            ],
            "constraints": ["validation/max_drawdown <= 0.3", "validation/turnover<=2e3"],
        }
    },
    "pre-training": {
        "trial": {"encoder": {"pretrained": "auto"}},
        "search": {"job": "pretraining", "objective": "validation_loss"},
    },
    "a database": {"search": {"storage": "postgresql://me@host:5432/studies?sslmode=require"}},
    "budgets": {"search": {"budget": {"hours": 8, "gpu_hours": None}, "patience_trials": 20, "storage": None}},
    **{f"sampler {name}": {"search": {"sampler": name}} for name in SAMPLERS},
    **{f"sampler kind {name}": {"search": {"sampler": {"kind": name}}} for name in SAMPLERS},
    **{f"scheduler {name}": {"trial": {"seeds": 9}, "search": {"scheduler": name}} for name in SCHEDULERS},
}


@pytest.mark.parametrize("tree", VALID.values(), ids=VALID)
def test_what_the_parser_accepts_validates(tree):
    parse_study(tree)
    assert places(tree) == []


MISTAKES: dict[str, list[tuple[str, str]]] = {
    "unknown key": [
        ("trail: {}", "trail"),
        ("trial: {ppo: {epoch: 3}}", "trial.ppo.epoch"),
        ("search: {n_trial: 3}", "search.n_trial"),
        ("trial: {trading: {fee: 0.001}}", "trial.trading.fee"),
        ("trial: {pretraining: {masks: {cell: 1}}}", "trial.pretraining.masks.cell"),
        ("search: {budget: {hour: 1}}", "search.budget.hour"),
    ],
    "wrong type": [
        ("trial: {ppo: {epochs: four}}", "trial.ppo.epochs"),
        ("trial: {ppo: {gamma: high}}", "trial.ppo.gamma"),
        ("trial: {onnx: 1}", "trial.onnx"),
        ("trial: {features: {indicators: rsi}}", "trial.features.indicators"),
        ("trial: {features: 3}", "trial.features"),
        ("trial: {ppo: {epochs: null}}", "trial.ppo.epochs"),
        ("trial: {seeds: 1.5}", "trial.seeds"),
        ("trial: {market: {kind: files, path: 3}}", "trial.market.path"),
        ("trial: [1]", "trial"),
        ("search: {points: [3]}", "search.points.0"),
    ],
    "out of range": [
        ("trial: {ppo: {gamma: 1.5}}", "trial.ppo.gamma"),
        ("trial: {ppo: {reward_scale: 0}}", "trial.ppo.reward_scale"),
        ("trial: {seeds: 0}", "trial.seeds"),
        ("trial: {windows: {test: 1.0}}", "trial.windows.test"),
        ("trial: {encoder: {kind: ft, n_blocks: 5}}", "trial.encoder.n_blocks"),
        ("search: {scheduler: {kind: wilcoxon, p: 0}}", "search.scheduler.p"),
        ("search: {budget: {hours: -1}}", "search.budget.hours"),
    ],
    "no such name": [
        ("trial: {trading: {reward: log_grwth}}", "trial.trading.reward"),
        ("trial: {features: {indicators: [rsi, rsj]}}", "trial.features.indicators.1"),
        ("trial: {trading: {rules: {fill: high}}}", "trial.trading.rules.fill"),
        ("search: {objective: validation/sharp}", "search.objective"),
        ("search: {objective: validation/exposure}", "search.objective"),
        ("search: {job: pretraining, objective: reward}", "search.objective"),
        ("search: {objectives: [{metric: sharpe, direction: maximize}]}", "search.objectives.0.metric"),
        ("search: {sampler: tpee}", "search.sampler"),
        ("search: {scheduler: ashax}", "search.scheduler"),
    ],
    "wrong form": [
        ("name: a/b", "name"),
        ("name: .hidden", "name"),
        ("trial: {market: {kind: simulator, interval: 1 hour}}", "trial.market.interval"),
        ("trial: {encoder: {pretrained: ''}}", "trial.encoder.pretrained"),
        ("search: {constraints: [validation/sharpe < 1]}", "search.constraints.0"),
        ("search: {storage: 'mysql://host/db'}", "search.storage"),
        ("search: {storage: 'postgresql://me:secret@host/db'}", "search.storage"),
        ("search: {storage: 'postgresql://host/db?password=secret'}", "search.storage"),
        ("trial: {features: {indicators: []}}", "trial.features.indicators"),
        ("trial: {features: {indicators: [rsi, rsi]}}", "trial.features.indicators"),
    ],
    "bad range": [
        ("trial: {ppo: {gamma: {float: [0.5, 1.5]}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {gamma: {flaot: [0.5, 0.9]}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {gamma: {float: 0.5}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {gamma: {float: [0.5]}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {gamma: {float: [0.5, 0.9, 0.1, 0.1]}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {gamma: {float: [0.5, 0.9], log: [0.5, 0.9]}}}", "trial.ppo.gamma"),
        ("trial: {ppo: {epochs: {int: [1, 2.5]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {int: [true, 4]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {int: [1, 4, 0]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {int: [0, 4]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {float: [1, 4]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {choice: [1, two]}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {epochs: {choice: []}}}", "trial.ppo.epochs"),
        ("trial: {ppo: {entropy: {log: [0, 1]}}}", "trial.ppo.entropy"),
        ("trial: {onnx: {int: [0, 1]}}", "trial.onnx"),
        ("trial: {trading: {reward: {choice: [log_growth, high]}}}", "trial.trading.reward"),
        ("trial: {encoder: {choice: [{kind: mlp}, 3]}}", "trial.encoder"),
        ("trial: {features: {choice: [3, 4]}}", "trial.features"),
        ("search: {n_trials: {int: [1, 4]}}", "search.n_trials"),
        ("trial: {features: {indicators: {choice: [[rsi], [cci]]}}}", "trial.features.indicators"),
    ],
    "a range in what judges a trial": [
        ("trial: {seed: {int: [0, 3]}}", "trial.seed"),
        ("trial: {seeds: {choice: [3]}}", "trial.seeds"),
        ("trial: {trading: {rules: {fee: {log: [1e-4, 1e-2]}}}}", "trial.trading.rules.fee"),
        ("trial: {trading: {rules: {fill: {choice: [open, close]}}}}", "trial.trading.rules.fill"),
        ("trial: {trading: {rules: {choice: [{fee: 0.0}, {fee: 0.01}]}}}", "trial.trading.rules"),
        ("trial: {trading: {choice: [{rules: {fee: {choice: [0.0]}}}]}}", "trial.trading"),
        ("trial: {market: {choice: [{kind: simulator}, {kind: files, path: x}]}}", "trial.market"),
        ("trial: {market: {kind: {choice: [simulator]}}}", "trial.market.kind"),
        ("trial: {market: {n_bars: {int: [2000, 4000]}}}", "trial.market.n_bars"),
        ("trial: {windows: {purge: {choice: [null, 90]}}}", "trial.windows.purge"),
        ("trial: {windows: {kind: walk_forward, n_folds: {choice: [2, 4]}}}", "trial.windows.n_folds"),
        ("trial: {windows: {choice: [{test: 0.1}, {kind: walk_forward}]}}", "trial.windows"),
    ],
    "missing key": [
        ("trial: {market: {kind: files}}", "trial.market.path"),
        ("search: {objectives: [{metric: validation/sharpe}]}", "search.objectives.0.direction"),
    ],
    "missing kind": [
        ("trial: {encoder: {hidden: 64}}", "trial.encoder"),
        ("trial: {windows: {n_folds: 4}}", "trial.windows"),
        ("search: {scheduler: {grace: 3}}", "search.scheduler"),
        ("search: {sampler: {population_size: 9}}", "search.sampler"),
        ("trial: {encoder: {choice: [{kind: mlp}, {hidden: 64}]}}", "trial.encoder"),
    ],
    "unknown kind": [
        ("trial: {encoder: {kind: gru}}", "trial.encoder.kind"),
        ("trial: {market: {kind: feed}}", "trial.market.kind"),
        ("search: {sampler: {kind: tpee}}", "search.sampler.kind"),
        ("trial: {encoder: {kind: {choice: [mlp, gru]}}}", "trial.encoder.kind"),
    ],
    "wrong member's field": [
        ("trial: {encoder: {kind: mlp, d_token: 64}}", "trial.encoder.d_token"),
        ("trial: {windows: {kind: walk_forward, n_groups: 4}}", "trial.windows.n_groups"),
        ("trial: {encoder: {choice: [{kind: ft}, {kind: mlp, frozen: true}]}}", "trial.encoder.frozen"),
        ("search: {sampler: {kind: tpe, crossover: 0.5}}", "search.sampler.crossover"),
        ("trial: {encoder: {kind: {choice: [ft, mlp]}, d_token: 64}}", "trial.encoder.d_token"),
    ],
}


@pytest.mark.parametrize(
    ("text", "path"),
    [pytest.param(*one, id=f"{mistake}: {one[0]}") for mistake, all_ in MISTAKES.items() for one in all_],
)
def test_a_mistake_fails_in_schema_and_parser_at_its_place(text, path):
    tree = yaml.safe_load(text)
    with pytest.raises(SpecError) as refused:
        parse_study(tree)
    assert ".".join(refused.value.path).startswith(path)
    parent = path.rpartition(".")[0]
    assert (found := places(tree))
    assert all(place.startswith(path) or parent in (place, place.partition(".choice.")[0]) for place in found)


def test_a_trial_file_has_no_search_parameters():
    searched = {"trial": {"ppo": {"epochs": {"int": [1, 4]}}}}
    assert places(searched) == [] and places(searched, TRIAL) == ["trial.ppo.epochs"]


@spec
class Dot:
    """A point, the smallest shape."""

    kind: Literal["dot"] = "dot"


@spec
class Disc:
    """A circle.

    radius: in metres.
    """

    kind: Literal["disc"] = "disc"
    radius: Count = 1


@dataclasses.dataclass(frozen=True)
class Shape:
    """A member of a family, as `ftray.market.Market` is one."""

    spec_class: Any


SHAPES = Family("shape", Shape(Dot))


def accepts(hint: Any, value: Any, ranges: bool = True) -> bool:
    definitions: dict[str, Any] = {}
    schema = SchemaWriter(definitions, "x", ranges).value(Hint.of(hint), None, "field")
    return Draft202012Validator({**schema, "$defs": definitions}).is_valid(value)


def test_a_member_that_joins_a_family_later_is_known():
    family, disc = Annotated[Dot, SHAPES], {"kind": "disc", "radius": {"int": [1, 4]}}
    assert accepts(family, {"kind": "dot"}) and not accepts(family, disc)
    with SHAPES.having(Shape(Disc)):
        assert accepts(family, disc) and not accepts(family, disc, ranges=False)
        assert not accepts(family, {"kind": "dot", "radius": 1})


def test_a_name_that_joins_a_table_later_is_known():
    name = Annotated[str, NameIn(SHAPES)]
    assert accepts(name, "dot") and not accepts(name, "disc")
    with SHAPES.having(Shape(Disc)):
        assert accepts(name, {"choice": ["dot", "disc"]})


@spec
class Tree:
    """A spec that contains itself, one in a list, and two ranges whose names read alike."""

    branches: tuple["Tree", ...] = ()
    crown: Dot | None = None
    low: Annotated[float, Between(-1.0, 1.0)] = 0.0
    one: Annotated[float, Between(1.0, 1.0)] = 1.0


def test_a_spec_of_any_shape_has_a_schema():
    assert accepts(Tree, {"branches": [{"crown": {"kind": "dot"}}], "crown": {"choice": [{"kind": "dot"}]}, "low": -1})
    assert not accepts(Tree, {"branches": [{"low": {"float": [0, 1]}}]})
    assert not accepts(Tree, {"one": -1}) and not accepts(Tree, {"branches": [{"branch": []}]})


def test_none_may_stand_for_a_mapping_that_may_be_left_out():
    assert accepts(Dot | Disc | None, None) and accepts(Dot | None, None) and not accepts(Dot, None)


def test_a_field_has_its_description_and_its_default():
    definitions = study_schema()["$defs"]
    scale = definitions["trial.PPOSpec"]["properties"]["reward_scale"]
    assert scale["default"] == 100.0 and scale["description"].startswith("factor on the environment's rewards")
    assert definitions["trial.TrialSpec"]["properties"]["encoder"]["default"] == {"kind": "ft"}
    assert definitions["trial.FilesSpec"]["required"] == ["path"]


LIMIT = 1_000


def plain(hint: Hint) -> st.SearchStrategy[Any]:
    """Values of a scalar that its own rules allow."""
    if "enum" in hint.plain():
        return st.sampled_from(hint.plain()["enum"])
    if hint.base in (bool, str):
        return st.booleans() if hint.base is bool else st.sampled_from(["1h", "5m"])
    ends = next((rule for rule in hint.rules if isinstance(rule, Between)), Between())
    low, high = (
        max(ends.low or 0, ends.above or 0),
        min(LIMIT, *(e for e in (ends.high, ends.below) if e is not None), LIMIT),
    )
    if hint.base is int:
        numbers: st.SearchStrategy[Any] = st.integers(int(low), int(max(low, high)))
    else:
        numbers = st.floats(low, high, exclude_min=ends.above is not None, exclude_max=ends.below is not None)
        numbers = numbers | st.sampled_from([low, high]).filter(lambda x: x not in (ends.above, ends.below)).map(float)
    return numbers | st.none() if hint.optional else numbers


def searched(hint: Hint) -> st.SearchStrategy[Any]:
    """Ranges of a scalar."""
    choices = st.lists(plain(hint), min_size=1, max_size=3).map(lambda options: {"choice": options})
    if hint.base not in (int, float) or "enum" in hint.plain():
        return choices
    ends = st.tuples(*[plain(dataclasses.replace(hint, optional=False))] * 2).map(sorted)
    ranges = ends.map(lambda pair: {hint.base.__name__: pair})
    logs = ends.filter(lambda pair: pair[0] > 0).map(lambda pair: {"log": pair})
    return choices | ranges | logs


def value(hint: Hint, default: Any) -> st.SearchStrategy[Any]:
    if hint.members is not None or dataclasses.is_dataclass(hint.base):
        one = subtree(hint, default)
        return one | st.lists(one, min_size=1, max_size=2).map(lambda options: {"choice": options})
    if hint.base is tuple:
        item = Hint.of(hint.arguments[0])
        return st.lists(plain(item), min_size=1, max_size=3, unique=True)
    return plain(hint) | searched(hint)


@st.composite
def subtree(draw: st.DrawFn, hint: Hint, default: Any = None) -> dict[str, Any]:
    """A mapping that describes a spec: some of its fields, each with a value or a range."""
    made: dict[str, Any] = {}
    cls = hint.base
    if hint.members is not None:
        kind = draw(st.sampled_from([*hint.members, None]))
        cls = hint.members[kind or default.kind]
        made = {"kind": kind} if kind else {}
    hints = get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name != "kind"}
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    some = draw(st.lists(st.sampled_from(list(fields)), max_size=3, unique=True)) if fields else []
    for name in dict.fromkeys([*required, *some]):
        made[name] = draw(value(Hint.of(hints[name]), fields[name].default))
    return made


TREES = subtree(Hint.of(TrialSpec))


def parses(tree: Any) -> bool:
    try:
        parse_study({"trial": tree})
    except SpecError:
        return False
    return True


@given(TREES)
def test_a_random_space_that_the_parser_accepts_validates(tree):
    assume(parses(tree))  # most do; the others break a rule between fields
    assert places({"trial": tree}) == []


def mutants(node: Any) -> Iterator[Any]:
    """Copies of a tree with one mistake each, of those that a schema can express."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from ({**node, key: broken} for broken in mutants(inner))
        if not set(node) & {"int", "float", "log", "choice"}:
            yield {**node, "nonsense": 1}
    elif isinstance(node, list):
        for i, inner in enumerate(node):
            yield from ([*node[:i], broken, *node[i + 1 :]] for broken in mutants(inner))
    else:
        yield {"nonsense": 1}
        if isinstance(node, int | float) and not isinstance(node, bool):
            yield -1_000_000


@given(TREES, st.data())
def test_a_mistake_in_a_random_space_fails_in_both(tree, data):
    mutant = data.draw(st.sampled_from(list(mutants(tree))))
    assert not parses(mutant)
    assert places({"trial": mutant})
