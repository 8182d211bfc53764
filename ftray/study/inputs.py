"""What a study's jobs start from: prepared data and pre-trained encoders, each made once for all trials.

Takes: a study, its run folder. Gives: datasets, the encoder of each fold and why it was chosen, the jobs that pre-train
encoders, and what a job needs and makes in a run folder on object storage.
"""

from typing import Any

from ftray.features import Dataset
from ftray.pretraining import Choice, is_finished
from ftray.runs import RunFolder
from ftray.runs.records import JobKind
from ftray.runs.staging import partial_folder
from ftray.spec import fingerprint
from ftray.study.queue import Job
from ftray.study.spec import StudySpec
from ftray.trial import TrialSpec, choose_encoder, prepare_dataset

SEARCHED_PRETRAINING = "trial/pretraining"
"""How the names of the searched values of a trial's pre-training begin."""


class StudyInputs:
    """The data and the encoders of a study, in its run folder."""

    def __init__(self, spec: StudySpec, run: RunFolder):
        self.run = run
        # Where pre-training itself is searched, the best weights known would make all its values the same.
        searched = any(name.startswith(SEARCHED_PRETRAINING) for name in spec.space.params)
        self._similar = spec.search.job == JobKind.TRIAL and not searched
        self._datasets: dict[str, list[Dataset]] = {}
        self._choices: dict[str, tuple[Choice, ...]] = {}

    def datasets(self, trial: TrialSpec) -> list[Dataset]:
        """A trial's data, by fold; prepared once, or each trial on the same data would read all candles again."""
        key = fingerprint(trial.market, trial.windows, trial.features)
        if key not in self._datasets:
            self._datasets[key] = [prepare_dataset(trial, self.run.path, fold)[1] for fold in range(trial.n_folds)]
            self.run.sync("data")
        return self._datasets[key]

    def choices(self, trial: TrialSpec) -> tuple[Choice, ...]:
        """Whose weights a trial starts from, by fold; none if it needs no job. Prepares its data."""
        datasets = self.datasets(trial)
        if trial.encoder_to_pretrain is None:
            return ()
        key = fingerprint([dataset.fingerprint for dataset in datasets], trial.encoder, trial.pretraining)
        if key not in self._choices:
            self._choices[key] = tuple(
                choose_encoder(trial, dataset, self.run.path, similar=self._similar) for dataset in datasets
            )
            self.run.sync("encoders", "encoders.json")
        return self._choices[key]

    def has_encoder(self, encoder: str) -> bool:
        """Whether an encoder's weights are finished."""
        return is_finished(self.run.encoders_folder / encoder)

    def pretraining_job(self, trial: Job, fold: int) -> Job:
        """The job that makes the encoder of a trial's fold: the one of an interrupted run, or a new one."""
        encoder, reason = trial.encoders[fold], trial.reasons[fold]
        name = f"encoder-{encoder[:12]}"
        earlier = [record for record in self.run.records() if record.id.startswith(name)]
        if earlier and not earlier[-1].is_final:
            job_id = earlier[-1].id
        else:  # an earlier job's weights were deleted: a new job makes them again
            job_id = f"{name}-{len(earlier) + 1}" if earlier else name
            self.run.add_trial(job_id, number=None, kind=JobKind.PRETRAINING, values={}, spec=trial.spec)
        return Job(job_id, JobKind.PRETRAINING, trial.spec, (encoder,), fold=fold, reasons=(reason,))

    def files(self, job: Job) -> dict[str, Any]:
        """What a job needs and makes in a run folder on object storage."""
        data = [f"data/{dataset.fingerprint}" for dataset in self.datasets(job.spec)]
        encoders = [f"encoders/{encoder}" for encoder in job.encoders]
        if job.kind == JobKind.TRIAL:
            return {"needs": ["encoders.json", *data, *encoders]}
        return {"needs": ["encoders.json", data[job.fold], partial_folder(encoders[0])], "makes": encoders}
