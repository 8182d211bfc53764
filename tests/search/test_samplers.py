"""Every sampler keeps the contract of its family.

In a study: conditional spaces, resuming, no configuration twice, Optuna agrees with the folder.
"""

import math
import sys
from pathlib import Path

import pytest

from ftray.errors import MissingDependencyError, SpecError
from ftray.search.samplers import SAMPLERS, TpeSpec, build_sampler, sampled_independently
from ftray.spec import parse
from ftray.study.check import describe_study
from ftray.testing import SamplerContract
from tests.study.by_hand import Hand, six_point_study, tiny_study

SMALL = {"tpe": {"n_startup_trials": 4}, "gp": {"n_startup_trials": 4}, "nsga2": {"population_size": 4}}
"""Options that let a sampler begin early."""

every_sampler = pytest.mark.parametrize("kind", SAMPLERS)


def options(kind: str) -> dict:
    return {"kind": kind, **SMALL.get(kind, {})}


def near_095(values) -> dict:
    """A Sharpe ratio that is best at gamma 0.95 and learning rate 3e-4."""
    off = 100 * (values["trial/ppo/gamma"] - 0.95) ** 2 + (math.log10(values["trial/ppo/learning_rate"]) + 3.5) ** 2
    return {"validation/sharpe": 1.0 - off}


class TestEverySampler(SamplerContract):
    @pytest.fixture(autouse=True, params=SAMPLERS)
    def member(self, request):
        self.sampler = SAMPLERS[request.param]
        self.spec = parse(self.sampler.spec_class, options(request.param))


@every_sampler
def test_a_conditional_space_is_sampled_through_a_resume_and_never_the_same_twice(kind, tmp_path):
    hand = Hand(tiny_study(sampler=options(kind)), tmp_path / "run")
    sampled = hand.runs(9, near_095)
    asked, running = hand.start()
    hand.report(asked, 128, near_095(hand.run.record(running).values))
    hand.assert_stores_agree()

    hand = hand.resumed()
    hand.assert_stores_agree()
    asked, again = hand.start()
    assert again == running  # continues before anything new is sampled
    hand.finish(asked, near_095(hand.run.record(running).values))
    sampled += [dict(hand.run.record(running).values), *hand.runs(8, near_095)]
    hand.assert_stores_agree()

    assert len(hand.run.records()) == len(sampled) == 18
    assert len({frozenset(values.items()) for values in sampled}) == 18
    for values in sampled:
        branch = "mlp" if values["trial/encoder/kind"] == "mlp" else "ft"
        assert ("trial/encoder/hidden" in values) == (branch == "mlp")
        assert ("trial/encoder/d_token" in values) == ("trial/encoder/n_blocks" in values) == (branch == "ft")
    assert {values["trial/encoder/kind"] for values in sampled} == {"mlp", "ft"}


@every_sampler
def test_the_storage_rebuilt_at_a_resume_is_the_one_that_was_left_whatever_trials_ended_as(kind, tmp_path):
    hand = Hand(tiny_study(sampler=options(kind)), tmp_path / "run")
    hand.runs(3, near_095)
    for end in (lambda asked: hand.prune(asked, {"validation/sharpe": 0.25}), hand.fail):
        asked, _ = hand.start()
        hand.report(asked, 64, {"validation/sharpe": 0.5})
        end(asked)
    asked, _ = hand.start()
    hand.finish(asked, {"validation/sharpe": math.nan})
    hand.runs(3, near_095)
    before = hand.stored()
    hand.assert_stores_agree()
    assert [trial.state.name for trial in before] == ["COMPLETE"] * 3 + ["PRUNED"] + ["FAIL"] * 2 + ["COMPLETE"] * 3
    after = hand.resumed().stored()
    for old, new in zip(before, after, strict=True):
        for fact in ("number", "state", "params", "distributions", "values", "intermediate_values"):
            assert getattr(old, fact) == getattr(new, fact)


@every_sampler
def test_a_study_resumed_before_anything_ended_does_not_begin_with_the_same_sample(kind, tmp_path):
    hand = Hand(tiny_study(sampler=options(kind)), tmp_path / "run")
    jobs = [hand.start()[1]]
    for _ in range(3):
        hand = hand.resumed()
        jobs += [hand.start()[1] for _ in range(len(jobs) + 1)][-1:]
    sampled = [frozenset(hand.run.record(job).values.items()) for job in jobs]
    assert jobs == [f"trial-{n:04d}" for n in range(4)] and len(set(sampled)) == 4


@every_sampler
def test_a_space_is_exhausted_before_anything_is_repeated(kind, tmp_path):
    hand = Hand(six_point_study(sampler=options(kind)), tmp_path / "run")
    flat = {"validation/sharpe": 0.0}
    sampled = hand.runs(4, lambda values: flat)
    hand = hand.resumed()
    sampled += hand.runs(2, lambda values: flat)
    assert len({frozenset(values.items()) for values in sampled}) == 6
    hand.runs(1, lambda values: flat)  # there is no seventh: one is repeated, and the study continues
    hand.assert_stores_agree()


def last_ten(kind: str, folder: Path) -> float:
    """The mean over the last ten of 30 trials."""
    hand = Hand(tiny_study(sampler=options(kind)), folder)
    hand.runs(15, near_095)
    sampled = hand.resumed().runs(15, near_095)  # what it learned before the resume counts
    return sum(near_095(values)["validation/sharpe"] for values in sampled[-10:]) / 10


@pytest.fixture(scope="module")
def chance(tmp_path_factory) -> float:
    return last_ten("random", tmp_path_factory.mktemp("chance") / "run")


