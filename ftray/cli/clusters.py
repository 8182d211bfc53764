"""Verbs for a cluster: submit a study, show the status, fetch results. Each prints the `ray` commands that it runs."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ftray.cli.studies import add_study, check_words, study_of, with_measured
from ftray.cli.terminal import Add, add_verb, location, runs_of, say
from ftray.errors import DataError, SpecError
from ftray.shipped import find_study

if TYPE_CHECKING:
    from ftray.study import StudySpec


def add_verbs(add: Add) -> None:
    verb = add_verb(add, submit, "run a study on a cluster; it keeps running when this terminal closes")
    add_study(verb)
    _add_cluster(verb, required=True)
    line = "where all machines store run folders (default: metadata.runs of the cluster file)"
    verb.add_argument("--runs", type=location, metavar="URL|DIR", help=line)
    line = "resume failed trials from their checkpoints; otherwise they stay failed"
    verb.add_argument("--retry-failed", action="store_true", help=line)
    verb = add_verb(add, status, "show a cluster's nodes, waiting demand, jobs and their studies")
    _add_cluster(verb, required=True)
    verb = add_verb(add, fetch, "copy a study's results to this machine")
    line = "a run folder's URL; with --cluster also its name, or its path on the head"
    verb.add_argument("run", metavar="RUN", help=line)
    verb.add_argument("--cluster", type=Path, metavar="CLUSTER.yaml", help="the cluster file of `ray up`")
    verb.add_argument(
        "--to", type=Path, default=Path("runs"), metavar="DIR", help="the folder to copy to (default: runs)"
    )


def submit(given: argparse.Namespace) -> int:
    check_words(given)
    from ftray.cluster.dashboard import dashboard
    from ftray.cluster.ray_cli import RayCli
    from ftray.cluster.submitting import follow, job_name, place_of_runs
    from ftray.cluster.submitting import submit as submit_study
    from ftray.study.tree import check_portable

    spec = study_of(given)
    check_portable(given.file, given.set)
    runs = place_of_runs(given.runs, runs_of(given.cluster))
    if given.cluster:
        _check_cluster(given.cluster)
        _check_capacity(spec, given.cluster, runs)
    ray: RayCli = RayCli(say)
    options = [*_overrides(given), *["--retry-failed"] * given.retry_failed]
    with dashboard(ray, given.cluster, given.address) as board:
        say(f"the dashboard is at {board.address} while this command runs")
        name = job_name(spec.name, spec.identity, runs)
        job = submit_study(ray, board, name, find_study(given.file), spec.name, runs, options, spec.plugins)
        return follow(ray, board, job, again=_again(given))


def status(given: argparse.Namespace) -> int:
    from ftray.cluster.dashboard import dashboard
    from ftray.cluster.ray_cli import RayCli
    from ftray.cluster.status import describe_cluster

    runs_of(given.cluster)  # refuses a file that cannot be read, before a command of Ray starts
    ray = RayCli(say)
    with dashboard(ray, given.cluster, given.address) as board:
        if given.cluster:
            say(f"$ ray exec {shlex.quote(str(given.cluster))} 'ray status'    # the same, from Ray itself")
        ray.show("job", "list", "--address", board.address)
        for line in describe_cluster(board):
            say(line)
    return 0


def fetch(given: argparse.Namespace) -> int:
    from ftray.cluster.fetching import fetch, place_of
    from ftray.cluster.ray_cli import RayCli

    place = place_of(given.run, runs_of(given.cluster))
    folder = fetch(place, given.to, given.cluster, lambda: RayCli(say), say)
    say(f"{place} is copied to {folder}")
    say(f"Next: ftray results {folder}")
    return 0


def _add_cluster(verb: argparse.ArgumentParser, required: bool) -> None:
    which = verb.add_mutually_exclusive_group(required=required)
    which.add_argument("--cluster", type=Path, metavar="CLUSTER.yaml", help="the cluster file of `ray up`")
    line = "a dashboard that this machine reaches, like http://127.0.0.1:8265 (KubeRay, Slurm)"
    which.add_argument("--address", metavar="URL", help=line)


def _check_cluster(cluster: Path) -> None:
    from ftray.cluster.check import check_cluster_file, unknown_to_check

    if problems := check_cluster_file(cluster):
        raise SpecError(f"{cluster} cannot be used as it is:\n  " + "\n  ".join(problems))
    for line in unknown_to_check(cluster):
        say(f"{cluster}: {line}")


def _check_capacity(spec: "StudySpec", cluster: Path, runs: str) -> None:
    from ftray.capacity.nodes import nodes_of_file
    from ftray.study.placing import capacity_of

    nodes = with_measured(nodes_of_file(cluster), runs)
    try:
        capacity_of(spec, nodes)
    except DataError as error:
        say(f"only the cluster can check whether the trials fit, as this machine does not reach the candles: {error}")


def _again(given: argparse.Namespace) -> str:
    """The command that follows the same job again."""
    where = ["--cluster", str(given.cluster)] if given.cluster else ["--address", given.address]
    runs = ["--runs", str(given.runs)] if given.runs else []
    return shlex.join(["ftray", "submit", str(given.file), *where, *runs, *_overrides(given)])


def _overrides(given: argparse.Namespace) -> list[str]:
    return [word for override in given.set for word in ("--set", override)]
