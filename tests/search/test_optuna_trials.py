"""Trial records as an Optuna study: all that Optuna's own plots and measures need, and nothing invented."""

import datetime
import itertools

import optuna
import pytest
from optuna.trial import TrialState

from ftray.analysis.importance import shares
from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.runs.records import State, TrialRecord
from ftray.search.objectives import Constraint, Objective
from ftray.search.optuna_trials import optuna_study
from ftray.search.space import Space
from tests.analysis.test_study import OLD

SHARPE, DRAWDOWN = "validation/sharpe", "validation/max_drawdown"
UP, DOWN = Objective(metric=SHARPE, direction="maximize"), Objective(metric=DRAWDOWN, direction="minimize")
SPACE = Space(
    {
        "encoder": {"choice": [{"kind": "mlp"}, {"kind": "ft", "d_token": {"choice": [32, 64]}}]},
        "ppo": {"learning_rate": {"log": [1e-5, 1e-3]}, "gamma": {"float": [0.9, 0.99]}},
    }
)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
STATES: tuple[State, ...] = ("COMPLETE",) * 12 + ("PRUNED", "FAILED", "INTERRUPTED", "RUNNING", "PENDING")


def record(number: int, state: State) -> TrialRecord:
    encoder = {"trial/encoder/kind": "ft", "trial/encoder/d_token": (32, 64)[number % 4 // 2]}
    values = encoder if number % 2 else {"trial/encoder/kind": "mlp"}
    values |= {"trial/ppo/learning_rate": 10 ** (-5 + number / 10), "trial/ppo/gamma": 0.9 + number / 200}
    ended = state not in ("RUNNING", "PENDING")
    return TrialRecord(
        f"trial-{number:04}",
        number,
        "trial",
        state,
        values,
        {},
        metrics={SHARPE: number / 10, DRAWDOWN: 0.1 + number % 3 / 10} if ended and state != "FAILED" else {},
        started_at=None if state == "PENDING" else START + datetime.timedelta(minutes=number),
        ended_at=START + datetime.timedelta(minutes=number + 5) if ended else None,
    )


RECORDS = [record(number, state) for number, state in enumerate(STATES)]
REPORTS = [
    {"trial": one.id, "env_steps": step, "epoch": None, SHARPE: one.metrics[SHARPE] * step / 300}
    for one in RECORDS
    if SHARPE in one.metrics
    for step in (100, 200, 300)
]
SERVING = TrialRecord("encoder-1", None, "pretraining", "COMPLETE", {}, {})


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    bounds = [Constraint.parse(f"{DRAWDOWN} <= 0.25")]
    return optuna_study([SERVING, *reversed(RECORDS)], SPACE, [UP], bounds, REPORTS)


@pytest.fixture(scope="module")
def front() -> optuna.Study:
    return optuna_study(RECORDS, SPACE, [UP, DOWN])


def test_every_sampled_trial_has_its_number_state_parameters_and_id(study):
    names = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL"}
    assert [trial.state.name for trial in study.trials] == [names.get(state, "RUNNING") for state in STATES]
    assert [trial.user_attrs["trial"] for trial in study.trials] == [one.id for one in RECORDS]
    assert [trial.params for trial in study.trials] == [one.values for one in RECORDS]
    assert study.metric_names == [SHARPE] and study.best_trial.number == 10  # 11 breaks the bound


def test_values_are_where_a_trial_ended_and_steps_what_it_reported(study):
    assert study.trials[5].values == [0.5] and study.trials[12].values == [1.2] and study.trials[13].values is None
    assert study.trials[5].intermediate_values == pytest.approx({100: 0.5 / 3, 200: 1 / 3, 300: 0.5})
    assert study.trials[5].constraints == {f"{DRAWDOWN} <= 0.25": pytest.approx(0.05)}
    assert study.trials[13].constraints == {}


def test_times_are_the_records(study):
    lasted = [trial.duration for trial in study.trials if trial.state.is_finished()]
    assert set(lasted) == {datetime.timedelta(minutes=5)}
    apart = {b.datetime_start - a.datetime_start for a, b in itertools.pairwise(study.trials[:16])}
    assert apart == {datetime.timedelta(minutes=1)}


def test_a_complete_trial_without_a_value_for_each_objective_counts_as_failed():
    other = Objective(metric="validation/calmar", direction="maximize")
    assert {trial.state for trial in optuna_study(RECORDS[:3], SPACE, [UP, other]).trials} == {TrialState.FAIL}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", [name for name in optuna.visualization.__all__ if name.startswith("plot_")])
def test_every_plot_of_optuna_draws_it(name, study, front):
    pytest.importorskip("plotly")
    several, options = name in ("plot_pareto_front", "plot_hypervolume_history"), {}
    if name == "plot_hypervolume_history":
        options = {"reference_point": [0.0, 1.0]}
    figure = getattr(optuna.visualization, name)(front if several else study, **options)
    assert figure.data


def test_importance_is_shares_by_stable_names(study, front):
    for one in (study, front):
        found = shares(one)
        assert set(found) == set(SPACE.params) and sum(found.values()) == pytest.approx(1.0)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_study_of_an_older_version_is_one_with_any_metric_as_its_objective():
    old = open_study(OLD)
    assert isinstance(old, Study)
    made = old.to_optuna()
    assert made.best_trial.user_attrs["trial"] == old.best().trial
    best = made.best_trial.user_attrs["trial"]
    assert list(made.best_trial.intermediate_values.values()) == old.curve(best, SHARPE)[SHARPE].to_list()
    both = old.to_optuna(SHARPE, DRAWDOWN)
    assert [way.name for way in both.directions] == ["MAXIMIZE", "MINIMIZE"] and both.metric_names == [SHARPE, DRAWDOWN]
    assert {trial.user_attrs["trial"] for trial in both.best_trials} <= set(old.trials["trial"])
    assert not any(trial.intermediate_values for trial in old.to_optuna(reports=False).trials)
