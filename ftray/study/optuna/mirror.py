"""The Optuna study that mirrors a run folder: rebuilt from it on start, and updated with everything after that.

Takes: trial records. Gives: an Optuna study that agrees with them in states, values, curves and constraints.
"""

from typing import Any

import optuna

from ftray.runs import RunFolder, TrialRecord
from ftray.search.objectives import is_number
from ftray.search.optuna_trials import (
    OPTUNA_STATES,
    frozen_trial,
    intermediate_values,
    user_attributes,
    values_of,
    violations,
)
from ftray.search.samplers import SAMPLERS
from ftray.study.spec import StudySpec

NOTED = "sampler_noted"
"""The event with the attributes by which a sampler counts generations."""


class OptunaMirror:
    """Keeps an Optuna study in agreement with a run folder."""

    def __init__(self, spec: StudySpec, run: RunFolder, optuna_study: optuna.Study):
        self.spec, self.run, self.optuna_study = spec, run, optuna_study
        self._single = len(spec.search.goals) == 1  # Optuna takes no steps for several objectives
        self._notes = {event["id"]: event["notes"] for event in run.events() if event["event"] == NOTED}

    def add(self, record: TrialRecord) -> None:
        """Stores a trial of an earlier run as it was left."""
        search, notes = self.spec.search, self._notes.get(record.id)
        steps = self._curve(record.id)
        self.optuna_study.add_trial(frozen_trial(record, self.spec.space, search.goals, search.bounds, steps, notes))

    def on_sampled(self, trial: optuna.Trial, job_id: str) -> None:
        """Records what the sampler stored about a trial that it has just sampled: it counts generations by it."""
        if SAMPLERS[self.spec.search.sampler.kind].by_generation:
            _ = trial.relative_params  # not sampled for a given point unless read here: it would be no parent
            attributes = self._stored(trial.number).system_attrs
            noted = {key: value for key, value in attributes.items() if key != "fixed_params"}
            self.run.append_event(NOTED, id=job_id, notes=noted)

    def on_report(self, number: int, result: dict[str, Any]) -> None:
        """Adds an intermediate value of a trial; a result without the metric is ignored."""
        value = result.get(self.spec.search.metric)
        if self._single and is_number(value):
            self._add_steps(number, {int(result[self.spec.search.resource]): value})

    def on_end(self, record: TrialRecord) -> None:
        """Stores how a trial ended."""
        assert record.number is not None
        search, stored = self.spec.search, self._stored(record.number)
        self._add_steps(record.number, self._curve(record.id))  # Tune withholds the result at which it was stopped
        trial = optuna.Trial(self.optuna_study, stored._trial_id)
        for name, value in user_attributes(record).items():
            trial.set_user_attr(name, value)
        if record.state != "FAILED":
            for name, violation in violations(record.metrics, search.bounds).items():
                trial.set_constraint(name, violation)
        values = values_of(record.metrics, search.goals, search.bounds) if record.state == "COMPLETE" else None
        self.optuna_study.tell(record.number, values, state=OPTUNA_STATES[record.state])

    def _add_steps(self, number: int, steps: dict[int, float]) -> None:
        """Adds intermediate values. A trial that continues from its checkpoint repeats some: the first ones stay."""
        stored = self._stored(number)
        new = {step: value for step, value in steps.items() if step not in stored.intermediate_values}
        if new:
            trial = optuna.Trial(self.optuna_study, stored._trial_id)
            for step, value in new.items():
                trial.report(value, step)

    def _curve(self, trial_id: str) -> dict[int, float]:
        search = self.spec.search
        if not self._single:
            return {}
        return intermediate_values(self.run.trial_folder(trial_id).reports(), search.metric, search.resource)

    def _stored(self, number: int) -> optuna.trial.FrozenTrial:
        storage, study_id = self.optuna_study._storage, self.optuna_study._study_id
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
