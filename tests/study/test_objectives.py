"""Several objectives, constraints, the front, a warm start from another study, the importance of values."""

import math
import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from ftray.analysis.importance import shares
from ftray.analysis.leaderboard import leaderboard_rows
from ftray.analysis.ranking import pareto_front
from ftray.analysis.studies import open_study
from ftray.boards.printing import print_front, print_leaderboard
from ftray.errors import NoResultError, RunFolderError, SpecError
from ftray.runs import RunFolder, TrialRecord
from ftray.search.objectives import Constraint, constraints_of, objectives_of
from ftray.study import load_study
from ftray.study.run import run_study
from ftray.study.warm_start import describe_warm_start

from .by_hand import Hand, six_point_study, tiny_study
from .played import play
from .tiny import tiny_file

SHARPE, DRAWDOWN = "validation/sharpe", "validation/max_drawdown"
BOTH = [{"metric": SHARPE, "direction": "maximize"}, {"metric": DRAWDOWN, "direction": "minimize"}]
CAPPED = [f"{DRAWDOWN} <= 0.3"]


def traded(values) -> dict:
    """More Sharpe for more drawdown, by gamma alone; what the learning rate misses costs both."""
    risk = (values["trial/ppo/gamma"] - 0.9) / 0.09
    waste = abs(math.log10(values["trial/ppo/learning_rate"]) + 3.5)
    return {SHARPE: math.sqrt(risk) - waste, DRAWDOWN: 0.6 * risk + 0.1 * waste}


def front_of(run: RunFolder) -> list[TrialRecord]:
    return pareto_front(*asked_of(run))


def asked_of(run: RunFolder) -> tuple:
    return run.records(), objectives_of(run.study), constraints_of(run.study)


def told_by(study_or_text, *, by) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    by(study_or_text, console=console)
    return console.export_text()


@pytest.mark.parametrize("sampler", ["tpe", "random", pytest.param("gp", marks=pytest.mark.long), "nsga2"])
def test_optuna_has_both_values_and_the_front_is_the_one_that_optuna_finds(sampler, tmp_path):
    hand = Hand(tiny_study(objectives=BOTH, sampler=sampler), tmp_path / "run")
    hand.runs(12, traded)
    asked, _ = hand.start()
    hand.report(asked, 128, {SHARPE: 9.0, DRAWDOWN: 0.0})
    hand.prune(asked, {SHARPE: 9.0, DRAWDOWN: 0.0})  # on the way: no figures to compare
    asked, _ = hand.start()
    hand.fail(asked)
    hand = hand.resumed()
    hand.runs(4, traded)
    hand.assert_stores_agree()
    storage = optuna.create_study(directions=["maximize", "minimize"])
    storage.add_trials(hand.stored())
    found = {trial.number for trial in storage.best_trials}
    assert {trial.number for trial in front_of(hand.run)} == found
    assert 1 < len(found) < 16


def test_the_front_is_what_no_other_trial_dominates(tmp_path):
    hand, dice = Hand(tiny_study(objectives=BOTH, sampler="random"), tmp_path / "run"), random.Random(0)
    assert "no finished, feasible trial yet" in told_by(hand.run, by=print_front)
    figures = [{SHARPE: dice.randint(0, 6), DRAWDOWN: dice.randint(0, 6) / 10} for _ in range(40)]
    figures.append(max(figures, key=lambda one: (one[SHARPE], -one[DRAWDOWN])))  # an equal beats none of its equals
    source = iter(figures)
    hand.runs(41, lambda values: next(source))

    def dominated(one) -> bool:
        beats = [(o[SHARPE] >= one[SHARPE], o[DRAWDOWN] <= one[DRAWDOWN], o != one) for o in figures]
        return any(all(beat) for beat in beats)

    expected = {number for number, one in enumerate(figures) if not dominated(one)}
    front = front_of(hand.run)
    assert {trial.number for trial in front} == expected
    assert [trial.metrics[SHARPE] for trial in front] == sorted((t.metrics[SHARPE] for t in front), reverse=True)
    text = told_by(hand.run, by=print_front)
    assert f"no trial beats these {len(front)} in {SHARPE} up, {DRAWDOWN} down" in text
    assert all(trial.id in text for trial in front) and text.count("trial-") == len(front)


