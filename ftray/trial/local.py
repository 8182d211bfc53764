"""A Ray to run on, quiet and gone afterwards."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator

import ray

Say = Callable[[str], None]

ENVIRONMENT = {
    # Threads that spin while they wait make two of them 5 times slower than one on a machine that does anything else.
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a pre-training job has no Sharpe, and one result without ends a run
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder holds the metrics, once
}


@contextlib.contextmanager
def local_ray(say: Say = print) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, else a local one that ends with the block; a running one is used as it is."""
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    if ray.is_initialized():
        yield
        return
    for name in ("ray.tune", "ray.rllib"):  # errors are in the run folder, in words; not as forty stack traces
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started = time.monotonic()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    say(f"Ray is up after {time.monotonic() - started:.0f} s, {ray.cluster_resources().get('CPU', 0):.0f} CPUs")
    try:
        yield
    finally:
        ray.shutdown()
