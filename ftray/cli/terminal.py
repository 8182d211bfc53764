"""What verbs share: how one is added, and lines on a terminal."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ftray.storage import Location, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftray.capacity.local_ray import Say

Add = Callable[..., argparse.ArgumentParser]
"""Adds a verb of that name."""

Command = Callable[[argparse.Namespace], int]


def add_verb(add: Add, command: Command, line: str) -> argparse.ArgumentParser:
    """A verb named after the function that does it, which takes the parsed arguments and gives the exit status."""
    verb = add(command.__name__, help=line, description=line[0].upper() + line[1:] + ".")
    verb.set_defaults(command=command)
    return verb


say = functools.partial(print, flush=True)


def runs_of(cluster: Path | None) -> str | None:
    """Where a cluster's file says that run folders lie."""
    from ftray.cluster.file import read_cluster_file

    return read_cluster_file(cluster).metadata.get("runs") if cluster else None


def runs_to_plan_with(given: argparse.Namespace) -> "Location | None":
    """--runs, else where the file of --cluster says that run folders lie.

    None for a KubeRay manifest, which names no such place, and for a file whose place is not filled in yet: the client
    of object storage would ask for that bucket for minutes.
    """
    if given.runs or not given.cluster:
        return given.runs
    from ftray.cluster.file import PLACEHOLDER
    from ftray.errors import SpecError

    try:
        runs = runs_of(given.cluster)
    except SpecError:  # whoever reads the nodes in it says what is wrong with a file
        return None
    return runs if runs and not PLACEHOLDER.search(str(runs)) else None


def location(text: str) -> "Location":
    """An argument that is a path or a URL of object storage."""
    return text if is_url(text) else Path(text)


@contextlib.contextmanager
def live() -> "Iterator[tuple[Say, Say]]":
    """Lines that stay, and on a terminal one below them that is always the latest."""
    from rich.console import Console

    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True), lambda line: None
        return
    console = Console()
    with console.status("starting") as status:
        yield lambda line: console.print(line, markup=False, highlight=False), status.update
