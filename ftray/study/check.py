"""What a study will do, printed before it does it."""

from collections.abc import Iterator, Sequence

from ftray.capacity.placement import cpus
from ftray.errors import MissingCandlesError, SpecError
from ftray.market import market_symbols
from ftray.nets import actor_critic_parameters
from ftray.runs.records import JobKind
from ftray.search.samplers import sampled_independently
from ftray.study.spec import StudySpec
from ftray.trading import cannot_trade
from ftray.trial import TrialSpec, place_pretraining, place_trial
from ftray.trial.vram import layout_of, plan_trial
from ftray.vram.gpus import Gpu


def describe_study(spec: StudySpec, gpu: Gpu | None = None) -> Iterator[str]:
    """Lines with observation size, search parameters, parameter counts, number of trials and resources; needs no Ray.

    gpu: the model whose shares are printed, too. Where the candles are not on this machine, a line says so in place of
        the sizes, which depend on them.
    """
    trials = spec.corner_trials
    try:
        unable = [f"  benchmark     {line}" for line in describe_benchmarks(trials[0])]
        observations, parameters = [*_observations(trials), *unable], list(_parameters(trials))
    except MissingCandlesError as error:  # a cluster may have them, and the rest of the file can be checked here
        observations = [f"  observation   unknown, and all sizes with it: {error}"]
        parameters, gpu = [], None
    yield f"study {spec.name}"
    for module, source in spec.plugins.items():
        yield f"  plug-in       {module}, source {source}"
    yield from (*observations, *_reach(spec))
    search = spec.search
    goals = ", ".join(f"{goal.metric} to be {goal.direction}d" for goal in search.goals)
    yield f"  trials        {search.n_trials}, {goals} ({search.sampler.kind})"
    for bound in search.bounds:
        yield f"  constraint    {bound}"
    independent = sampled_independently(search.sampler, spec.space)
    if independent and search.sampler.kind != "random":
        yield f"  independent   sampled without regard to the other values: {', '.join(independent)}"
    for name, param in spec.space.params.items():
        yield f"  searched      {name}: {', '.join(map(str, param.extremes()))}"
    yield from parameters
    if max(trial.n_trainings for trial in trials) > 1:
        folds, seeds, trainings = ([getattr(t, name) for t in trials] for name in ("n_folds", "seeds", "n_trainings"))
        yield (
            f"  validation    {span(folds)} folds × {span(seeds)} seeds = {span(trainings)} trainings per trial, "
            f"{span([trial.ppo.env_steps for trial in trials])} env steps each"
        )
    steps = [trial.env_steps for trial in trials]
    cores = [cpus(place_trial(trial, ()).bundles) for trial in trials]
    yield f"  training      {span(steps)} env steps per trial, {span(cores)} CPUs"
    yield from _pretraining(trials)
    if gpu is not None and search.job == JobKind.TRIAL:
        yield from _shares(gpu, trials)


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
        shapes = {(e.d_token, e.n_blocks, e.n_heads, e.patch_length) for e in encoders if e is not None}
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
