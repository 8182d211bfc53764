"""A Ray to run on: started quietly where none runs, and stopped afterwards."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator

import ray

from ftray.capacity.connecting import check_head, connect
from ftray.capacity.placement import Bundles, cpus
from ftray.errors import NeverPlacedError
from ftray.nets.graphs import GRAPHS_VARIABLE
from ftray.say import Say

WORKER_ENVIRONMENT = {
    # Threads that spin while they wait make two of them 5 times slower than one on a machine that does anything else.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""What every process of a cluster needs. A Ray that this process starts inherits it from here; any other gets it from
the start commands in `cluster/`, which a test compares with this, and from the driver that connects."""
FORWARDED = (GRAPHS_VARIABLE,)
"""What every process of a cluster gets where the driver has it."""
ENVIRONMENT = WORKER_ENVIRONMENT | {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a pre-training job has no Sharpe, and one result without ends a run
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder holds the metrics, once
}
"""What the driver needs. What the user has set stays."""


@contextlib.contextmanager
def local_ray(say: Say = print) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, else a local one that ends with the block; a running one is used as it is.

    Raises: ClusterError for a cluster that does not answer.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    if ray.is_initialized():
        yield
        return
    for name in ("ray.tune", "ray.rllib"):  # errors are in the run folder, in words; not as forty stack traces
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started = time.monotonic()
    connect(_for_workers(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    say(f"Ray is up after {time.monotonic() - started:.0f} s, {ray.cluster_resources().get('CPU', 0):.0f} CPUs")
    try:
        yield
    finally:
        ray.shutdown()


def check_ray() -> None:
    """Refuses at once what `local_ray` would refuse after a study is prepared.

    Raises: ClusterError for a cluster that does not answer, and for a folder of temporary files that Ray cannot use.
    """
    if not ray.is_initialized():
        check_head()


def _for_workers() -> dict[str, str]:
    return WORKER_ENVIRONMENT | {name: os.environ[name] for name in FORWARDED if name in os.environ}


def check_capacity(bundles: Bundles) -> None:
    """Refuses a trial that the cluster at hand can never hold: it would silently wait for its env runners.

    Within a placement group there is nothing to wait for: its bundles are booked.

    Raises: NeverPlacedError with what is asked for and what there is.
    """
    if not ray.is_initialized():
        connect(_for_workers(), logging_level=logging.ERROR)  # as RLlib would
    there = ray.cluster_resources().get("CPU", 0.0)
    if ray.util.get_current_placement_group() is None and cpus(bundles) > there:
        raise NeverPlacedError(
            f"a trial must fit on the cluster, but asks for {cpus(bundles):g} CPUs ({bundles}) and the cluster has "
            f"{there:g}: lower trial.ppo.n_env_runners, trial.ppo.cpus_per_env_runner or trial.ppo.evaluation_cpus"
        )
