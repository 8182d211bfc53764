"""`ftray vram --measure`: on this machine's GPU, on the Ray that RAY_ADDRESS names, or as a job on a cluster."""

import argparse
import os
import shlex
from typing import TYPE_CHECKING

from ftray.cli.terminal import runs_of, say

if TYPE_CHECKING:
    from ftray.study import StudySpec
    from ftray.vram.table import Worker


def measure(given: argparse.Namespace, study: "StudySpec | None") -> int:
    """Measures the rows of the VRAM table, and the workers of the study if one is given; returns an exit status."""
    if given.cluster or given.address:  # the command line overrides what the shell exports
        return _as_a_job(given, study)
    address = os.environ.get("RAY_ADDRESS", "")
    if address and not address.startswith("http"):  # the address of a dashboard is for `ray job` alone
        return _on_this_ray(given, study)
    return _here(given, study)


def _here(given: argparse.Namespace, study: "StudySpec | None") -> int:
    from ftray.vram.gpus import local_gpu
    from ftray.vram.measuring import describe_measured, measure
    from ftray.vram.rows import save_rows

    found = []
    for line in describe_measured(found.append(row) or row for row in measure(_workers(study))):
        say(line)
    gpu = local_gpu()
    if given.runs and gpu:
        say(f"stored in {save_rows(given.runs, gpu, [row for _, row in found if row is not None])}")
    return 0


def _on_this_ray(given: argparse.Namespace, study: "StudySpec | None") -> int:
    from ftray.capacity.cluster_view import cluster_view
    from ftray.capacity.local_ray import local_ray
    from ftray.capacity.measuring import measure_on_cluster

    runs = given.runs or "runs"
    with local_ray(say):
        for line in measure_on_cluster(cluster_view().nodes, _workers(study), runs):
            say(line)
    return 0


def _as_a_job(given: argparse.Namespace, study: "StudySpec | None") -> int:
    from ftray.cluster.dashboard import dashboard
    from ftray.cluster.ray_cli import RayCli
    from ftray.cluster.submitting import follow, place_of_runs, submit_measuring
    from ftray.study.tree import check_portable

    if study:
        check_portable(given.file, given.set)
    runs = place_of_runs(given.runs, runs_of(given.cluster))
    where = ["--cluster", str(given.cluster)] if given.cluster else ["--address", given.address]
    overrides = [word for override in given.set for word in ("--set", override)]
    words = ["ftray", "vram", *[str(given.file)] * bool(given.file), "--measure", *where, "--runs", runs, *overrides]
    ray = RayCli(say)
    with dashboard(ray, given.cluster, given.address) as board:
        job = submit_measuring(ray, board, runs, given.file, overrides, study.plugins if study else None)
        return follow(ray, board, job, again=shlex.join(words))


def _workers(study: "StudySpec | None") -> "list[Worker]":
    from ftray.vram.table import TABLE

    if study is None:
        return [row.worker for row in TABLE]
    from ftray.study.vram import workers_of

    return [row.worker for row in TABLE] + workers_of(study)
