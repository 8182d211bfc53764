"""A trial that hardly trades has no Sharpe ratio: it is marked, and never ranked, best, promoted or looked for."""

import io
import json
import math

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from ftray.analysis.leaderboard import leaderboard_rows
from ftray.analysis.ranking import best_trial, pareto_front
from ftray.analysis.studies import open_study
from ftray.boards.export import leaderboard_json
from ftray.boards.live import describe_luck
from ftray.boards.printing import print_leaderboard
from ftray.cli.looking import finish
from ftray.errors import NoResultError, RunFolderError
from ftray.runs import RunFolder
from ftray.search.objectives import constraints_of, hardly_trades, objectives_of
from ftray.study.promote import chosen

from .by_hand import Hand, six_point_study, tiny_study

SHARPE, ACTIVE, TRIPS = "validation/sharpe", "validation/active_sharpe", "validation/round_trips"
DRAWDOWN = "validation/max_drawdown"
IDLE = {SHARPE: 0.0, ACTIVE: math.nan, TRIPS: 0.4, DRAWDOWN: 0.0}
BOTH = [{"metric": SHARPE, "direction": "maximize"}, {"metric": DRAWDOWN, "direction": "minimize"}]


def losing(sharpe: float) -> dict:
    """A trial that trades in a market that falls."""
    return {SHARPE: sharpe, ACTIVE: 0.5 + sharpe / 10, TRIPS: 40.0, DRAWDOWN: 0.2}


def asked_of(run: RunFolder) -> tuple:
    return run.records(), objectives_of(run.study), constraints_of(run.study)


def printed(run: RunFolder) -> str:
    out = io.StringIO()
    print_leaderboard(run, console=Console(file=out, width=300))
    return out.getvalue()


@pytest.fixture
def mixed(tmp_path) -> Hand:
    """Three trials that lose and one, the second, that does nothing: its Sharpe ratio of 0.00 is the highest."""
    hand = Hand(six_point_study(objective=ACTIVE), tmp_path / "run")
    figures = iter([losing(-3.0), IDLE, losing(-1.0), losing(-2.0)])
    hand.runs(4, lambda values: next(figures))
    return hand


def test_it_is_complete_and_marked_without_a_rank_or_a_ratio(mixed):
    rows = {row["trial"]: row for row in leaderboard_rows(*asked_of(mixed.run))}
    idle = rows["trial-0001"]
    assert mixed.run.record("trial-0001").state == "COMPLETE" and idle["state"] == "COMPLETE, hardly trades"
    ratios = ("rank", "objective", "error", "deflated_sharpe", "validation_sharpe", "validation_active_sharpe")
    assert [idle[name] for name in ratios] == [None] * 6
    assert (idle["validation_round_trips"], idle["validation_max_drawdown"]) == (0.4, 0.0)
    assert [row["rank"] for row in rows.values()] == [1, 2, 3, None] and next(iter(rows)) == "trial-0002"
    line = next(line for line in printed(mixed.run).splitlines() if "trial-0001 " in line)
    assert line.split()[4:8] == ["-", "-", "-", "-"] and line.endswith("COMPLETE, hardly trades")


def test_results_say_how_many_there_are_and_what_to_do(mixed):
    expected = "1 of 4 finished trials (trial-0001) hardly trade: fewer than 10 round trips on the validation windows"
    for text in (printed(mixed.run), "\n".join(describe_luck(open_study(mixed.run.path)))):
        assert expected in text
        assert all(cure in text for cure in ("trial.ppo.env_steps", "search.min_round_trips"))
    assert json.loads(leaderboard_json(mixed.run))["hardly_trading"] == ["trial-0001"]


def test_it_is_never_the_best_by_whatever_metric(mixed):
    study = open_study(mixed.run.path)
    for metric in (ACTIVE, SHARPE, DRAWDOWN):
        for scope in ("last", "best", "any"):
            assert study.best(metric, scope).trial != "trial-0001", (metric, scope)
    best = study.best()
    assert (best.trial, best.chosen_from, best.n_hardly_trade) == ("trial-0002", 3, 1)
    assert "1 that hardly trade" in best.describe()["left out"]
    assert best_trial(*asked_of(mixed.run)).id == chosen(mixed.run, None).id == "trial-0002"


