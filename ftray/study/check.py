"""What a study will do, told before it does it."""

from collections.abc import Iterator, Sequence

from ftray.features import ObservationLayout
from ftray.market import market_symbols
from ftray.nets import actor_critic_parameters
from ftray.study.spec import StudySpec
from ftray.trial import TrialSpec, cpus, pretraining_bundles, trial_bundles


def describe_study(study: StudySpec) -> Iterator[str]:
    """Lines that tell observation size, parameter counts, holes, number of trials and resources; touches no Ray."""
    trials = [study.trial(filled) for filled in study.space.ends()]
    layouts = sorted({layout_of(trial) for trial in trials}, key=lambda layout: layout.size)
    yield f"study {study.name}"
    for layout in layouts:
        yield (
            f"  observation   {layout.size:,} floats: 1 cash + {layout.n_assets} holdings + {layout.n_indicators} "
            f"indicators × {layout.n_assets} assets × {layout.lookback} bars"
        )
    search = study.search
    yield f"  trials        {search.n_trials}, {search.metric} to be {search.goal}d ({search.sampler})"
    for name, hole in study.space.holes.items():
        yield f"  hole          {name}: {', '.join(map(str, hole.ends()))}"
    for kind in sorted({trial.encoder.kind for trial in trials}):
        counts = [actor_critic_parameters(t.encoder, layout_of(t)) for t in trials if t.encoder.kind == kind]
        yield f"  parameters    {kind}: {_span(counts)} (actor-critic, heads included)"
    if max(trial.n_runs for trial in trials) > 1:
        folds, seeds, runs = ([getattr(t, name) for t in trials] for name in ("n_folds", "seeds", "n_runs"))
        yield (
            f"  validation    {_span(folds)} folds × {_span(seeds)} seeds = {_span(runs)} runs per trial, "
            f"{_span([trial.ppo.env_steps for trial in trials])} env steps each"
        )
    steps = [trial.env_steps for trial in trials]
    yield f"  training      {_span(steps)} env steps per trial, {_span([cpus(trial_bundles(t)) for t in trials])} CPUs"
    pretrained = [trial for trial in trials if trial.encoder_to_pretrain]
    if pretrained:
        encoders = [trial.encoder_to_pretrain for trial in pretrained]
        shapes = {(e.d_token, e.n_blocks, e.n_heads, e.patch_length) for e in encoders if e is not None}
        yield (
            f"  pre-training  once per shape and data ({len(shapes)} shapes at the ranges' ends), "
            f"{_span([t.pretraining.epochs for t in pretrained])} epochs, "
            f"{_span([cpus(pretraining_bundles(t)) for t in pretrained])} CPUs"
        )


def layout_of(trial: TrialSpec) -> ObservationLayout:
    """The observation of a trial, from its spec and the names of its market's files alone."""
    return ObservationLayout(market_symbols(trial.market), tuple(trial.features.indicators), trial.features.lookback)


def _span(values: Sequence[float]) -> str:
    low, high = (int(end) if float(end).is_integer() else end for end in (min(values), max(values)))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
