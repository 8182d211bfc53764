"""A study driven by hand: the searcher and the run folder as in a real one, without Ray and without training."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ftray.runs import RunFolder
from ftray.search.objectives import hardly_trades
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials, user_attributes
from ftray.study import StudySpec, parse_study
from ftray.study.searcher import StudySearcher

from .tiny import TINY

STEPS = 256
"""Env steps of a whole trial."""

TRADES = {"validation/round_trips": 100.0}
"""What every trial reports unless it says otherwise."""


def tiny_study(**search: Any) -> StudySpec:
    """A conditional space of seven search parameters, two numbers and two choices of them in every trial."""
    trial = copy.deepcopy(TINY["trial"])
    mlp, ft = trial["encoder"]["choice"]
    mlp["hidden"] = {"int": [64, 256, 64]}
    ft |= {"d_token": {"int": [32, 64, 32]}, "n_blocks": {"int": [1, 3]}, "pretrained": "none"}
    trial["ppo"] |= {"gamma": {"float": [0.9, 0.99]}, "epochs": {"choice": [1, 2]}}
    return parse_study({"name": "tiny", "trial": trial, "search": {"n_trials": 100} | search})


def six_point_study(**search: Any) -> StudySpec:
    """A space of six configurations."""
    trial = copy.deepcopy(TINY["trial"])
    trial["encoder"] = {"kind": "mlp", "hidden": 64, "encoding_dim": {"choice": [64, 128]}}
    trial["ppo"] |= {"learning_rate": 1e-4, "epochs": {"int": [1, 3]}}
    return parse_study({"name": "six", "trial": trial, "search": {"n_trials": 100} | search})


class Hand:
    """Does with a study what Tune and the trials' processes do."""

    def __init__(self, spec: StudySpec, folder: Path, clock: Callable[[], float] = time.monotonic):
        known = (folder / "study.json").exists()
        self.study = spec
        self.run = RunFolder.open(folder) if known else RunFolder.create(folder, spec.identity)
        self.searcher = StudySearcher(spec, self.run, clock=clock)
        self.n_asked = 0

    def resumed(self) -> "Hand":
        """The same study in a new driver; what still ran is interrupted."""
        for record in self.run.records():
            if record.state == "RUNNING":
                self.run.trial_ended(record.id, "INTERRUPTED")
        return Hand(self.study, self.run.path)

    def start(self) -> tuple[str, str]:
        """Tune's name and our id of the next job, which now runs."""
        asked, self.n_asked = f"tune-{self.n_asked}", self.n_asked + 1
        config = self.searcher.suggest(asked)
        self.run.trial_started(config["id"])
        self.run.trial_folder(config["id"]).started()
        return asked, config["id"]

    def report(self, asked: str, steps: int, metrics: Mapping[str, Any]) -> None:
        job = self.searcher.job(asked).id
        row = {"env_steps": steps, "runs_done": int(steps == STEPS), **TRADES, **metrics}
        self.run.trial_folder(job).report(row)
        self.searcher.on_trial_result(asked, row)

    def finish(self, asked: str, metrics: Mapping[str, Any]) -> None:
        """A trial that comes to its end with these metrics."""
        job = self.searcher.job(asked).id
        self.report(asked, STEPS, metrics)
        self.run.trial_folder(job).finished()
        self.searcher.on_trial_complete(asked)

    def prune(self, asked: str, metrics: Mapping[str, Any]) -> None:
        """A trial that a scheduler stops at a result, which Tune then keeps from the searcher."""
        row = {"env_steps": STEPS // 2, "runs_done": 0, **TRADES, **metrics}
        self.run.trial_folder(self.searcher.job(asked).id).report(row)
        self.searcher.on_trial_complete(asked)

    def fail(self, asked: str) -> None:
        self.run.trial_folder(self.searcher.job(asked).id).failed("broken")
        self.searcher.on_trial_complete(asked)

    def runs(self, n: int, metrics_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The values of `n` trials, each run to its end."""
        sampled = []
        for _ in range(n):
            asked, job = self.start()
            sampled.append(dict(self.run.record(job).values))
            self.finish(asked, metrics_of(sampled[-1]))
        return sampled

    def stored(self) -> list[optuna.trial.FrozenTrial]:
        return stored_trials(self.run)

    def assert_stores_agree(self) -> None:
        assert_stores_agree(self.study, self.run)


def stored_trials(run: RunFolder) -> list[optuna.trial.FrozenTrial]:
    """What Optuna's storage holds, read as another process would."""
    storage = JournalStorage(JournalFileBackend(str(run.path / "optuna.journal")))
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def assert_stores_agree(spec: StudySpec, run: RunFolder) -> None:
    """Optuna's storage against the run folder: states, values, curves, constraints, parameters."""
    search, records = spec.search, sampled_trials(run.records())
    stored = [trial for trial in stored_trials(run) if trial.state != optuna.trial.TrialState.WAITING]
    assert [trial.number for trial in stored] == [record.number for record in records]
    for trial, record in zip(stored, records, strict=True):
        assert trial.state == OPTUNA_STATES.get(record.state, optuna.trial.TrialState.RUNNING)
        assert trial.params == record.values
        if record.state in OPTUNA_STATES:  # what optuna-dashboard shows; Optuna forbids later changes
            assert trial.user_attrs == user_attributes(record) and trial.user_attrs["trial"] == record.id
        curve = {
            row["env_steps"]: row[search.metric]
            for row in reversed(run.trial_folder(record.id).reports())
            if row.get(search.metric) is not None
        }
        assert trial.intermediate_values == (curve if len(search.goals) == 1 else {})
        if record.state == "COMPLETE":
            worst = [-math.inf if goal.direction == "maximize" else math.inf for goal in search.goals]
            idle = hardly_trades(record.metrics, search.bounds)
            assert trial.values == (worst if idle else [record.metrics[goal.metric] for goal in search.goals])
        if record.state in ("COMPLETE", "PRUNED"):
            expected = {str(bound): bound.violation(record.metrics) for bound in search.bounds}
            assert trial.constraints == expected
        if record.state == "PRUNED":
            assert trial.values == ([curve[max(curve)]] if len(search.goals) == 1 else None)
        if record.state == "FAILED":
            assert trial.values is None


def assert_tensorboard_agrees(run: RunFolder) -> None:
    """TensorBoard's files hold what each trial reported, once."""
    for record in run.records():
        shown = EventAccumulator(str(run.path / "tensorboard" / record.id)).Reload()
        tag, reported = "validation/sharpe", {}
        for row in run.trial_folder(record.id).reports():
            if row.get(tag) is not None:
                reported.setdefault(row["env_steps"], row[tag])
        points = shown.Scalars(tag) if tag in shown.Tags()["scalars"] else []
        assert [point.step for point in points] == list(reported), record.id
        assert [point.value for point in points] == pytest.approx(list(reported.values())), record.id
