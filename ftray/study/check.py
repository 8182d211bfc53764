"""What a study will do, printed before it does it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftray.capacity.placement import cpus
from ftray.errors import MissingCandlesError, SpecError
from ftray.market import load_market, market_symbols
from ftray.nets import actor_critic_parameters
from ftray.runs.records import JobKind
from ftray.search.samplers import sampled_independently
from ftray.storage import Location
from ftray.study.data_summary import describe_data, describe_windows
from ftray.study.duration import describe_duration
from ftray.study.spec import StudySpec
from ftray.study.start_check import describe_start
from ftray.trading import cannot_trade
from ftray.trial import TrialSpec, place_pretraining, place_trial
from ftray.trial.vram import layout_of, plan_trial
from ftray.vram.gpus import Gpu


def describe_study(
    spec: StudySpec, gpu: Gpu | None = None, runs: Location = Path("runs"), *, here: bool = True
) -> Iterator[str]:
    """Lines with candles and windows, observation size, search parameters, parameter counts, number of trials,
    resources, what the study starts from, and how long it takes; needs no Ray.

    gpu: the model whose shares are printed, too. runs: where run folders are. here: whether the study is to run on this
        machine, whose time is then estimated. Where the candles are not on this machine, a line says so in place of
        everything that depends on them.

    Raises: FtrayError for what `ftray tune` would refuse.
    """
    trials, candles = spec.corner_trials, None
    yield f"study {spec.name}"
    for module, source in spec.plugins.items():
        yield f"  plug-in       {module}, source {source}"
    try:
        candles = load_market(trials[0].market)
    except MissingCandlesError as error:  # a cluster may have them, and the rest of the file can be checked here
        yield f"  candles       unknown, and all sizes with them: {error}"
    else:
        yield from describe_data(trials[0])
        yield from describe_windows(trials[0], candles)
        yield from _observations(trials)
        yield from (f"  benchmark     {line}" for line in describe_benchmarks(trials[0]))
    yield from (*_reach(spec), *_searched(spec))
    if candles is not None:
        yield from _parameters(trials)
    yield from (*_training(trials), *_pretraining(trials))
    if candles is None:
        return
    if gpu is not None and spec.search.job == JobKind.TRIAL:
        yield from _shares(gpu, trials)
    yield from describe_start(spec, runs, candles)
    if here:
        yield from describe_duration(spec, len(candles), runs)


def _searched(spec: StudySpec) -> Iterator[str]:
    """How many trials there are, what they are compared by, and what is searched."""
    search = spec.search
    goals = ", ".join(f"{goal.metric} to be {goal.direction}d" for goal in search.goals)
    yield f"  trials        {search.n_trials}, {goals} ({search.sampler.kind})"
    for bound in search.bounds:
        yield f"  constraint    {bound}"
    for line in describe_alike(spec):
        yield f"  {line}"
    independent = sampled_independently(search.sampler, spec.space)
    if independent and search.sampler.kind != "random":
        yield f"  independent   sampled without regard to the other values: {', '.join(independent)}"
    for name, param in spec.space.params.items():
        yield f"  searched      {name}: {', '.join(map(str, param.extremes()))}"


def _training(trials: Sequence[TrialSpec]) -> Iterator[str]:
    """The trainings of a trial, their env steps and cores."""
    if max(trial.n_trainings for trial in trials) > 1:
        folds, seeds, trainings = ([getattr(t, name) for t in trials] for name in ("n_folds", "seeds", "n_trainings"))
        yield (
            f"  validation    {span(folds)} folds × {span(seeds)} seeds = {span(trainings)} trainings per trial, "
            f"{span([trial.ppo.env_steps for trial in trials])} env steps each"
        )
    yield from _selection(trials)
    cores = [cpus(place_trial(trial, ()).bundles) for trial in trials]
    yield f"  training      {span([trial.env_steps for trial in trials])} env steps per trial, {span(cores)} CPUs"


def _selection(trials: Sequence[TrialSpec]) -> Iterator[str]:
    """How many evaluations the result of a training is the best of, if it is selected among them."""
    selecting = [trial.ppo for trial in trials if trial.select == "best_validation"]
    if selecting:
        evaluations = [math.ceil(ppo.env_steps / ppo.batch_size / ppo.evaluate_every) for ppo in selecting]
        yield (
            f"  selection     a training's result is the best of its evaluations, about {span(evaluations)}: the luck "
            "line counts them as looks"
        )


def describe_alike(spec: StudySpec) -> list[str]:
    """A line if all trials of a study have the same configuration, and the same seeds with it; else none."""
    if spec.space.params or spec.search.n_trials == 1:
        return []
    return [
        f"searched      nothing: all {spec.search.n_trials} trials are alike; ranges in the file make them differ, "
        "trial.seeds trains one trial on several seeds, search.n_trials=1 runs one"
    ]


def describe_benchmarks(trial: TrialSpec) -> list[str]:
    """A line for each benchmark that cannot trade under the trial's rules, with the reason.

    Raises: MissingCandlesError where the symbols are not known on this machine.
    """
    unable = cannot_trade(trial.trading.rules, market_symbols(trial.market))
    return [f"{name} cannot trade, and is no comparison: {why}" for name, why in unable.items()]


def _reach(spec: StudySpec) -> Iterator[str]:
    """What windows are made for where trials look back differently far."""
    if spec.reach:
        words = {"lookback": "lookback", "warm_up": "indicators' warm-up"}
        longest = " and ".join(f"{words[name]} of {bars} bars" for name, bars in spec.reach.items())
        yield f"  windows       the same for all trials: made for the longest {longest} that is searched"


def _observations(trials: Sequence[TrialSpec]) -> Iterator[str]:
    for layout in sorted({layout_of(trial) for trial in trials}, key=lambda layout: layout.size):
        yield (
            f"  observation   {layout.size:,} floats: 1 cash + {layout.n_assets} holdings + {layout.n_indicators} "
            f"indicators × {layout.n_assets} assets × {layout.lookback} bars"
        )


def _parameters(trials: Sequence[TrialSpec]) -> Iterator[str]:
    for kind in sorted({trial.encoder.kind for trial in trials}):
        counts = [actor_critic_parameters(t.encoder, layout_of(t)) for t in trials if t.encoder.kind == kind]
        yield f"  parameters    {kind}: {span(counts)} (actor-critic, heads included)"


def _pretraining(trials: Sequence[TrialSpec]) -> Iterator[str]:
    pretrained = [trial for trial in trials if trial.encoder_to_pretrain]
    if pretrained:
        encoders = [trial.encoder_to_pretrain for trial in pretrained]
        shapes = {(e.d_token, e.n_blocks, e.n_heads, e.patch_length, e.readout) for e in encoders if e is not None}
        yield (
            f"  pre-training  once per shape and data ({len(shapes)} shapes at the ranges' ends), "
            f"{span([t.pretraining.epochs for t in pretrained])} epochs, "
            f"{span([cpus(place_pretraining(t, ()).bundles) for t in pretrained])} CPUs"
        )


def _shares(gpu: Gpu, trials: Sequence[TrialSpec]) -> Iterator[str]:
    """What the trials get of a GPU model. If one does not fit, a line says so: other users may have larger GPUs."""
    try:
        plans = [plan_trial(trial, gpu) for trial in trials]
    except SpecError as error:
        yield f"  GPU           {error}"
        return
    ks = [plan.workers_per_gpu for plan in plans]
    share = f"1/{max(ks)}" if min(ks) == max(ks) else f"1/{max(ks)} to 1/{min(ks)}"
    yield (
        f"  GPU           {share} of a {gpu.name} ({gpu.gib:.2f} GiB) per learner, "
        f"{span([plan.trials_per_gpu for plan in plans])} trials per GPU; more: ftray vram"
    )


def span(values: Sequence[float]) -> str:
    """The smallest and the largest of some numbers; a single number where they are equal."""
    low, high = (int(end) if float(end).is_integer() else end for end in (min(values), max(values)))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