def test_a_study_with_one_objective_has_its_best_for_a_front_and_prints_none(tmp_path):
    hand = Hand(tiny_study(), tmp_path / "run")
    hand.runs(6, traded)
    (best,) = front_of(hand.run)
    assert best.metrics[SHARPE] == max(trial.metrics[SHARPE] for trial in hand.run.records())
    assert told_by(hand.run, by=print_front) == ""


def test_one_objective_is_short_for_a_list_of_one(tmp_path):
    short = tiny_study(objective=DRAWDOWN, direction="minimize")
    long = tiny_study(objectives=[{"metric": DRAWDOWN, "direction": "minimize"}])
    assert short.identity == long.identity != tiny_study().identity
    assert tiny_study().identity["search"]["objectives"] == [{"metric": SHARPE, "direction": "maximize"}]
    assert (long.search.metric, long.search.goal) == (DRAWDOWN, "minimize")
    assert tiny_study(objectives=BOTH).search.metric == SHARPE  # what a scheduler judges


@pytest.mark.parametrize("missing", [SHARPE, DRAWDOWN])
def test_a_trial_without_one_of_its_metrics_failed_whichever_it_is(missing, tmp_path):
    for name, search in (("objectives", {"objectives": BOTH}), ("constraints", {"constraints": CAPPED})):
        hand = Hand(tiny_study(**search), tmp_path / name)
        asked, job = hand.start()
        hand.finish(asked, {SHARPE: 1.0, DRAWDOWN: 0.1} | {missing: math.nan})
        assert hand.run.record(job).state == "FAILED"
        assert f"{missing} is None: not a number to compare" in hand.run.record(job).error
        assert [trial.state for trial in hand.stored()] == [TrialState.FAIL]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2"])
@pytest.mark.parametrize("objectives", [BOTH[:1], BOTH], ids=["one", "two"])
def test_a_trial_beyond_a_constraint_is_complete_and_marked_and_never_the_best(sampler, objectives, tmp_path):
    hand = Hand(tiny_study(objectives=objectives, constraints=CAPPED, sampler=sampler), tmp_path / "run")
    hand.runs(11, traded)
    asked, beyond = hand.start()
    hand.finish(asked, {SHARPE: 99.0, DRAWDOWN: 0.31})
    asked, on_it = hand.start()
    hand.finish(asked, {SHARPE: 9.0, DRAWDOWN: 0.3})
    hand.assert_stores_agree()
    hand = hand.resumed()
    hand.runs(2, traded)
    hand.assert_stores_agree()
    assert hand.run.record(beyond).state == "COMPLETE"
    assert hand.stored()[11].constraints[CAPPED[0]] == pytest.approx(0.01)
    assert front_of(hand.run)[0].id == on_it and beyond not in [trial.id for trial in front_of(hand.run)]
    rows = {row["trial"]: row for row in leaderboard_rows(*asked_of(hand.run))}
    assert rows[on_it]["rank"] == 1 and rows[beyond]["rank"] is None
    assert rows[beyond]["state"] == "COMPLETE, infeasible"
    assert "COMPLETE, infeasible" in told_by(hand.run, by=print_leaderboard)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", pytest.param("gp", marks=pytest.mark.long)])
def test_a_sampler_learns_to_keep_within_a_constraint(sampler, tmp_path):
    options = {"kind": sampler} | ({"population_size": 6} if sampler == "nsga2" else {"n_startup_trials": 6})
    spec = tiny_study(objectives=BOTH[:1], constraints=[f"{DRAWDOWN} <= 0.15"], sampler=options)
    hand = Hand(spec, tmp_path / "run")
    values = hand.runs(30, traded)
    within = [traded(one)[DRAWDOWN] <= 0.15 for one in values]
    assert sum(within[-12:]) > sum(within[:12])


