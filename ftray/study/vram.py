"""The VRAM plan of a study for every kind of job on every kind of node.

Takes: a study, nodes. Gives: lines. Touches no Ray.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftray.boards.terminal import align
from ftray.capacity.nodes import Node
from ftray.capacity.placement import Placement
from ftray.errors import SpecError
from ftray.runs.records import JobKind
from ftray.study.spec import StudySpec
from ftray.trial import TrialSpec, place_pretraining, place_trial
from ftray.trial.vram import env_runner, layout_of, learner
from ftray.vram.plan import VramPlan
from ftray.vram.table import Worker

HEADER = ("GiB", "source", "share", "workers/GPU", "trials/GPU", "trials/node", "job")


class DistinctJob(NamedTuple):
    """A job that a study may run, one for each shape. name: the shape in words."""

    name: str
    kind: JobKind
    spec: TrialSpec


def describe_vram(spec: StudySpec, nodes: Sequence[Node]) -> Iterator[str]:
    """Predicted GiB, share, workers and trials per GPU of every job that the study may run, on each kind of node."""
    jobs = distinct_jobs(spec)
    yield f"study {spec.name}"
    for node in nodes:
        yield ""
        yield describe_node(node)
        if node.gpu is not None:
            yield from _node_table(jobs, node)
    if len({node.gpu for node in nodes if node.gpu}) > 1:
        yield ""
        yield "Of several GPU models, a job books the share that it needs on the smallest one that it fits on:"
        yield from _table([_booking(job, nodes) for job in jobs])


def distinct_jobs(spec: StudySpec) -> list[DistinctJob]:
    """One job for every name of a shape: equal names need equal memory."""
    jobs: dict[str, DistinctJob] = {}
    for trial in spec.corner_trials:
        if spec.search.job == JobKind.TRIAL:
            runners = f", {trial.ppo.n_env_runners} env runners on the GPU" if trial.ppo.env_runners_on_gpu else ""
            name = f"{learner(trial).name}, {layout_of(trial).size:,} floats{runners}"
            jobs.setdefault(name, DistinctJob(name, JobKind.TRIAL, trial))
        if e := trial.encoder_to_pretrain:
            size = f"{e.d_token}/{e.n_blocks}/{e.n_heads} patch {e.patch_length}"
            size += f" readout {e.readout}" * (e.readout != "cls")
            name = f"pre-training ft {size}, {trial.pretraining.batch_size} windows"
            jobs.setdefault(name, DistinctJob(name, JobKind.PRETRAINING, trial))
    return list(jobs.values())


def describe_node(node: Node) -> str:
    """A kind of node in a line."""
    cores = f", {node.cpus:g} CPUs" if math.isfinite(node.cpus) else ""
    many = f", up to {node.n} of them" if node.n > 1 else ""
    if node.gpu is None:
        return f"{node.name}: no GPU{cores}{many}"
    gpu = f"{node.n_gpus} × {node.gpu.name}, {node.gpu.gib:.2f} GiB, of which {node.gpu.usable_gib:.2f} to share out"
    return f"{node.name}: {gpu}{cores}{many}"


def place(job: DistinctJob, nodes: Sequence[Node]) -> Placement:
    """One of the distinct jobs among nodes. Raises: SpecError if it fits on none."""
    return place_pretraining(job.spec, nodes) if job.kind == JobKind.PRETRAINING else place_trial(job.spec, nodes)


def _node_table(jobs: Sequence[DistinctJob], node: Node) -> Iterator[str]:
    """The largest jobs first, and below the table what does not fit at all."""
    rows: list[tuple[float, tuple[str, ...]]] = []
    refused: list[SpecError] = []
    for job in jobs:
        try:
            rows.append(_row(job.name, job.spec, place(job, [node]), node))
        except SpecError as error:
            refused.append(error)
    if rows:
        rows.sort(key=lambda row: -row[0])
        yield from _table([HEADER, *(row for _, row in rows)])
    if refused:
        yield f"  {len(refused)} of {len(jobs)} jobs do not fit; {refused[0]}"


def _row(name: str, spec: TrialSpec, placement: Placement, node: Node) -> tuple[float, tuple[str, ...]]:
    plan = placement.plan
    if plan is None:
        return 0.0, ("0", "-", "0", "-", "-", _per_node(placement, node), f"{name}, on the CPU")
    gib, workers = f"{plan.learner_gib:.2f}", str(plan.workers_per_gpu)
    if plan.n_env_runners:
        gib += f" + {plan.n_env_runners} × {plan.env_runner_gib:.2f}"
        workers += f" + {plan.env_runners_per_gpu}"
    cells = (
        gib,
        source_of(plan, spec),
        _share(plan),
        workers,
        str(plan.trials_per_gpu),
        _per_node(placement, node),
        name,
    )
    return plan.learner_gib, cells


def source_of(plan: VramPlan, spec: TrialSpec) -> str:
    """Where a plan's GiB come from: `measured on H100 at 2026-11-26`, `table` or `formula`."""
    key = learner(spec).key
    at = next((row.at for row in plan.gpu.measured if row.key == key), "")
    return f"measured on {plan.gpu.name} at {at[:10]}" if plan.source == "measured" and at else plan.source


def _per_node(placement: Placement, node: Node) -> str:
    if math.isinf(node.cpus):  # a GPU without its node
        return "-"
    n = placement.jobs_per_node(node)
    by_cpus = placement.plan is not None and n < placement.plan.trials_per_gpu * node.n_gpus
    return f"{n} (CPUs)" if by_cpus else str(n)


def _share(plan: VramPlan) -> str:
    runners = f" + {plan.n_env_runners} × 1/{plan.env_runners_per_gpu}" if plan.n_env_runners else ""
    return f"1/{plan.workers_per_gpu}{runners}"


def _booking(job: DistinctJob, nodes: Sequence[Node]) -> tuple[str, ...]:
    try:
        placement = place(job, nodes)
    except SpecError:
        return ("-", "fits on none of them", job.name)
    if placement.plan is None:
        return ("0", "on any CPU", job.name)
    everywhere = len(placement.hosts) == sum(node.gpu is not None for node in nodes)
    where = "any of them" if everywhere else ", ".join(node.name for node in placement.hosts)
    return (_share(placement.plan), f"on {where}", job.name)


def workers_of(spec: StudySpec) -> list[Worker]:
    """The distinct workers of a study's RL trials that would run on a GPU."""
    found: list[Worker] = []
    for job in distinct_jobs(spec):
        if job.kind == JobKind.TRIAL:
            found += [learner(job.spec)] + [env_runner(job.spec)] * job.spec.ppo.env_runners_on_gpu
    return list({worker.key: worker for worker in found}.values())


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Aligned lines; the last column may have any length."""
    for line in align(rows, left=[len(rows[0]) - 1]):
        yield f"  {line}"