def test_it_is_on_no_front_and_in_no_comparison(tmp_path):
    hand = Hand(tiny_study(objectives=BOTH), tmp_path / "run")
    figures = iter([losing(-3.0), IDLE, losing(-1.0)])
    hand.runs(3, lambda values: next(figures))
    assert [trial.id for trial in pareto_front(*asked_of(hand.run))] == ["trial-0002"]
    feasible = open_study(hand.run.path).trials.set_index("trial")["feasible"]
    assert feasible.to_dict() == {"trial-0000": True, "trial-0001": False, "trial-0002": True}  # `compare` takes these


def test_where_every_trial_hardly_trades_there_is_no_best_and_the_reason_says_so(tmp_path):
    hand = Hand(tiny_study(), tmp_path / "run")
    hand.runs(2, lambda values: IDLE)
    with pytest.raises(NoResultError, match=r"2 of 2 finished trials \(trial-0000, trial-0001\) hardly trade"):
        open_study(hand.run.path).best()
    with pytest.raises(NoResultError, match="needs a complete, feasible trial"):
        chosen(hand.run, None)


def test_a_study_that_ends_without_a_best_trial_recommends_no_command_that_refuses_it(tmp_path, capsys):
    hand = Hand(tiny_study(), tmp_path / "run")
    hand.runs(1, lambda values: IDLE)
    finish(hand.run)
    assert "ftray results" in (said := capsys.readouterr().out)
    assert "ftray backtest" not in said and "ftray promote" not in said
    hand.runs(1, lambda values: losing(-1.0))
    finish(hand.run)
    assert "ftray backtest" in (said := capsys.readouterr().out) and "ftray promote" in said


@pytest.mark.parametrize("objectives", [BOTH[:1], BOTH, [{"metric": ACTIVE, "direction": "maximize"}]])
def test_optuna_has_it_as_complete_infeasible_and_worse_than_any_other(objectives, tmp_path):
    hand = Hand(tiny_study(objectives=objectives), tmp_path / "run")
    figures = iter([losing(-3.0), IDLE, losing(-1.0)])
    hand.runs(3, lambda values: next(figures))
    for one in (hand, hand.resumed()):
        one.assert_stores_agree()
        stored = one.stored()[1]
        worst = {"maximize": -math.inf, "minimize": math.inf}
        assert stored.state == TrialState.COMPLETE
        assert stored.values == [worst[goal["direction"]] for goal in objectives]
        assert stored.constraints == {f"{TRIPS} >= 10": pytest.approx(9.6)}


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2", pytest.param("gp", marks=pytest.mark.long)])
@pytest.mark.filterwarnings("error:Constraints have been set")
def test_every_sampler_continues_whatever_trials_hardly_trade(sampler, tmp_path):
    options = {"kind": sampler} | ({"n_startup_trials": 2} if sampler in ("tpe", "gp") else {})
    hand = Hand(tiny_study(sampler=options), tmp_path / "run")
    hand.runs(4, lambda values: IDLE)
    hand.runs(4, lambda values: IDLE if values["trial/ppo/gamma"] < 0.94 else losing(-values["trial/ppo/gamma"]))
    hand.resumed().runs(2, lambda values: IDLE)
    hand.assert_stores_agree()


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_sampler_is_not_drawn_to_trials_that_do_nothing_where_traders_lose(sampler, tmp_path):
    """Below a discount of 0.945, half the range, nothing trades; above it, all lose. A ratio of 0.00 would win."""
    hand = Hand(tiny_study(sampler=sampler), tmp_path / "run")

    def traded(values) -> dict:
        gamma = values["trial/ppo/gamma"]
        return IDLE if gamma < 0.945 else losing(gamma - 2.0)

    sampled = hand.runs(40, traded)
    assert sum(values["trial/ppo/gamma"] >= 0.945 for values in sampled[-15:]) > 10


