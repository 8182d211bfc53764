"""What the verbs share: adding one to the parser, the place of a cluster's runs, and lines on a terminal."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from ftray.errors import SpecError
from ftray.files import named
from ftray.spec import number, parse_member
from ftray.storage import Location, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftray.say import Say

Add = Callable[..., argparse.ArgumentParser]
"""Adds a verb of that name."""

Command = Callable[[argparse.Namespace], int]


def add_verb(add: Add, command: Command, line: str) -> argparse.ArgumentParser:
    """Adds a verb with the name of its function, which takes the parsed arguments and returns the exit status."""
    verb = add(command.__name__, help=line, description=line[0].upper() + line[1:] + ".")
    verb.set_defaults(command=command, parser=verb)
    return verb


say = functools.partial(print, flush=True)


class ReaderGoneError(Exception):
    """Nobody reads standard output any more: `ftray results RUN | head`. rich exits with 1 at a BrokenPipeError."""


class StandardOutput:
    """Standard output, which names itself in an error: it may be a file on a full disk.

    Raises: ReaderGoneError in place of a BrokenPipeError.
    """

    def __init__(self, file: TextIO):
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        with _named():
            return self._file.write(text)

    def flush(self) -> None:
        with _named():
            self._file.flush()


@contextlib.contextmanager
def _named() -> "Iterator[None]":
    try:
        with named("standard output"):
            yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error


def runs_of(cluster: Path | None) -> str | None:
    """Where a cluster file stores run folders; None without a file, or if the file does not name it.

    Raises: SpecError for KubeRay manifests: no `ray` command reaches a head through them.
    """
    from ftray.capacity.cluster_file import read_cluster_file

    if cluster is None:
        return None
    file = read_cluster_file(cluster)
    if file.is_kubernetes:
        raise SpecError(
            f"{cluster} is for Kubernetes, whose own tunnel reaches the head: `kubectl port-forward "
            "service/NAME-head-svc 8265`, then --address http://127.0.0.1:8265 in place of --cluster"
        )
    return file.metadata.get("runs")


def runs_to_plan_with(given: argparse.Namespace) -> "Location | None":
    """--runs, else where the file of --cluster stores run folders.

    None for a KubeRay manifest, which names no such place, and for a file with an unfilled placeholder: the
    client of object storage would try that bucket for minutes.
    """
    if given.runs or not given.cluster:
        return given.runs
    from ftray.capacity.cluster_file import PLACEHOLDER

    try:
        runs = runs_of(given.cluster)
    except SpecError:  # reading the nodes of a broken file raises what is wrong with it
        return None
    return runs if runs and not PLACEHOLDER.search(str(runs)) else None


def location(text: str) -> "Location":
    """Parses an argument that is a path or a URL of object storage."""
    return text if is_url(text) else Path(text)


def argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Decorator: a parser of an argument, whose ValueError argparse prints as it is."""

    def parsed(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:  # SpecError is one, too
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def a_number(hint: Any) -> Callable[[str], Any]:
    """Parses an argument that is a number. hint: its type and its rules, as a field of a spec is annotated."""
    return argument(lambda text: parse_member(hint, number(text)))


@argument
def a_moment(text: str) -> str:
    from ftray.market import Moment

    return parse_member(Moment, text)


@argument
def an_interval(text: str) -> str:
    from ftray.market.intervals import Interval

    return parse_member(Interval, text)


class Live(NamedTuple):
    """Printers and a question. say: a line that stays. show: a status line below, on a terminal alone.

    ask: a question whose answer is yes or no, no where it is empty; None where there is no terminal.
    """

    say: "Say"
    show: "Say"
    ask: Callable[[str], bool | None]


@contextlib.contextmanager
def live() -> "Iterator[Live]":
    """What a verb that takes a while prints with, and asks with."""
    from rich.console import Console

    if not sys.stdout.isatty():
        yield Live(say, lambda line: None, lambda question: None)
        return
    console = Console()
    with console.status("starting") as status:

        def ask(question: str) -> bool | None:
            if not sys.stdin.isatty():
                return None
            status.stop()  # it would draw over what is typed
            try:
                return console.input(f"{question} [y/N] ", markup=False).strip().lower() in ("y", "yes")
            except EOFError:
                return False
            finally:
                status.start()

        yield Live(lambda line: console.print(line, markup=False, highlight=False), status.update, ask)
