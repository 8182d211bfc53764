"""How long a study takes on one machine, before it runs: from all trials like the fastest to all like the slowest.

Takes: a study, the bars of its candles, run folders of earlier trials. Gives: lines. Steps of encoders of which no
trial has ended here yet are timed, which takes seconds.
"""

from collections.abc import Iterator, Sequence

from ftray.capacity.nodes import Node, this_machine
from ftray.errors import SpecError, StorageError
from ftray.nets import actor_critic_parameters
from ftray.runs.records import JobKind
from ftray.storage import Location
from ftray.study.pace import Paces
from ftray.study.spec import StudySpec
from ftray.study.speed import Clock, Speed, seconds_per_sample, speed_of, trials_at_once
from ftray.trial import TrialSpec
from ftray.trial.vram import layout_of
from ftray.units import DURATION


def describe_duration(
    spec: StudySpec, n_bars: int, runs: Location, machine: Node | None = None, clock: Clock = seconds_per_sample
) -> Iterator[str]:
    """A line with the time that the study is likely to take, and where it is from; why not, where a trial does not fit.

    n_bars: of the candles. runs: run folders whose trials show how fast this machine is. machine: this one by default.
    """
    machine = machine or this_machine()
    try:
        paces: Paces | None = Paces(runs)
    except (SpecError, StorageError):
        paces = None
    try:
        chosen = _extremes(spec.corner_trials)
        speeds = [(trial, speed_of(trial, n_bars, machine, paces, clock)) for trial in chosen]
        at_once, throughput = trials_at_once(chosen[-1], machine)
    except SpecError as error:
        yield f"  duration      unknown here: {error}"
        return
    seconds = sorted(_seconds(spec, trial, speed) / throughput for trial, speed in speeds)
    low, high = (DURATION.format(end) for end in (seconds[0], seconds[-1]))
    n_measured = sum(speed.n_measured for _, speed in speeds)
    source = f"by {n_measured} trials that ended before" if n_measured else "by a few timed steps of each encoder"
    early = "" if spec.search.scheduler.kind == "none" else "; less where the scheduler stops trials"
    span = low if low == high else f"{low} to {high}"
    yield f"  duration      about {span} on this machine, {at_once} at a time, {source}{early}"


def _extremes(trials: Sequence[TrialSpec]) -> list[TrialSpec]:
    """Of each kind of encoder the trials with the smallest and the largest network, the largest of all last."""
    by_kind: dict[str, list[tuple[int, TrialSpec]]] = {}
    for trial in trials:
        n = actor_critic_parameters(trial.encoder, layout_of(trial)) * trial.env_steps
        by_kind.setdefault(trial.encoder.kind, []).append((n, trial))
    ends = [end(own, key=lambda pair: pair[0]) for own in by_kind.values() for end in (min, max)]
    found = {id(trial): (n, trial) for n, trial in ends}
    return [trial for _, trial in sorted(found.values(), key=lambda pair: pair[0])]


def _seconds(spec: StudySpec, trial: TrialSpec, speed: Speed) -> float:
    """Of all jobs of the study, one after the other, if all trials were like this one."""
    n_trials = spec.search.n_trials
    if spec.search.job == JobKind.PRETRAINING:
        return n_trials * trial.n_folds * speed.pretraining
    pretraining = trial.n_folds * speed.pretraining if trial.encoder_to_pretrain else 0.0
    return n_trials * trial.n_trainings * speed.training + pretraining
