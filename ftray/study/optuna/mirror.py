"""Optuna's side of a study: its storage, rebuilt from the run folder on start and told from it ever after.

Takes: trial records. Gives: an Optuna study that agrees with them in states, values, curves and constraints.
"""

from typing import Any

import optuna

from ftray.runs import RunFolder, TrialRecord
from ftray.search.objectives import is_number
from ftray.search.optuna_trials import OPTUNA_STATES, frozen_trial, intermediate_values, user_attributes, violations
from ftray.search.samplers import BY_GENERATION
from ftray.study.spec import StudySpec

NOTED = "sampler_noted"
"""The event that keeps what a sampler counts generations by."""


class OptunaSide:
    """Keeps an Optuna study in agreement with a run folder."""

    def __init__(self, study: StudySpec, run: RunFolder, optuna_study: optuna.Study):
        self.study, self.run, self.optuna = study, run, optuna_study
        self._single = len(study.search.goals) == 1  # Optuna takes no steps of several objectives
        self._notes = {event["id"]: event["notes"] for event in run.events() if event["event"] == NOTED}

    def add(self, record: TrialRecord) -> None:
        """Stores a trial of an earlier run as it was left."""
        search, notes = self.study.search, self._notes.get(record.id)
        steps = self._curve(record.id)
        self.optuna.add_trial(frozen_trial(record, self.study.space, search.goals, search.bounds, steps, notes))

    def drew(self, trial: optuna.Trial, job_id: str) -> None:
        """Keeps what the sampler noted of a trial that it has just drawn: it counts generations by that."""
        if isinstance(self.study.search.sampler, BY_GENERATION):
            _ = trial.relative_params  # of a point that was laid down nobody asked for them: it would be no parent
            attributes = self._stored(trial.number).system_attrs
            noted = {key: value for key, value in attributes.items() if key != "fixed_params"}
            self.run.append_event(NOTED, id=job_id, notes=noted)

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """Tells a figure on a trial's way; one without the metric says nothing."""
        value = result.get(self.study.search.metric)
        if self._single and is_number(value):
            self._tell_steps(number, {int(result[self.study.search.resource]): value})

    def ended(self, record: TrialRecord) -> None:
        """Tells how a trial ended."""
        assert record.number is not None
        search, stored = self.study.search, self._stored(record.number)
        self._tell_steps(record.number, self._curve(record.id))  # Tune keeps back the result a scheduler stopped it at
        trial = optuna.Trial(self.optuna, stored._trial_id)
        for name, value in user_attributes(record).items():
            trial.set_user_attr(name, value)
        if record.state != "FAILED":
            for name, violation in violations(record.metrics, search.bounds).items():
                trial.set_constraint(name, violation)
        values = [record.metrics[goal.metric] for goal in search.goals] if record.state == "COMPLETE" else None
        self.optuna.tell(record.number, values, state=OPTUNA_STATES[record.state])

    def _tell_steps(self, number: int, steps: dict[int, float]) -> None:
        """A trial that went on from its checkpoint repeats a few: what was told first stands."""
        stored = self._stored(number)
        new = {step: value for step, value in steps.items() if step not in stored.intermediate_values}
        if new:
            trial = optuna.Trial(self.optuna, stored._trial_id)
            for step, value in new.items():
                trial.report(value, step)

    def _curve(self, trial_id: str) -> dict[int, float]:
        search = self.study.search
        if not self._single:
            return {}
        return intermediate_values(self.run.trial_folder(trial_id).reports(), search.metric, search.resource)

    def _stored(self, number: int) -> optuna.trial.FrozenTrial:
        storage, study_id = self.optuna._storage, self.optuna._study_id
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
