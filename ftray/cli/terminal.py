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

    from ftray.trial.local import Say

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
