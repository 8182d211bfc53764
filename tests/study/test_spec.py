"""Study files: the ones that are shipped parse at both ends of every range; a broken one is refused by its path."""

from pathlib import Path

import pytest
import yaml

from ftray.errors import SpecError
from ftray.nets import PRESETS
from ftray.study import load_study, parse_study
from ftray.study.check import describe_study

CONFIGS = sorted((Path(__file__).parents[2] / "tune_configs").glob("*.yaml"))
SIMULATED = "trial.market={kind: simulator}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_file_parses_at_both_ends_of_every_range_and_can_be_described(path):
    spec = load_study(path, [SIMULATED] if path.stem not in ("demo",) else [])
    lines = list(describe_study(spec))
    assert any("floats" in line for line in lines)
    if path.stem != "demo":
        assert any("5,888 floats" in line for line in lines)


@pytest.mark.parametrize("path", [p for p in CONFIGS if "crypto" in p.stem or p.stem == "demo"], ids=lambda p: p.stem)
def test_an_end_beyond_what_is_valid_stops_a_shipped_file_from_parsing(path):
    tree = yaml.safe_load(path.read_text())
    low, _ = tree["trial"]["ppo"]["learning_rate"]["log"]
    tree["trial"]["ppo"]["learning_rate"] = {"log": [low, 10.0]}
    with pytest.raises(SpecError, match=r"^trial\.ppo\.learning_rate: must be between"):
        parse_study(tree)
    ft = tree["trial"]["encoder"]["choice"][-1]
    tree["trial"]["ppo"]["learning_rate"] = 1e-3
    ft["n_blocks"] = {"int": [1, 5]}
    for option in tree["trial"]["encoder"]["choice"]:
        option.update({"n_blocks": ft["n_blocks"]} if option["kind"] == "ft" else {})
    with pytest.raises(SpecError, match=r"^trial\.encoder\.n_blocks: must be between 1 and 4, got 5"):
        parse_study(tree)


@pytest.mark.parametrize("span", [{"float": [1, 4]}, {"log": [1.0, 4.0]}, {"float": [1, 4, 0.5]}])
def test_a_count_cannot_be_searched_over_real_numbers(span):
    with pytest.raises(SpecError, match=r"^trial\.ppo\.epochs: must be an int"):
        parse_study({"trial": {"ppo": {"epochs": span}}})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_file_holds_the_preset(name):
    encoder = load_study(CONFIGS[0].with_name(f"{name}.yaml")).only_trial("train").encoder
    preset = PRESETS[name]
    for field in ("d_token", "n_blocks", "n_heads", "encoding_dim"):
        assert getattr(encoder, field) == getattr(preset, field)


def test_the_real_study_has_the_budget_it_promises():
    spec = load_study(CONFIGS[0].with_name("crypto_1h.yaml"))
    kinds = [point["trial/encoder/kind"].split()[0] for point in spec.search.points]
    assert spec.search.n_trials >= 8 and len(kinds) == spec.search.n_trials
    assert kinds.count("ft") >= 3 and kinds.count("mlp") >= 3
    shapes = {
        tuple(point[f"trial/encoder/{key}"] for key in ("d_token", "n_blocks", "n_heads"))
        for point in spec.search.points
        if "auto" in point["trial/encoder/kind"]
    }
    assert 1 <= len(shapes) <= 2
    assert spec.corner_trials[0].ppo.env_steps >= 20_000


def test_overrides_are_laid_over_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("trial: {ppo: {epochs: 2}}")
    spec = load_study(path, ["trial.ppo.epochs=5", "trial.market.kind=simulator", "search.n_trials=3"])
    assert spec.name == "mine" and spec.search.n_trials == 3
    assert spec.only_trial("train").ppo.epochs == 5


def test_dates_of_a_study_file_may_be_written_without_quotes(tmp_path):
    path = tmp_path / "dated.yaml"
    path.write_text("trial: {market: {kind: files, path: candles, from: 2023-01-01}}")
    market = load_study(path, ["trial.market.to=2024-01-01T12:00:00"]).only_trial("train").market
    assert (market.from_, market.to) == ("2023-01-01", "2024-01-01T12:00:00")


