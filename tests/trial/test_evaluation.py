"""Evaluation during training: the same metrics, of the same weights, in the same order, from another process."""

import dataclasses
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ftray.errors import NeverPlacedError, OutOfMemoryError, TrainingError
from ftray.runs import TrialFolder
from ftray.study import parse_study
from ftray.study.run import run_study
from ftray.trial import TrialSpec
from ftray.trial.evaluation import EvalActor, EvalResult
from ftray.trial.progress import Training, TrialProgress
from ftray.trial.reporting import ResultQueue

from ..study.tiny import TINY
from .clocks import without_clocks
from .interrupting import killed_after
from .test_run import FT, TRIAL, Reports, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "without_probes")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


def trial(evaluation_cpus: int, **ppo: Any) -> TrialSpec:
    changes = {"env_steps": 512, "learning_rate": 3e-3, "evaluate_every": 1, "evaluation_cpus": evaluation_cpus} | ppo
    return dataclasses.replace(TRIAL, ppo=dataclasses.replace(TRIAL.ppo, **changes))


def with_ft(evaluation_cpus: int, **encoder: Any) -> TrialSpec:
    return dataclasses.replace(trial(evaluation_cpus), encoder=dataclasses.replace(FT, **encoder))


@pytest.fixture(scope="module")
def here(tmp_path_factory, shared) -> Reports:
    """The rows of a trial that evaluates in its own process."""
    return run(with_ft(0, pretrained="none"), tmp_path_factory.mktemp("here"), shared)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, shared) -> Reports:
    """The rows of the same trial, evaluated in another process."""
    return run(with_ft(1, pretrained="none"), tmp_path_factory.mktemp("elsewhere"), shared)


def test_the_metrics_are_those_of_evaluation_in_the_trials_own_process(here, elsewhere):
    assert_same_figures(here, elsewhere)


@pytest.mark.long
def test_with_env_runners_of_its_own_and_fewer_evaluations_they_are_the_same_too(tmp_path, shared):
    ppo = {"n_env_runners": 1, "evaluate_every": 2}
    assert_same_figures(*(run(trial(n, **ppo), tmp_path / str(n), shared) for n in (0, 1)))


def assert_same_figures(here: Reports, elsewhere: Reports) -> None:
    assert without_clocks(elsewhere) == without_clocks(here)
    sharpes = [row["validation/sharpe"] for row in here if "validation/sharpe" in row]
    assert len(sharpes) > 1 and len(set(sharpes)) == len(sharpes)  # figures of other weights would be seen
    assert [row["checkpoint"] is not None for row in elsewhere] == ["validation/sharpe" in row for row in elsewhere]
    (folder,) = {row["checkpoint"].parent for row in elsewhere if row["checkpoint"]}
    assert not (folder / ".state").exists()


def test_encoder_metrics_are_reported_with_the_validation_metrics(here, tmp_path, shared):
    for row in here:
        attention = {name: value for name, value in row.items() if name.startswith("encoder/attention/asset/")}
        assert set(attention) == {"encoder/attention/asset/AAVE", "encoder/attention/asset/AVAX"}
        assert sum(attention.values()) == pytest.approx(1.0)
        assert 0 < row["encoder/attention_entropy"] <= 1 and row["encoder/token_norm"] > 0
    drift = [row["encoder/weight_drift"] for row in here]
    assert drift == sorted(drift) and drift[0] > 0

    # Measured from the training's start, not from where it was resumed.
    half = dataclasses.replace(with_ft(0, pretrained="none"), ppo=trial(0, env_steps=256).ppo)
    checkpoint = run(half, tmp_path / "half", shared)[-1]["checkpoint"]
    resumed = run(with_ft(0, pretrained="none"), tmp_path / "rest", shared, resume=checkpoint)
    assert [row["encoder/weight_drift"] for row in resumed] == drift[2:]


def test_a_frozen_tower_does_not_drift_and_a_fine_tuned_one_does_from_its_pretrained_weights(tmp_path, shared):
    frozen, tuned = (
        run(with_ft(0, frozen=frozen), tmp_path / str(frozen), shared)[-1]["encoder/weight_drift"]
        for frozen in (True, False)
    )
    assert frozen == 0 < tuned < 0.5


@pytest.mark.long
def test_a_killed_trial_continues_from_the_last_reported_row(elsewhere, tmp_path, shared):
    spec = with_ft(1, pretrained="none")
    reports = killed_after(2, spec, tmp_path, shared)
    resumed = run(spec, tmp_path, shared, resume=TrialFolder(tmp_path).checkpoint)
    rows = without_clocks(elsewhere)
    assert without_clocks(reports) == rows[:2] and without_clocks(resumed) == rows[3:]


