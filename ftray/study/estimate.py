"""What a study costs on one machine, estimated before it runs: hours, and how many trials fit in them.

Takes: a study that `draft_study` writes, a machine. Gives: an `Estimate`.
"""

import dataclasses
import math
import statistics

from ftray.capacity.nodes import Node
from ftray.nets import EncoderSpec, FTSpec, MLPSpec
from ftray.runs.labels import encoder_label
from ftray.spec import to_mapping
from ftray.study.pace import Paces
from ftray.study.spec import StudySpec
from ftray.study.speed import Clock, Speed, speed_of, trials_at_once
from ftray.trial import TrialSpec


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a study costs on a machine.

    speeds: by encoder, of one training and one pre-training: the MLP, the smallest and the largest FT, the largest
        frozen. trainings: of a trial. n_folds: each encoder is pre-trained in each. n_shapes: encoders to pre-train.
    at_once: trials that the machine holds. throughput: how many times as much they get done as one.
    """

    speeds: dict[str, Speed]
    trainings: int
    n_folds: int
    n_shapes: int
    at_once: int
    throughput: float

    @property
    def trial(self) -> float:
        """Seconds of the mean trial, where MLP, FT from scratch and FT pre-trained are equally likely."""
        mlp, *fts, frozen = (speed.training for speed in self.speeds.values())
        scratch = statistics.mean(fts)
        return self.trainings * statistics.mean([mlp, scratch, (scratch + frozen) / 2])

    @property
    def pretraining(self) -> float:
        """Seconds of the mean pre-training."""
        _, *fts, _ = self.speeds.values()
        return statistics.mean(speed.pretraining for speed in fts)

    def hours(self, n_trials: int) -> float:
        """Of a study of so many trials; every third is pre-trained, and equal shapes share their encoders."""
        n_pretrained = self.n_folds * min(self.n_shapes, math.ceil(n_trials / 3))
        return (n_trials * self.trial + n_pretrained * self.pretraining) / self.throughput / 3600

    def n_trials(self, hours: float, most: int) -> int:
        """The most trials that end in so many hours; 0 if not even one does."""
        return max((n for n in range(most + 1) if self.hours(n) <= hours), default=0)


def estimate(study: StudySpec, n_bars: int, machine: Node, paces: Paces | None, clock: Clock) -> Estimate:
    """The costs of a study whose encoder is a choice of an MLP and FTs, as `draft_study` writes it.

    n_bars: of its candles. Raises: SpecError for a trial that does not fit on the machine's GPU.
    """
    fts: dict[bool, list[TrialSpec]] = {False: [], True: []}
    for trial in study.corner_trials:
        if isinstance(trial.encoder, FTSpec):
            fts[trial.encoder.frozen].append(trial)
    free, frozen = (sorted(trials, key=lambda trial: _size(trial.encoder)) for trials in fts.values())
    mlp = next(trial for trial in study.corner_trials if isinstance(trial.encoder, MLPSpec))
    shown = [mlp, free[0], free[-1], frozen[-1]]
    speeds = {_label(trial): speed_of(trial, n_bars, machine, paces, clock) for trial in shown}
    shapes = {_size(trial.encoder)[:3] for trial in free}
    at_once, throughput = min(trials_at_once(trial, machine) for trial in shown)
    return Estimate(speeds, mlp.n_trainings, mlp.n_folds, len(shapes), at_once, throughput)


def _size(encoder: EncoderSpec) -> tuple[int, ...]:
    """The first three decide which pre-training an encoder needs."""
    assert isinstance(encoder, FTSpec)
    return encoder.d_token, encoder.n_blocks, encoder.n_heads, encoder.encoding_dim


def _label(trial: TrialSpec) -> str:
    encoder = to_mapping(trial.encoder)
    return f"{encoder_label(encoder)}{', frozen' * bool(encoder.get('frozen'))}"
