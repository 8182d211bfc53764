"""Copies a study's results to this machine: from object storage, or from the disks of a cluster.

Takes: a run folder's name or place, a cluster's file. Gives: the folder here, as `ftray results` and notebooks open it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from ftray.cluster.ray_cli import RayCli
from ftray.errors import ClusterError, RunFolderError, SpecError
from ftray.files import undone
from ftray.outputs import check_output_folder
from ftray.runs import RunFolder
from ftray.runs.looks import FOLDER
from ftray.say import Say
from ftray.storage import is_url, join


def place_of(run: str, runs: str | None) -> str:
    """Where a run folder is stored. runs: where the cluster's file stores run folders, for a `run` that is only a name.

    >>> place_of("crypto_1h", "s3://bucket/runs"), place_of("/mnt/runs/crypto_1h", None)
    ('s3://bucket/runs/crypto_1h', '/mnt/runs/crypto_1h')

    Raises: SpecError for a name without `runs`.
    """
    if is_url(run) or run.startswith("/"):
        return run.rstrip("/")
    if not runs:
        raise SpecError(f"{run} must be s3://…, gs://…, abfs://… or, with --cluster FILE, a name or a path on its head")
    return str(join(runs, run)).rstrip("/")


def fetch(place: str, to: Path, cluster: Path | None, ray: Callable[[], RayCli], say: Say) -> Path:
    """Copies a run folder to `to/NAME` and returns that; again, it copies what is new.

    From object storage it copies what people read; checkpoints stay there. The looks of the studies next to it come
    with it: they count wherever its results are read.

    Raises: RunFolderError if there is none; OutputError for a `to` that cannot be written; SpecError for a head's disk
        without a cluster file; ClusterError. What was not there before is then deleted again.
    """
    target = check_output_folder(check_output_folder(to) / place.rpartition("/")[2])
    with undone(target):
        if is_url(place):
            _fetch_stored(place, target)
        elif cluster is not None:
            _fetch_from_head(place, target, cluster, ray(), say)
        else:
            raise SpecError(f"{place} is on a cluster's disks: name the cluster with --cluster FILE")
    return target


def _fetch_stored(place: str, target: Path) -> None:
    run = RunFolder.open(place)
    run.fetch()
    shutil.copytree(run.path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    run.ledger.copy_to(target.parent)


def _fetch_from_head(place: str, target: Path, cluster: Path, ray: RayCli, say: Say) -> None:
    target.mkdir(parents=True, exist_ok=True)
    ray.run("rsync-down", str(cluster), f"{place}/", f"{target}/")
    if not (target / "study.json").is_file():
        raise RunFolderError(f"{place} on the head of {cluster} must be a run folder, but has no study.json")
    _fetch_ledger(place.rpartition("/")[0], target.parent, cluster, ray, say)


def _fetch_ledger(root: str, to: Path, cluster: Path, ray: RayCli, say: Say) -> None:
    """Copies the looks of all studies on the head; studies of earlier versions have none."""
    (to / FOLDER).mkdir(exist_ok=True)
    try:
        ray.run("rsync-down", str(cluster), f"{root}/{FOLDER}/", f"{to / FOLDER}/")
    except ClusterError as error:
        say(f"looks of other studies on the head were not copied, and do not count here: {error}")