@pytest.mark.long
def test_in_a_study_it_runs_in_the_trials_last_bundle(tmp_path):
    ppo = TINY["trial"]["ppo"] | {"learning_rate": 1e-3, "evaluation_cpus": 1}
    tree = TINY["trial"] | {"encoder": TINY["trial"]["encoder"]["choice"][0], "ppo": ppo}
    # The trial books both CPUs of the cluster: outside its own bundles there is no room for anything.
    spec = parse_study({"name": "bundled", "trial": tree, "search": {"n_trials": 1}})
    done = run_study(spec, tmp_path, say=lambda line: None)
    assert [record.state for record in done.records()] == ["COMPLETE"]
    assert "validation/sharpe" in done.trial_folder("trial-0000").reports()[0]


@pytest.mark.long
def test_a_bundle_too_small_for_it_is_refused_too(tmp_path):
    group = ray.util.placement_group([{"CPU": 0.5}, {"CPU": 0.5}])
    ray.get(group.ready())
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    elsewhere = ray.remote(num_cpus=0.5)(run).options(scheduling_strategy=strategy)
    try:
        with pytest.raises(NeverPlacedError, match=r"needs 1 CPUs in the last bundle .* which has 0\.5: book it"):
            ray.get(elsewhere.remote(trial(1), tmp_path, tmp_path))
    finally:
        ray.util.remove_placement_group(group)


class Refusing(EvalActor):
    def evaluate(self, blueprint, weights, start):
        raise TrainingError("an action is not finite")


@pytest.mark.long
def test_an_error_there_is_the_same_error_here(tmp_path, shared, monkeypatch):
    monkeypatch.setattr("ftray.trial.evaluation.EvalActor", Refusing)
    with pytest.raises(TrainingError, match=r"^an action is not finite$") as raised:
        run(trial(1), tmp_path, shared)
    assert type(raised.value) is TrainingError


def test_a_process_that_there_is_no_room_for_is_refused_and_not_waited_for(tmp_path, shared):
    with pytest.raises(NeverPlacedError, match=r"asks for 4 CPUs .* and the cluster has 2: lower .*evaluation_cpus"):
        run(trial(3), tmp_path, shared)


def test_rows_wait_for_the_metrics_of_an_earlier_one_and_its_state_is_that_of_its_iteration(tmp_path):
    reports, first, second = Reports(), Future(), Future()
    results = ResultQueue(Training(0, 0), TrialProgress(), reports, tmp_path)

    def saving(iteration: int):
        def save(folder: Path) -> None:
            (tmp_path / ".state").mkdir()
            (tmp_path / ".state" / "iteration").write_text(str(iteration))
            assert folder == tmp_path / ".state"

        return save

    def own(iteration: int) -> dict[str, Any]:
        return {"iteration": iteration, "env_steps": 10 * iteration}

    def iterations() -> list[int]:
        return [row["iteration"] for row in reports]

    results.add(own(1), False)
    assert iterations() == [1]
    results.add_evaluated(own(2), False, first, saving(2))
    results.add(own(3), False)
    assert iterations() == [1] and TrialFolder(tmp_path).checkpoint is None
    first.set_result(EvalResult({"validation/sharpe": 0.5}))
    results.add(own(4), False)
    assert iterations() == [1, 2, 3, 4]
    assert reports[1]["validation/sharpe"] == 0.5
    assert (reports[1]["checkpoint"] / "iteration").read_text() == "2"
    results.add_evaluated(own(5), True, second, saving(5))
    second.set_result(EvalResult({"validation/sharpe": 1.5}))
    assert results.finish()["runs"] == [{"fold": 0, "seed": 0, "env_steps": 50, "validation/sharpe": 1.5}]
    assert iterations() == [1, 2, 3, 4, 5]
    assert TrialProgress.read(TrialFolder(tmp_path).checkpoint, trial(0, env_steps=50)).last["iteration"] == 5


@pytest.mark.parametrize(
    ("error", "kept"), [(OutOfMemoryError("too much"), True), (KeyError("a defect"), False)], ids=str
)
def test_what_was_trained_before_memory_ran_out_still_goes_out(error, kept, tmp_path):
    reports, evaluation = Reports(), Future()
    with pytest.raises(type(error)), ResultQueue(Training(0, 0), TrialProgress(), reports, tmp_path) as results:
        results.add_evaluated(
            {"iteration": 1, "env_steps": 10}, False, evaluation, lambda folder: (tmp_path / ".state").mkdir()
        )
        evaluation.set_result(EvalResult({"validation/sharpe": 0.5}))
        raise error
    assert len(reports) == kept and (TrialFolder(tmp_path).checkpoint is not None) == kept
    assert not (tmp_path / ".state").exists()