@pytest.mark.parametrize("kind", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.long)])
def test_a_sampler_that_learns_ends_nearer_to_the_optimum_than_chance(kind, chance, tmp_path):
    assert last_ten(kind, tmp_path / "run") > chance


@pytest.mark.parametrize(("kind", "key"), [("cmaes", "cma:generation"), ("nsga2", "NSGAIISampler:generation")])
def test_generations_continue_after_a_resume_and_hand_written_points_belong_to_the_first(kind, key, tmp_path):
    whole = {"trial/encoder/kind": "mlp", "trial/encoder/hidden": 64, "trial/ppo/gamma": 0.95}
    whole |= {"trial/ppo/learning_rate": 3e-4, "trial/ppo/epochs": 1}
    points = [whole | {"trial/ppo/gamma": gamma} for gamma in (0.91, 0.95)]
    sampler = options(kind) | {"population_size": 5}
    hand = Hand(tiny_study(sampler=sampler, points=points), tmp_path / "run")
    assert [values["trial/ppo/gamma"] for values in hand.runs(2, near_095)] == [0.91, 0.95]
    hand.runs(14, near_095)
    before = [trial.system_attrs.get(key) for trial in hand.stored()]
    assert before[1] == 0 and max(g for g in before if g is not None) >= 2
    hand = hand.resumed()
    assert [trial.system_attrs.get(key) for trial in hand.stored()] == before
    hand.runs(1, near_095)
    assert hand.stored()[-1].system_attrs[key] >= max(g for g in before if g is not None)


def test_a_bare_name_is_a_sampler_with_its_defaults_and_options_are_chosen_by_kind():
    assert tiny_study().search.sampler == tiny_study(sampler="tpe").search.sampler == TpeSpec()
    assert tiny_study(sampler={"n_startup_trials": 3}).search.sampler == TpeSpec(n_startup_trials=3)
    for name, sampler in SAMPLERS.items():
        for given in (name, {"kind": name}):
            assert tiny_study(sampler=given).search.sampler == sampler.spec_class()
    assert tiny_study(sampler="gp").identity != tiny_study().identity == tiny_study(sampler="tpe").identity


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"sampler": "tpee"}, r"^search\.sampler: no such sampler; did you mean 'tpe'"),
        (
            {"sampler": {"kind": "gp", "n_startup": 3}},
            r"^search\.sampler\.n_startup: .*mean 'n_startup_trials'",
        ),
        ({"sampler": {"kind": "tpe", "multivariate": False}}, r"^search\.sampler\.group: .*set group: false"),
        (
            {"sampler": {"kind": "nsga2", "population_size": 1}},
            r"sampler\.population_size: must be at least 2",
        ),
        (
            {
                "sampler": "cmaes",
                "objectives": [
                    {"metric": "validation/sharpe", "direction": "maximize"},
                    {"metric": "validation/max_drawdown", "direction": "minimize"},
                ],
            },
            r"^search\.sampler: cmaes takes one objective, got 2",
        ),
        (
            {"sampler": "cmaes", "constraints": ["validation/max_drawdown <= 0.3"]},
            r"^search\.sampler: cmaes knows no constraints",
        ),
    ],
)
def test_what_a_sampler_cannot_do_is_refused_by_its_path(search, message):
    with pytest.raises(SpecError, match=message):
        tiny_study(**search)


def test_check_lists_the_values_that_a_sampler_samples_independently():
    branches = {"trial/encoder/hidden", "trial/encoder/d_token", "trial/encoder/n_blocks"}
    choices = {"trial/encoder/kind", "trial/ppo/epochs"}

    def independent(**sampler) -> set[str]:
        spec = tiny_study(sampler=sampler)
        return set(sampled_independently(spec.search.sampler, spec.space))

    assert independent(kind="tpe") == set()
    assert independent(kind="tpe", group=False) == independent(kind="gp") == independent(kind="nsga2") == branches
    assert independent(kind="cmaes") == branches | choices
    everything = branches | choices | {"trial/ppo/gamma", "trial/ppo/learning_rate"}
    assert independent(kind="random") == everything
    assert independent(kind="tpe", group=False, multivariate=False) == everything
    lines = "\n".join(describe_study(tiny_study(sampler="gp")))
    assert "(gp)" in lines and "independent   sampled without" in lines and "trial/encoder/hidden" in lines
    assert "independent" not in "\n".join(describe_study(tiny_study()))


def test_what_a_sampler_samples_jointly_does_not_change_with_the_branches_that_came_first(tmp_path):
    mlps = [{"trial/encoder/kind": "mlp"}] * 16  # Optuna alone would take `hidden` for one of the common values
    spec = tiny_study(sampler={"kind": "cmaes", "population_size": 5}, points=mlps)
    hand = Hand(spec, tmp_path / "run")
    sampled = hand.runs(28, near_095)
    kinds = [values["trial/encoder/kind"] for values in sampled]
    assert set(kinds[:16]) == {"mlp"} != set(kinds)
    generations = [trial.system_attrs.get("cma:generation") for trial in hand.stored()]
    assert None not in generations[1:] and max(generations[1:]) >= 4


def test_cmaes_without_its_package_names_the_install_line(monkeypatch):
    spec = tiny_study(sampler="cmaes")
    monkeypatch.setitem(sys.modules, "cmaes", None)  # what the import system takes for missing
    with pytest.raises(MissingDependencyError, match=r"pip install 'ftray\[samplers\]'"):
        build_sampler(spec.search.sampler, spec.space, [], seed=0)