def test_a_value_set_by_an_override_is_no_longer_searched():
    spec = load_study(CONFIGS[0].with_name("demo.yaml"), ["trial.ppo.learning_rate=1e-3"])
    assert "trial/ppo/learning_rate" not in spec.space.params


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("trail: {}", [], r"^trail: no such key; did you mean 'trial'"),
        ("trial: {ppo: {epoch: 3}}", [], r"^trial\.ppo\.epoch: no such key; did you mean 'epochs'"),
        ("search: {n_trial: 3}", [], r"^search\.n_trial: no such key; did you mean 'n_trials'"),
        ("trial: {}", ["trial.ppo.epochs"], "--set takes PATH=VALUE"),
        ("trial: {ppo: {epochs: 3}}", ["trial.ppo.epochs.x=1"], r"^trial\.ppo\.epochs: --set cannot reach into 3"),
        ("trial: [1]", [], r"^trial: must be a mapping"),
        ("trial: []", [], r"^trial: must be a mapping"),
        ("search: false", [], r"^search: expected a mapping"),
        ("plugins: {}", [], r"^plugins: must be a list of modules"),
        ("trial: {ppo: {gamma: 1" + 400 * "0" + "}}", [], r"^trial\.ppo\.gamma: must be a finite number"),
        ("search: {points: [{1: 2}]}", [], r"^search\.points\.0\.1: no such search parameter"),
        ("name: a/b", [], r"^name: must be a folder's name"),
        ("- 1", [], "must hold a mapping"),
        ("trial: {a: [}", [], "is not valid YAML"),
        (
            "search: {objective: validation/sharp}",
            [],
            r"^search\.objective: .*did you mean 'validation/sharpe'",
        ),
        (
            "search: {objective: validation/max_drawdown, direction: maximize}",
            [],
            r"^search\.direction: validation/max_drawdown .* is better the other way: minimize it",
        ),
        (
            "search: {objective: validation/exposure, direction: maximize}",
            [],
            r"^search\.objective: validation/exposure .* is neither better high nor low",
        ),
        ("search: {points: [{trial/x: 1}]}", [], r"^search\.points\.0\.trial/x: no such search parameter"),
        ("trial: {encoder: {kind: ft, frozen: true}}", [], r"^trial\.encoder: frozen needs weights"),
    ],
)
def test_a_broken_study_is_refused_by_its_path(tmp_path, text, overrides, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        load_study(path, overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read .*nowhere\.yaml"):
        load_study(tmp_path / "nowhere.yaml")


def test_a_verb_for_one_trial_names_the_search_parameters_it_cannot_run():
    with pytest.raises(SpecError, match=r"trial/encoder/kind.*--set"):
        load_study(CONFIGS[0].with_name("demo.yaml")).only_trial("train")


def test_the_budget_is_no_part_of_a_studys_identity():
    small, large = (load_study(CONFIGS[0].with_name("demo.yaml"), [f"search.n_trials={n}"]) for n in (4, 40))
    other = load_study(CONFIGS[0].with_name("demo.yaml"), ["trial.seed=1"])
    assert small.identity == large.identity != other.identity


def test_paths_are_absolute_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoders = [{"kind": "mlp"}, {"kind": "ft", "pretrained": "best.pth"}, {"kind": "ft", "pretrained": "auto"}]
    tree = {"market": {"kind": "files", "path": "candles"}, "encoder": {"choice": encoders}}
    absolute = parse_study({"trial": tree}).space.tree
    assert absolute["market"]["path"] == str(tmp_path / "candles")
    assert absolute["encoder"]["choice"][1]["pretrained"] == str(tmp_path / "best.pth")
    assert absolute["encoder"]["choice"][2]["pretrained"] == "auto"
    several = {"encoder": {"kind": "ft", "pretrained": {"choice": ["auto", "best.pth"]}}}
    options = parse_study({"trial": several}).space.tree["encoder"]["pretrained"]["choice"]
    assert options == ["auto", str(tmp_path / "best.pth")]
    assert parse_study({"trial": {"encoder": {"pretrained": "a.pth"}}}).space.tree["encoder"]["pretrained"] == str(
        tmp_path / "a.pth"
    )


def test_a_search_for_pretraining_takes_one_fold():
    trial = {"windows": {"kind": "walk_forward", "n_folds": 3}, "encoder": {"kind": "ft", "pretrained": "auto"}}
    with pytest.raises(SpecError, match=r"trial\.windows: a search for pre-training .* not on 3"):
        parse_study({"trial": trial, "search": {"job": "pretraining"}})


def test_check_prints_what_the_windows_are_made_for_where_the_space_decides_it():
    short = {"features": {"lookback": {"choice": [24, 480]}}}
    text = "\n".join(describe_study(parse_study({"trial": short})))
    assert "the same for all trials: made for the longest lookback of 480 bars that is searched" in text
    assert "made for" not in "\n".join(describe_study(parse_study({"trial": {}})))


def test_check_prints_which_benchmarks_cannot_trade_and_why():
    trial = {"market": {"n_assets": 7}, "trading": {"rules": {"min_order": 2_000}}}
    text = "\n".join(describe_study(parse_study({"trial": trial})))
    assert "equal_weight cannot trade, and is no comparison: orders of 1,424.30 after costs are below" in text
    assert "hold_BTC" not in text


def test_check_says_where_nothing_is_searched_and_many_trials_would_be_alike():
    text = "\n".join(describe_study(parse_study({"trial": {}, "search": {"n_trials": 3}})))
    assert "searched      nothing: all 3 trials are alike" in text
    assert "alike" not in "\n".join(describe_study(parse_study({"trial": {}, "search": {"n_trials": 1}})))
    ranged = {"ppo": {"learning_rate": {"log": [1e-4, 1e-3]}}}
    assert "alike" not in "\n".join(describe_study(parse_study({"trial": ranged, "search": {"n_trials": 3}})))


def test_check_prints_folds_seeds_and_the_env_steps_of_all_trainings():
    trial = {
        "market": {"kind": "simulator"},
        "windows": {"kind": "combinatorial", "n_groups": 4, "n_validation_groups": 2},
        "seeds": 3,
        "ppo": {"env_steps": {"choice": [1_000, 2_000]}},
    }
    text = "\n".join(describe_study(parse_study({"trial": trial})))
    assert "6 folds × 3 seeds = 18 trainings per trial, 1,000 to 2,000 env steps each" in text
    assert "18,000 to 36,000 env steps per trial" in text
