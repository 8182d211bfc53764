"""Verbs that take a study file: check it, plan it, run it."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.cli.keys import check_keys
from ftray.cli.looking import finish
from ftray.cli.terminal import Add, add_verb, live, location, runs_to_plan_with, say
from ftray.errors import SpecError, StorageError
from ftray.outputs import check_output_folder
from ftray.shipped import find_study, shipped_studies
from ftray.storage import is_url

if TYPE_CHECKING:
    from ftray.capacity.nodes import Node
    from ftray.runs import RunFolder
    from ftray.storage import Location
    from ftray.study import StudySpec


EXAMPLE = "L4"
"""What `ftray vram` plans for where it finds no GPU and none is named: the GPU that `cluster/` rents on most clouds."""


def add_verbs(add: Add) -> None:
    for command, line in (
        (
            check,
            "parse a study with every range at both ends, and its candles; print sizes and duration; starts nothing",
        ),
        (vram, "print the share of a GPU that a study's trials get, or measure what they need"),
        (pretrain, "pre-train the encoder of a file without search parameters"),
        (train, "run the one trial of a file without search parameters"),
        (tune, "run a study, or continue it"),
    ):
        verb = add_verb(add, command, line)
        add_study(verb, n="?" if command is vram else None)
        if command is tune:
            line = "retry failed trials from their checkpoints; without this they stay failed"
            verb.add_argument("--retry-failed", action="store_true", help=line)
        if command in (check, vram):
            _add_gpu(verb, measures=command is vram)
            line = "where run folders are, for plans with their measured rows: a folder, or s3://, gs://, abfs://"
            other = ", else runs" if command is check else ""
            line += f" (default: metadata.runs of the cluster file{other})"
            verb.add_argument("--runs", type=location, metavar="DIR|URL", help=line)
        else:
            add_runs(verb)


def add_study(verb: argparse.ArgumentParser, n: str | None = None) -> None:
    """FILE and --set, as `study_of` reads them."""
    line = f"a study file, or the name of one that comes with ftray: {', '.join(shipped_studies())}"
    verb.add_argument("file", type=Path, metavar="FILE", nargs=n, help=line)
    line = "override a field, like trial.ppo.epochs=4; may be repeated"
    verb.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=line)


def add_runs(verb: argparse.ArgumentParser, what: str = "where run folders are") -> None:
    line = f"{what}: a folder, or s3://, gs://, abfs:// (default: runs)"
    verb.add_argument("--runs", type=location, default=Path("runs"), metavar="DIR|URL", help=line)


def check_words(given: argparse.Namespace) -> None:
    """Refuses a study's wrong name, and misspelt keys of it, at once: to import what parses studies takes seconds."""
    check_keys(find_study(given.file), given.set)


def study_of(given: argparse.Namespace) -> "StudySpec":
    check_words(given)
    from ftray.study import load_study

    return load_study(given.file, given.set)


def check(given: argparse.Namespace) -> int:
    check_words(given)
    from ftray.study.check import describe_study
    from ftray.vram.gpus import local_gpu, parse_gpu

    gpu = parse_gpu(given.gpu) if given.gpu else None if given.cluster else local_gpu()
    study = study_of(given)
    print(f"file {find_study(given.file)}")
    for line in describe_study(study, gpu, runs_to_plan_with(given) or Path("runs"), here=not given.cluster):
        print(line, flush=True)
    return _check_cluster(given) if given.cluster else 0


def _check_cluster(given: argparse.Namespace) -> int:
    """What a study needs of a cluster, and the problems of its file: then the status is 1."""
    from ftray.cluster.check import check_cluster_file, unknown_to_check
    from ftray.study.forecast import describe_on_cluster

    words = shlex.join([str(given.file), *(word for override in given.set for word in ("--set", override))])
    runs = runs_to_plan_with(given) or Path("runs")
    problems = check_cluster_file(given.cluster)
    try:
        for line in describe_on_cluster(study_of(given), given.cluster, runs, words):
            print(line)
    except SpecError:
        if not problems:  # else they say more
            raise
    for problem in problems:
        print(f"  problem       {problem}")
    for line in () if problems else unknown_to_check(given.cluster):
        print(f"  unknown       {line}")
    return int(bool(problems))


def vram(given: argparse.Namespace) -> int:
    if given.measure and given.gpu:
        raise SpecError("--measure asks a real GPU, so leave out --gpu: it is for plans")
    if given.address and not given.measure:
        raise SpecError("--address is for --measure; a plan takes --cluster FILE, or the cluster of RAY_ADDRESS")
    if given.file:
        check_words(given)
    if given.measure:
        from ftray.cli.measuring import measure

        if not (given.cluster or given.address):  # a cluster's machines write there, not this one
            check_runs(given.runs)

        return measure(given, study_of(given) if given.file else None)
    from ftray.study.vram import describe_vram

    if given.file is None:
        raise SpecError("`ftray vram` plans a FILE; without one it only measures: ftray vram --measure")
    for line in describe_vram(study_of(given), with_measured(_nodes(given), runs_to_plan_with(given))):
        print(line)
    return 0