def test_an_undefined_objective_is_complete_without_a_rank_and_no_failure(tmp_path):
    hand = Hand(tiny_study(objective=ACTIVE), tmp_path / "run")
    figures = iter([IDLE | {TRIPS: 20.0}, losing(-1.0)])  # it turns over much and holds nothing overnight
    hand.runs(2, lambda values: next(figures))
    assert [record.state for record in hand.run.records()] == ["COMPLETE", "COMPLETE"]
    stored = hand.stored()[0]
    assert (stored.state, stored.values) == (TrialState.COMPLETE, [-math.inf])
    rows = {row["trial"]: row for row in leaderboard_rows(*asked_of(hand.run))}
    assert rows["trial-0000"]["rank"] is None and rows["trial-0000"]["state"] == "COMPLETE, undefined"
    assert rows["trial-0000"]["validation_sharpe"] == 0.0  # it trades enough for a plain one
    assert open_study(hand.run.path).best().trial == "trial-0001"


def test_a_metric_that_is_always_defined_must_still_be_a_number(tmp_path):
    hand = Hand(tiny_study(), tmp_path / "run")
    hand.runs(1, lambda values: losing(-1.0) | {TRIPS: math.nan})
    assert f"{TRIPS} is None: not a number to compare" in hand.run.record("trial-0000").error


def test_a_study_of_an_earlier_version_keeps_its_meaning(tmp_path):
    """It stored no least number: a trial that reported no round trips is ranked, and the study can be continued."""
    free = tiny_study(min_round_trips=0)
    assert "min_round_trips" not in free.identity["search"] and free.search.bounds == ()
    assert tiny_study().identity["search"]["min_round_trips"] == 10
    run = RunFolder.create(tmp_path / "old", free.identity)
    run.add_trial("trial-0000", 0, "trial", {}, {})
    run.trial_started("trial-0000")
    run.trial_ended("trial-0000", "COMPLETE", {SHARPE: 0.5})
    assert best_trial(*asked_of(run)).id == "trial-0000" and leaderboard_rows(*asked_of(run))[0]["rank"] == 1
    assert RunFolder.create(tmp_path / "old", free.identity).study == free.identity
    with pytest.raises(RunFolderError, match=r"search\.min_round_trips: '\(absent\)' → 10"):
        RunFolder.create(tmp_path / "old", tiny_study().identity)


def test_the_threshold_is_the_studys_own_and_searches_for_pretraining_have_none():
    ten, three = (constraints_of(tiny_study(min_round_trips=n).identity) for n in (10, 3))
    assert [str(one) for one in (*ten, *three)] == [f"{TRIPS} >= 10", f"{TRIPS} >= 3"]
    assert hardly_trades({TRIPS: 5.0}, ten) and not hardly_trades({TRIPS: 5.0}, three)
    assert not hardly_trades({}, ten) and not hardly_trades({TRIPS: 10.0}, ten)
    own = constraints_of(tiny_study(constraints=[f"{DRAWDOWN} <= 0.3"]).identity)
    assert [str(one) for one in own] == [f"{DRAWDOWN} <= 0.3", f"{TRIPS} >= 10"]


def test_a_warm_start_takes_no_point_of_it(mixed, tmp_path):
    spec = six_point_study(objective=ACTIVE, warm_start=str(mixed.run.path), warm_start_best=4)
    warm = Hand(spec, tmp_path / "warm")
    sampled = [dict(warm.run.record(warm.start()[1]).values) for _ in range(3)]
    ranked = [mixed.run.record(f"trial-{number:04}").values for number in (2, 3, 0)]
    assert sampled == ranked


def test_patience_counts_it_as_no_improvement(tmp_path):
    hand = Hand(six_point_study(patience_trials=2), tmp_path / "run")
    figures = iter([losing(-1.0), IDLE, IDLE])
    hand.runs(3, lambda values: next(figures))
    assert hand.searcher.limits.why is not None and "none of the last 2 trials is better" in hand.searcher.limits.why


def test_a_worst_value_survives_optunas_journal_and_its_own_ranking(tmp_path):
    hand = Hand(tiny_study(), tmp_path / "run")
    figures = iter([IDLE, losing(-3.0)])
    hand.runs(2, lambda values: next(figures))
    again = optuna.create_study(direction="maximize")
    again.add_trials(hand.stored())
    assert again.best_trial.number == 1
