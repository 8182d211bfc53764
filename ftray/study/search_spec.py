"""How a study searches: the `search` section of a study file.

Takes: a mapping. Gives: `SearchSpec`, with its objectives and constraints.
"""

from collections.abc import Iterable
from typing import Literal

from ftray.errors import SpecError
from ftray.metrics import PRETRAINING_LOSS, SHARPE, Direction, Metric, searchable
from ftray.runs.records import JobKind
from ftray.search.objectives import Bound, Constraint, Objective, bounds_of
from ftray.search.optuna_trials import RESOURCE
from ftray.search.samplers import SamplerSpec, TpeSpec
from ftray.spec import Count, Index, Seed, nearest, spec
from ftray.study.budget import BudgetSpec
from ftray.study.optuna.storage import DatabaseUrl
from ftray.study.stopping import NoSchedulerSpec, Scheduler

DEFAULT_METRIC = {JobKind.TRIAL: SHARPE, JobKind.PRETRAINING: PRETRAINING_LOSS}


@spec
class SearchSpec:
    """How a study searches.

    job: what is searched: whole RL trials, or pre-training alone (the rest of the trial is then idle).
    n_trials: sampled configurations, over all runs of the command; the pre-training behind a trial does not count.
    objective: a reported metric, by its last value; by default `validation/sharpe`, or pre-training's validation loss.
        The study files that come with ftray search for `validation/active_sharpe`, which also means something in a
        falling market.
    direction: the one in which the metric is better; it may be left out.
    objectives: several metrics with their directions, in place of one. A scheduler compares by the first.
    constraints: bounds like `validation/max_drawdown <= 0.3`; a trial that ends beyond one is never among the best.
    min_round_trips: a trial that makes fewer on its validation windows hardly trades: it has no rank; 0 ranks all.
    scheduler: which trials are stopped early: its name alone, or with its options.
    sampler: how configurations are sampled: its name alone, or with its options.
    storage: where Optuna keeps the study for a team to see, `postgresql://[USER@]HOST[:PORT]/DATABASE`, the password in
        PGPASSWORD or ~/.pgpass; by default a journal file in the run folder.
    seed: of the sampler.
    max_concurrent: jobs at once; None means as many as the cluster has room for.
    max_failures: how often a trial whose process died is retried from its checkpoint without having got any further.
    retry_after: seconds until the first retry, twice as many before the next; a trial that waits holds no resources.
    budget: limits on hours and GPU hours.
    patience_trials: a study ends when none of that many trials in a row was better than the best, beyond noise.
    pending_timeout: seconds that jobs may wait for room while none runs; then the study stops with what they need.
    points: hand-written starting points, values by search parameter; those that a point leaves out are sampled.
    warm_start: the run folder of another study, whose best points follow the hand-written ones where they fit.
    warm_start_best: how many of that study's best points.
    also_counts: run folders, and folders of them, in other places: looks there at the same bars count, as those of the
        studies in the same place do. A study counts them for good, once they were named.
    """

    job: Literal["trial", "pretraining"] = "trial"
    n_trials: Count = 20
    objective: str | None = None
    direction: Literal["maximize", "minimize"] | None = None
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[Bound, ...] = ()
    min_round_trips: Index = 10
    scheduler: Scheduler = NoSchedulerSpec()
    sampler: SamplerSpec = TpeSpec()
    storage: DatabaseUrl | None = None
    seed: Seed = 0
    max_concurrent: Count | None = None
    max_failures: Index = 2
    retry_after: Count = 5
    budget: BudgetSpec = BudgetSpec()
    patience_trials: Count | None = None
    pending_timeout: Count = 1_800
    points: tuple[dict, ...] = ()
    warm_start: str | None = None
    warm_start_best: Count = 5
    also_counts: tuple[str, ...] = ()

    @property
    def goals(self) -> tuple[Objective, ...]:
        """All objectives."""
        if self.objectives:
            return self.objectives
        metric = self.objective or DEFAULT_METRIC[JobKind(self.job)]
        found = searchable(self.job).get(metric)
        better: Direction | None = self.direction or (found.direction if found else None)
        return (Objective(metric=metric, direction=better or "maximize"),)

    @property
    def bounds(self) -> tuple[Constraint, ...]:
        """The constraints, parsed; of trials, also the least number of round trips."""
        return bounds_of(self.constraints, self.min_round_trips if self.job == JobKind.TRIAL else 0)

    @property
    def required_metrics(self) -> list[str]:
        """The metrics that a trial must end with."""
        return [goal.metric for goal in self.goals] + [bound.metric for bound in self.bounds]

    @property
    def metric(self) -> str:
        """The metric of the first objective."""
        return self.goals[0].metric

    @property
    def goal(self) -> str:
        """The direction of the first objective."""
        return self.goals[0].direction

    @property
    def resource(self) -> str:
        """What a scheduler counts: the metric that grows as a job runs."""
        return RESOURCE[self.job]


def check_objectives(search: SearchSpec) -> None:
    """Refuses a metric that no trial reports, which would fail every trial at its end, and the wrong direction, which
    would find the worst one.

    Raises: SpecError.
    """
    known = searchable(search.job)
    if search.objectives and (search.objective or search.direction):
        raise SpecError("set objective and direction, or a list of objectives, not both", ("search", "objectives"))
    for number, objective in enumerate(search.goals):
        listed = ("search", "objectives", str(number))
        where = (*listed, "metric") if search.objectives else ("search", "objective")
        _check_metric(objective.metric, known, where)
        way = (*listed, "direction") if search.objectives else ("search", "direction")
        _check_direction(known[objective.metric], objective.direction, where, way)
        if objective.metric in [other.metric for other in search.goals[:number]]:
            raise SpecError(f"{objective.metric} is an objective already", where)
    for number, text in enumerate(search.constraints):
        _check_metric(Constraint.parse(text).metric, known, ("search", "constraints", str(number)))


def _check_metric(name: str, known: Iterable[str], where: tuple[str, ...]) -> None:
    if name not in known:
        raise SpecError(f"{name!r} is never reported; {nearest(name, known)}", where)


def _check_direction(one: Metric, given: Direction, where: tuple[str, ...], way: tuple[str, ...]) -> None:
    if one.direction is None:
        raise SpecError(
            f"{one.name} ({one.computed_from}) is neither better high nor low: name an objective that is, and bound "
            "this one with search.constraints",
            where,
        )
    if given != one.direction:
        raise SpecError(f"{one.name} ({one.computed_from}) is better the other way: {one.direction} it", way)