@pytest.mark.parametrize(
    ("text", "metrics", "violation"),
    [
        ("validation/max_drawdown <= 0.3", {DRAWDOWN: 0.4}, 0.1),
        ("validation/max_drawdown<=3e-1", {DRAWDOWN: 0.3}, 0.0),
        ("  validation/sharpe >=  -1 ", {SHARPE: 0.5}, -1.5),
        ("validation/sharpe >= 1", {SHARPE: 0.25}, 0.75),
    ],
)
def test_a_constraint_is_violated_by_the_excess_over_its_bound(text, metrics, violation):
    assert Constraint.parse(text).violation(metrics) == pytest.approx(violation)
    assert Constraint.parse(str(Constraint.parse(text))) == Constraint.parse(text)
    assert math.isnan(Constraint.parse(text).violation({}))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            {"constraints": ["validation/max_drawdwn <= 0.3"]},
            r"constraints\.0: .*mean 'validation/max_drawdown'",
        ),
        ({"constraints": [f"{DRAWDOWN} < 0.3"]}, r"^search\.constraints\.0: must be METRIC <= NUMBER"),
        ({"constraints": [*CAPPED, f"{DRAWDOWN} <= low"]}, r"^search\.constraints\.1: must be METRIC <= NUMBER"),
        ({"constraints": ["0.1 <= validation/sharpe <= 3"]}, r"^search\.constraints\.0: "),
        ({"constraints": [f"{DRAWDOWN} <= nan"]}, r"^search\.constraints\.0: must be METRIC <= NUMBER"),
        ({"constraints": CAPPED[0]}, r"^search\.constraints: must be a list"),
        (
            {"objectives": [BOTH[0], {"metric": "validation/sharp", "direction": "maximize"}]},
            r"1\.metric: .*mean 'valid",
        ),
        ({"objectives": [BOTH[0], BOTH[0]]}, r"^search\.objectives\.1\.metric: .* is an objective already"),
        ({"objectives": [{"metric": SHARPE}]}, r"^search\.objectives\.0\.direction: is required"),
        ({"objectives": BOTH, "direction": "maximize"}, r"^search\.objectives: .*not both"),
        ({"job": "pretraining", "objectives": BOTH}, r"^search\.objectives\.0\.metric: .* is never reported"),
    ],
)
def test_objectives_and_constraints_are_parsed_strictly(search, message):
    with pytest.raises(SpecError, match=message):
        tiny_study(**search)


@pytest.fixture
def other(tmp_path) -> Hand:
    """A study that tried all six configurations of its space; more epochs and wider encodings are better."""
    hand = Hand(six_point_study(), tmp_path / "other")
    hand.runs(6, lambda v: {SHARPE: v["trial/ppo/epochs"] + v["trial/encoder/encoding_dim"] / 128, DRAWDOWN: 0.1})
    return hand


def test_a_warm_start_lays_down_the_best_points_that_fit_after_those_written_by_hand_once(other, tmp_path):
    by_hand = {"trial/ppo/epochs": 1, "trial/encoder/encoding_dim": 64}
    spec = six_point_study(warm_start=str(other.run.path), warm_start_best=3, points=[by_hand])
    hand = Hand(spec, tmp_path / "run")
    sampled = [hand.run.record(hand.start()[1]).values for _ in range(2)]
    for _ in range(2):
        hand = hand.resumed()
        other.run.path.rename(tmp_path / "gone") if other.run.path.exists() else None  # it is read once
    sampled += [hand.run.record(hand.start()[1]).values for _ in range(4)][2:]  # the first two go on
    best = [(3, 128), (3, 64), (2, 128)]
    expected = [(1, 64), *best]
    assert [(v["trial/ppo/epochs"], v["trial/encoder/encoding_dim"]) for v in sampled] == expected
    asked, job = hand.start()
    assert tuple(hand.run.record(job).values.values()) not in {(size, epochs) for epochs, size in expected}
    hand.finish(asked, {SHARPE: 0.0})
    assert [line for line in describe_warm_start(hand.run) if "warm start" in line]
    hand.assert_stores_agree()


def test_points_that_do_not_fit_are_printed_and_replaced_by_the_next_best(other, tmp_path):
    spec = tiny_study(warm_start=str(other.run.path), warm_start_best=2)  # epochs 1 or 2, encoding_dim always 64 or 256
    hand = Hand(spec, tmp_path / "run")
    lines = "\n".join(describe_warm_start(hand.run))
    assert "does not fit this space: trial/ppo/epochs: must be one of 1, 2, got 3" in lines
    assert "trial/encoder/encoding_dim: 128 cannot be set: here it is fixed" in lines
    sampled = [hand.run.record(hand.start()[1]).values for _ in range(2)]
    assert [values["trial/ppo/epochs"] for values in sampled] == [2, 1]  # those with encoding_dim 64


