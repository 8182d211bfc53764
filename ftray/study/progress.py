"""What a running study says: one line per change of a trial's state, and one per validation figure."""

import time
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

from ftray.boards.tensorboard import TensorBoard
from ftray.capacity.local_ray import Say
from ftray.runs import RunFolder
from ftray.runs.provenance import git_commit
from ftray.spec import parse
from ftray.study.searcher import TRIAL, StudySearcher
from ftray.tables.parquet import compact
from ftray.trial import TrialSpec
from ftray.trial.out_of_memory import shape_of


class Progress(TrialProgressCallback):
    """One line per change of a trial's state, and one per validation figure; takes the place of Tune's own reporter."""

    def __init__(self, run: RunFolder, searcher: StudySearcher, say: Say, show: Say):
        """say: takes each line. show: takes the line that stands below them all and always tells the latest."""
        self.run, self.searcher, self.say, self.show = run, searcher, say, show
        self.started, self.ended_before = time.monotonic(), searcher.n_ended
        self.commit, self._compact_at = git_commit(), 0.0
        self.tensorboard = TensorBoard(run)
        self.tensorboard.catch_up()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks into a snapshot that is never restored, and a terminal cannot be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = self.searcher.job(trial.trial_id)
        self.run.trial_started(job.id, commit=self.commit)
        self._line(job.id, f"started: {describe(job.spec, pretraining=job.kind != TRIAL)}")
        for why in dict.fromkeys(job.why):
            if job.kind != TRIAL or why.startswith("uses"):  # that it waited for its own job goes without saying
                self._line(job.id, why)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        job = self.searcher.job(trial.trial_id)
        self.tensorboard.follow(job.id)
        if job.kind == TRIAL and "env_steps" in result:
            value = result.get(self.searcher.study.search.metric, float("nan"))
            self._line(
                job.id,
                f"{result['env_steps']:,}/{job.spec.env_steps:,} steps, "
                f"{self.searcher.study.search.metric} {value:.2f}",
            )
        elif "train_loss" in result:
            self._line(
                job.id,
                f"epoch {result['epoch']}/{job.spec.pretraining.epochs}, "
                f"validation loss {result.get('validation_loss', float('nan')):.4f}",
            )

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.run.sync()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial.config["id"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial.config["id"])

    def _ended(self, job_id: str) -> None:
        record = self.run.record(job_id)
        why = f": {record.error.splitlines()[0]}" if record.error else ""
        if record.state == "INTERRUPTED" and not why:  # it goes on as soon as there is room
            shape = shape_of(self.run.trial_folder(job_id))
            why = f": out of memory, next {shape.describe(parse(TrialSpec, record.spec))}"
        self._line(job_id, f"{record.state}{why}")
        self.tensorboard.ended(job_id)
        self._compact()

    def _compact(self) -> None:
        """Now and then: the table is written whole, so that each time takes longer the more trials there are."""
        began = time.monotonic()
        if began >= self._compact_at:
            compact(self.run)
            self._compact_at = time.monotonic() + max(10.0, 50 * (time.monotonic() - began))

    def _line(self, job_id: str, text: str) -> None:
        self.say(f"{time.strftime('%H:%M:%S')}  {job_id:22}  {text}")
        self.show(self._standing())

    def _standing(self) -> str:
        n_trials, ended = self.searcher.study.search.n_trials, self.searcher.n_ended
        seconds = time.monotonic() - self.started
        text = f"{ended} of {n_trials} trials ended after {_clock(seconds)}"
        if ended > self.ended_before:
            left = (n_trials - ended) * seconds / (ended - self.ended_before)
            text += f", about {_clock(left)} to go"
        return f"{text}; Ctrl-C stops, the same command continues"


def _clock(seconds: float) -> str:
    return f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"


def describe(spec: TrialSpec, pretraining: bool = False) -> str:
    """A trial in a few words."""
    encoder = spec.encoder
    if encoder.kind == "mlp":
        return f"mlp, encoding_dim {encoder.encoding_dim}, learning rate {spec.ppo.learning_rate:.1e}"
    shape = f"ft, d_token {encoder.d_token}, {encoder.n_blocks} blocks, {encoder.n_heads} heads"
    if pretraining:
        return f"pre-training {shape}, {spec.pretraining.epochs} epochs"
    start = "from scratch" if encoder.pretrained == "none" else "frozen" if encoder.frozen else "fine-tuned"
    return f"{shape}, {start}, encoding_dim {encoder.encoding_dim}, learning rate {spec.ppo.learning_rate:.1e}"
