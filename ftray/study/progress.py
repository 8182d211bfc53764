"""What a running study prints: a line per change of a job's state, and one per validation result."""

import time
from collections.abc import Mapping
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

from ftray.boards.tensorboard import TensorBoard
from ftray.metrics import format_metric
from ftray.runs import RunFolder
from ftray.runs.provenance import git_commit
from ftray.runs.records import JobKind
from ftray.say import Say
from ftray.spec import parse
from ftray.study.searcher import StudySearcher
from ftray.tables.parquet import compact
from ftray.trial import TrialSpec
from ftray.trial.out_of_memory import memory_plan_of
from ftray.units import DURATION


class TuneReporter(TrialProgressCallback):
    """Prints a line per change of a job's state, and one per validation result, in place of Tune's own reporter."""

    def __init__(self, run: RunFolder, searcher: StudySearcher, say: Say, show: Say):
        """say: prints a line. show: prints the status line below all others, in place of the last one."""
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
        searched = describe_searched(self.run.record(job.id).values)
        self._line(job.id, ", ".join([f"started: {describe(job.spec, job.kind)}", *searched]))
        for reason in dict.fromkeys(job.reasons):
            if job.kind == JobKind.PRETRAINING or reason.startswith("uses"):  # its own job has a line of its own
                self._line(job.id, reason)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        job = self.searcher.job(trial.trial_id)
        self.tensorboard.follow(job.id)
        if job.kind == JobKind.TRIAL and "env_steps" in result:
            metric = self.searcher.spec.search.metric
            value = format_metric(metric, result.get(metric))
            self._line(job.id, f"{result['env_steps']:,}/{job.spec.env_steps:,} steps, {metric} {value}")
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
        if record.state == "INTERRUPTED" and not why:  # it is retried as soon as there is room
            memory_plan, trial = memory_plan_of(self.run.trial_folder(job_id)), parse(TrialSpec, record.spec)
            why = f": out of memory, retried with {memory_plan.describe(trial)}"
        self._line(job_id, f"{record.state}{why}")
        self.tensorboard.ended(job_id)
        self._compact()

    def _compact(self) -> None:
        """Compacts at intervals: it rewrites all tables, so it takes longer the more trials there are."""
        began = time.monotonic()
        if began >= self._compact_at:
            compact(self.run)
            self._compact_at = time.monotonic() + max(10.0, 50 * (time.monotonic() - began))

    def _line(self, job_id: str, text: str) -> None:
        self.say(f"{time.strftime('%H:%M:%S')}  {job_id:22}  {text}")
        self.show(self._status())

    def _status(self) -> str:
        n_trials, ended = self.searcher.spec.search.n_trials, self.searcher.n_ended
        seconds = time.monotonic() - self.started
        text = f"{ended} of {n_trials} trials ended after {DURATION.format(seconds)}"
        if ended > self.ended_before:
            left = (n_trials - ended) * seconds / (ended - self.ended_before)
            text += f", about {DURATION.format(left)} to go"
        return f"{text}; Ctrl-C stops, the same command continues"


NAMED = {
    *(f"trial/encoder/{field}" for field in ("kind", "d_token", "n_blocks", "n_heads", "pretrained", "frozen")),
    *("trial/encoder/encoding_dim", "trial/ppo/learning_rate", "trial/pretraining/epochs"),
}
"""Search parameters whose values `describe` names."""


def describe_searched(values: Mapping[str, Any]) -> list[str]:
    """What distinguishes a trial from the others beyond what `describe` says.

    >>> describe_searched({"trial/encoder/kind": "mlp", "trial/trading/no_trade": 0.0217, "trial/encoder/hidden": 64})
    ['no_trade 0.022', 'hidden 64']
    """
    others = {name.rpartition("/")[2]: value for name, value in values.items() if name not in NAMED}
    return [f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in others.items()]


def describe(spec: TrialSpec, kind: JobKind = JobKind.TRIAL) -> str:
    """A job in a few words."""
    encoder = spec.encoder
    if encoder.kind != "ft":
        return f"{encoder.kind}, encoding_dim {encoder.encoding_dim}, learning rate {spec.ppo.learning_rate:.1e}"
    shape = f"ft, d_token {encoder.d_token}, {encoder.n_blocks} blocks, {encoder.n_heads} heads"
    if kind == JobKind.PRETRAINING:
        return f"pre-training {shape}, {spec.pretraining.epochs} epochs"
    start = "from scratch" if encoder.pretrained == "none" else "frozen" if encoder.frozen else "fine-tuned"
    return f"{shape}, {start}, encoding_dim {encoder.encoding_dim}, learning rate {spec.ppo.learning_rate:.1e}"