def test_a_warm_start_without_anything_to_begin_with_is_refused_with_the_reason(other, tmp_path):
    with pytest.raises(RunFolderError, match="no run folder"):
        Hand(six_point_study(warm_start=str(tmp_path / "nowhere")), tmp_path / "a")
    strict = six_point_study(warm_start=str(other.run.path), constraints=[f"{SHARPE} >= 100"])
    with pytest.raises(RunFolderError, match=r"needs finished trials with .*>= 100, .*; .* has 6 finished trials"):
        Hand(strict, tmp_path / "b")


def test_the_best_of_several_objectives_are_the_front_first(other, tmp_path):
    points = [dict(record.values) for record in other.run.records()]
    hand = Hand(six_point_study(points=points), tmp_path / "two")
    figures = iter([(5, 0.5), (4, 0.6), (3, 0.7), (2, 0.8), (1, 0.1), (0, 0.9)])
    hand.runs(6, lambda values: dict(zip((SHARPE, DRAWDOWN), next(figures), strict=True)))
    spec = six_point_study(warm_start=str(hand.run.path), warm_start_best=3, objectives=BOTH)
    warm = Hand(spec, tmp_path / "run")
    sampled = [dict(warm.run.record(warm.start()[1]).values) for _ in range(3)]
    assert sampled == [points[0], points[4], points[1]]


def test_importance_finds_the_value_that_matters_in_a_conditional_space_by_its_stable_name(tmp_path):
    hand = Hand(tiny_study(sampler="random"), tmp_path / "run")
    hand.runs(40, lambda values: {SHARPE: -abs(values["trial/ppo/gamma"] - 0.95)})
    found = open_study(hand.run.path).importance()
    assert set(found.index) == set(hand.study.space.params) and list(found) == ["importance", "low", "high"]
    assert found.index[0] == "trial/ppo/gamma" and found["importance"].iloc[0] > 0.5
    assert found["importance"].is_monotonic_decreasing and (found["low"] <= found["high"]).all()
    assert found["low"].iloc[0] > found["high"].min()
    assert (found * 10).map(lambda value: value == round(value)).all(axis=None)  # no digits that mean nothing


def test_importance_of_noise_is_not_shown(tmp_path):
    hand = Hand(tiny_study(sampler="random"), tmp_path / "run")
    rng = np.random.default_rng(0)
    hand.runs(20, lambda values: {SHARPE: rng.normal()})
    with pytest.raises(NoResultError, match="20 complete trials do not say which search parameter matters"):
        open_study(hand.run.path).importance()


def test_importance_knows_several_objectives_and_says_what_it_needs(tmp_path):
    hand = Hand(tiny_study(sampler="random", objectives=BOTH), tmp_path / "run")
    with pytest.raises(NoResultError, match="at least 10 complete trials"):
        open_study(hand.run.path).importance()
    hand.runs(40, traded)
    assert set(shares(open_study(hand.run.path).to_optuna())) == set(hand.study.space.params)


@pytest.mark.ray
@pytest.mark.long
def test_a_study_with_two_objectives_is_resumed_and_warms_up_another(cluster, tmp_path):
    mlp = {"trial/encoder/kind": "mlp"}
    search = {"objectives": BOTH, "constraints": [f"{DRAWDOWN} <= 1"], "sampler": "nsga2", "scheduler": "none"}
    file = tiny_file(tmp_path, n_trials=2, points=[mlp, mlp], max_concurrent=1, **search)
    how: dict[str, Any] = {"say": lambda line: None, "trial_fn": play}
    run_study(load_study(file), tmp_path / "runs", **how)
    run = run_study(load_study(file, ["search.n_trials=3"]), tmp_path / "runs", **how)
    stored = Hand(load_study(file), run.path)  # a new driver, without Tune
    stored.assert_stores_agree()
    records = run.records()
    assert len(records) == 3 and records[0].state == records[1].state == "COMPLETE"
    assert {trial.number for trial in front_of(run)} <= {record.number for record in records}
    assert len({frozenset(record.values.items()) for record in records}) == 3

    lines: list[str] = []
    other = ["name=warm", "search.n_trials=1", "search.points=[]", "search.sampler=tpe"]
    warm = load_study(file, [*other, f"search.warm_start={run.path}"])
    (first,) = run_study(warm, tmp_path / "runs", say=lines.append, trial_fn=play).records()
    assert first.values == front_of(run)[0].values and any("warm start: trial-000" in line for line in lines)
