"""What the jobs of a study may request of a cluster.

Takes: a study, nodes. Gives: the placement of every job that its space can produce, and capacities computed from them.
"""

from collections.abc import Callable, Iterator, Sequence

from ftray.capacity.cluster_view import ClusterView, cluster_view
from ftray.capacity.elastic import Capacity, ElasticCapacity, Need
from ftray.capacity.nodes import Node
from ftray.runs.records import JobKind
from ftray.study.spec import StudySpec
from ftray.trial import place_pretraining, place_trial


def needs_of(spec: StudySpec, nodes: Sequence[Node]) -> Iterator[Need]:
    """What each corner of the space asks for. Raises: SpecError for a job that fits on none of the nodes' GPUs."""
    for trial in spec.corner_trials:
        if spec.search.job == JobKind.TRIAL:
            yield "a trial", place_trial(trial, nodes)
        if trial.encoder_to_pretrain:
            yield "a pre-training job", place_pretraining(trial, nodes)


def capacity_of(spec: StudySpec, nodes: Sequence[Node]) -> Capacity:
    """How many jobs of a study these nodes hold. Raises: SpecError for a job that could never be placed."""
    return Capacity.of(nodes, needs_of(spec, nodes))


def elastic_capacity(spec: StudySpec, look: Callable[[], ClusterView] = cluster_view) -> ElasticCapacity:
    """The capacity of a cluster that may grow while the study runs."""
    return ElasticCapacity(lambda nodes: needs_of(spec, nodes), spec.search.max_concurrent, look)
