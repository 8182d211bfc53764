"""What a study asks of a cluster that does not run yet: nodes, jobs at once, hours, money.

Takes: a study, a cluster file, run folders of earlier trials. Gives: lines. Starts nothing and connects to nothing.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftray.capacity.cluster_file import read_cluster_file
from ftray.capacity.elastic import Capacity
from ftray.capacity.measured_rows import MeasuredRows
from ftray.capacity.nodes import PRICE, Node, nodes_of_file
from ftray.capacity.placement import Placement
from ftray.errors import SpecError, StorageError
from ftray.runs.records import JobKind
from ftray.storage import Location
from ftray.study.check import span
from ftray.study.pace import Pace, Paces
from ftray.study.placing import capacity_of
from ftray.study.spec import StudySpec
from ftray.study.vram import DistinctJob, describe_node, distinct_jobs, place, source_of
from ftray.trial import TrialSpec


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The forecast of one job, as if all trials were like it. needed: how many nodes of each type its trials fill.

    pace: None where nothing was measured.
    """

    name: str
    kind: JobKind
    spec: TrialSpec
    placement: Placement
    max_concurrent: int
    needed: Mapping[str, int]
    pace: Pace | None

    def hours(self, n_trials: int) -> float:
        assert self.pace is not None
        rounds = math.ceil(n_trials / max(1, min(self.max_concurrent, n_trials)))
        return rounds * self.pace.seconds * self.spec.env_steps / 3600


def describe_on_cluster(spec: StudySpec, file: Path, runs: Location, study_words: str) -> Iterator[str]:
    """What runs where and how many at once, the nodes that it needs, its hours and cost, and what never fits.

    runs: where measured trials are stored, and the rows that `ftray vram --measure` stored.
    study_words: how the study is named on a command line.
    """
    nodes, prices, paces = nodes_of_file(file), prices_of_file(file), None
    yield f"cluster {file}"
    try:
        nodes, paces = MeasuredRows(runs).nodes(nodes), Paces(runs)
    except StorageError as error:
        yield f"  measured      unknown, as this machine does not reach it: {error}"
    for node in nodes:
        price = f"; {prices[node.name]:g} an hour" if node.name in prices else ""
        yield f"  {describe_node(node)}{price}"
    forecasts = []
    for job in distinct_jobs(spec):
        try:
            forecasts.append(_forecast(spec, job, place(job, nodes), nodes, paces))
        except SpecError as error:
            yield f"  never fits    {job.name}: {error}"
    try:
        capacity_of(spec, nodes)
    except SpecError as error:
        yield f"  never fits    {error}"
        return
    trials = [forecast for forecast in forecasts if forecast.kind == JobKind.TRIAL]
    if trials:
        yield from _placed(spec, trials, nodes)
        if paces:
            yield from _reckoned(spec, trials, nodes, prices, runs, study_words)
        else:
            yield f"  hours, cost   unknown: this machine does not reach {runs}"


def prices_of_file(file: Path) -> dict[str, float]:
    """The price per hour of each node type that has one in the file."""
    _, types = read_cluster_file(file).node_types()
    labels = {name: (kind.get("labels") or {}).get(PRICE) for name, kind in types.items()}
    try:
        return {name: float(price) for name, price in labels.items() if price is not None}
    except ValueError:
        raise SpecError(f"{file}: the label {PRICE} must be a number in quotes, got {labels}") from None


def _forecast(
    spec: StudySpec, job: DistinctJob, placement: Placement, nodes: Sequence[Node], paces: Paces | None
) -> Forecast:
    most = Capacity(tuple(nodes), ((job.name, placement),)).max_concurrent
    max_concurrent = min(most, spec.search.max_concurrent or most)
    left, needed = min(max_concurrent, spec.search.n_trials), dict[str, int]()
    for node in nodes:
        per_node = placement.jobs_per_node(node)
        n = min(node.n, math.ceil(left / per_node)) if per_node and left > 0 else 0
        needed |= {node.name: n} if n else {}
        left -= n * per_node
    pace = paces.of(job.spec, placement.plan is not None) if paces else None
    return Forecast(job.name, job.kind, job.spec, placement, max_concurrent, needed, pace)


def _placed(spec: StudySpec, trials: Sequence[Forecast], nodes: Sequence[Node]) -> Iterator[str]:
    """How trials are placed on nodes, as ranges over all of them."""
    plans = [(forecast.placement.plan, forecast.spec) for forecast in trials if forecast.placement.plan]
    if plans:
        yield f"  trials        {span([plan.trials_per_gpu for plan, _ in plans])} per GPU; more: ftray vram"
        yield f"  GiB are from  {', '.join(sorted({source_of(plan, trial) for plan, trial in plans}))}"
    per_node = [forecast.placement.jobs_per_node(node) for forecast in trials for node in nodes]
    yield f"  per node      {span([n for n in per_node if n] or [0])}, cores counted"
    yield f"  at once       {span([forecast.max_concurrent for forecast in trials])}, of {spec.search.n_trials} in all"
    yield f"  nodes         {span([sum(forecast.needed.values()) for forecast in trials])}, without the head"


def _reckoned(
    spec: StudySpec,
    trials: Sequence[Forecast],
    nodes: Sequence[Node],
    prices: Mapping[str, float],
    runs: Location,
    study_words: str,
) -> Iterator[str]:
    """Hours and cost, from all trials like the cheapest of the ranges' ends to all like the most expensive, as far as
    these were measured."""
    n_trials, shapes = spec.search.n_trials, len(trials)
    unknown = [forecast.name for forecast in trials if forecast.pace is None]
    if len(unknown) == shapes:
        yield f"  hours, cost   unknown: no trial of this shape has ended in {runs} on such hardware yet: {unknown[0]}"
        yield f"                measure some there: ftray tune {study_words} --runs {runs} --set search.n_trials=3"
        return
    trials = [forecast for forecast in trials if forecast.pace is not None]
    hours = [forecast.hours(n_trials) for forecast in trials]
    n_measured = sum(forecast.pace.n for forecast in trials if forecast.pace)
    early = "" if spec.search.scheduler.kind == "none" else "; less where the scheduler stops trials"
    yield f"  hours         about {_figures(hours)}, by {n_measured} trials measured before{early}"
    if unknown:
        yield f"                of {len(trials)} of {shapes} shapes; the others are unknown, like {unknown[0]}"
    if any(forecast.spec.encoder_to_pretrain for forecast in trials):
        yield "                and pre-training before its trials, once per shape"
    costs = [_cost(forecast, nodes, prices, spent) for forecast, spent in zip(trials, hours, strict=True)]
    if any(cost is None for cost in costs):
        yield f"  cost          unknown: a node type has no label {PRICE}"
    else:
        yield f"  cost          about {_figures([cost for cost in costs if cost is not None])}, the head included"


def _cost(forecast: Forecast, nodes: Sequence[Node], prices: Mapping[str, float], hours: float) -> float | None:
    """The cost of the nodes that are needed, and of those that no trial runs on, which are always up."""
    there = {node.name: 1 for node in nodes if not forecast.placement.jobs_per_node(node) and node.gpu is None}
    counted: dict[str, Any] = {**there, **forecast.needed}
    if not all(name in prices for name in counted):
        return None
    return hours * sum(n * prices[name] for name, n in counted.items())


def _figures(values: Sequence[float]) -> str:
    low, high = (f"{end:.2g}" if end < 10 else f"{end:.0f}" for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