def _nodes(given: argparse.Namespace) -> "tuple[Node, ...]":
    """The nodes to plan for: those of --gpu or --cluster, the cluster of RAY_ADDRESS, the GPU at hand, an example."""
    from ftray.capacity.nodes import Node, nodes_of_file
    from ftray.vram.gpus import local_gpu, parse_gpu

    if given.cluster:
        return nodes_of_file(given.cluster)
    if not given.gpu and os.environ.get("RAY_ADDRESS"):
        from ftray.capacity.cluster_view import nodes_at_hand
        from ftray.capacity.local_ray import local_ray

        with local_ray():
            return nodes_at_hand()
    gpu = parse_gpu(given.gpu) if given.gpu else local_gpu()
    if gpu is None:
        say(f"no GPU is at hand: this plan is for an {EXAMPLE}; --gpu NAME|GIB or --cluster FILE plans for yours")
        gpu = parse_gpu(EXAMPLE)
    return (Node("a GPU by itself", 1, float("inf"), 1, gpu),)


def with_measured(nodes: "tuple[Node, ...]", runs: "Location | None") -> "tuple[Node, ...]":
    """The nodes with the measured rows of the studies in runs, if this machine reaches them."""
    if not runs:
        return nodes
    from ftray.capacity.measured_rows import MeasuredRows

    try:
        return MeasuredRows(runs).nodes(nodes)
    except StorageError as error:
        say(f"this plan is without what was measured in {runs}, as this machine does not reach it: {error}")
        return nodes


def check_runs(runs: "Location | None") -> None:
    """Refuses a place of run folders that cannot be created. One that exists may be read-only: its studies may be
    finished."""
    if runs is not None and not is_url(runs) and not Path(runs).is_dir():
        check_output_folder(runs)


def tune(given: argparse.Namespace) -> int:
    check_words(given)
    check_runs(given.runs)
    from ftray.study.run import run_study

    spec = study_of(given)
    with live() as (say, show, _):
        run = run_study(spec, given.runs, say, show, given.retry_failed)
    finish(run)
    if not any(record.state == "COMPLETE" for record in run.records()):
        print("ftray: no trial of this study succeeded; the first error is above", file=sys.stderr)
        return 1
    return 0


def train(given: argparse.Namespace) -> int:
    check_words(given)
    check_runs(given.runs)
    from ftray.trial.standalone import train

    spec = study_of(given)
    trial, run = spec.only_trial("train"), _run_folder(given, spec)
    if run.is_done:
        print(f"{run.where} is finished: nothing to run")
    else:
        train(trial, run)
    finish(run)
    return 0


def pretrain(given: argparse.Namespace) -> int:
    check_words(given)
    check_runs(given.runs)
    from ftray.trial.standalone import pretrain_alone

    spec = study_of(given)
    cards = pretrain_alone(spec.only_trial("pretrain"), _run_folder(given, spec))
    for card in cards:
        for line in _described(vars(card)):
            print(line)
        print(f"best encoder: {card.path}")
    if len(cards) == 1:  # of several folds, each trains on bars that another is validated on
        print(f"Use it: ftray train FILE --set trial.encoder.pretrained={cards[0].path}")
    return 0


def _described(card: Mapping[str, Any]) -> list[str]:
    """What an encoder's card says, for people."""
    from ftray import plots
    from ftray.boards.terminal import align

    lines = [plots.describe_encoder(card)]
    if known := plots.known_returns(card):
        lines += [plots.describe_pooled(card), plots.describe_known_returns(card), *align(known)]
    return lines


def _run_folder(given: argparse.Namespace, spec: "StudySpec") -> "RunFolder":
    from ftray.study.spec import open_run

    return open_run(spec, given.runs)


def _add_gpu(verb: argparse.ArgumentParser, measures: bool) -> None:
    where = verb.add_mutually_exclusive_group()
    line = "plan for this GPU: a model, like T4 or RTX-3060, or the GiB that it reports (default: the one at hand)"
    where.add_argument("--gpu", metavar="NAME|GIB", help=line)
    line = "plan for a cluster file of `ray up`, or a KubeRay manifest"
    where.add_argument("--cluster", type=Path, metavar="CLUSTER.yaml", help=line)
    if measures:
        line = "the URL of a Ray dashboard, like http://127.0.0.1:8265: measure on its cluster"
        where.add_argument("--address", metavar="URL", help=line)
        line = (
            "measure the rows of the VRAM table, and FILE's trials, for later plans: on the GPU at hand, or with "
            "--cluster or --address on a GPU of each model there, for all plans of studies in --runs"
        )
        verb.add_argument("--measure", action="store_true", help=line)
