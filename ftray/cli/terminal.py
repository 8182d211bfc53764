"""What the verbs share: adding one to the parser, parsing locations, printing."""

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
    """A verb with the name of its function, which takes the parsed arguments and returns the exit status."""
    verb = add(command.__name__, help=line, description=line[0].upper() + line[1:] + ".")
    verb.set_defaults(command=command)
    return verb


say = functools.partial(print, flush=True)


def runs_of(cluster: Path | None) -> str | None:
    """The location of run folders that a cluster's file names."""
    from ftray.cluster.file import read_cluster_file

    return read_cluster_file(cluster).metadata.get("runs") if cluster else None


def runs_to_plan_with(given: argparse.Namespace) -> "Location | None":
    """--runs, else the location of run folders that the file of --cluster names.

    None for a KubeRay manifest, which names none, and for a file with an unfilled placeholder there: the client of
    object storage would look for that bucket for minutes.
    """
    if given.runs or not given.cluster:
        return given.runs
    from ftray.cluster.file import PLACEHOLDER
    from ftray.errors import SpecError

    try:
        runs = runs_of(given.cluster)
    except SpecError:  # the code that reads the nodes says what is wrong with the file
        return None
    return runs if runs and not PLACEHOLDER.search(str(runs)) else None


def location(text: str) -> "Location":
    """An argument that is a path or a URL of object storage."""
    return text if is_url(text) else Path(text)


@contextlib.contextmanager
def live() -> "Iterator[tuple[Say, Say]]":
    """Two functions: one prints a line, the other replaces a status line below, which only a terminal has."""
    from rich.console import Console

    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True), lambda line: None
        return
    console = Console()
    with console.status("starting") as status:
        yield lambda line: console.print(line, markup=False, highlight=False), status.update
