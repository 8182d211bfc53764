"""What the live page links to: optuna-dashboard and TensorBoard, started on request, and Ray's own dashboard.

Takes: a run folder. Gives: processes that listen on loopback and end with the one that started them, and links.
"""

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftray.errors import MissingDependencyError, RunFolderError
from ftray.ports import LOOPBACK, RAY_PORT, free_port, listens
from ftray.runs import RunFolder
from ftray.runs.folder import JOURNAL

INSTALL = "pip install 'ftray[dashboard]'"


@dataclass(frozen=True)
class Program:
    """A program to start. module: what it needs. code: what Python runs; it takes `arguments`."""

    name: str
    module: str
    code: str


OPTUNA = Program("optuna-dashboard", "optuna_dashboard", "from optuna_dashboard._cli import main; main()")
TENSORBOARD = Program("TensorBoard", "tensorboard", "from tensorboard.main import run_main; run_main()")


@dataclass(frozen=True)
class Link:
    """Another page about the same study. problem: why it does not answer; empty if it does."""

    name: str
    url: str
    problem: str = ""


class Sidecar:
    """A running program; its output goes to a file."""

    def __init__(self, program: Program, arguments: Sequence[str], log: Path):
        """Raises: MissingDependencyError where it is not installed."""
        if importlib.util.find_spec(program.module) is None:
            raise MissingDependencyError(f"{program.name} is not installed: {INSTALL}")
        self.name, self.log, self.port = program.name, log, free_port()
        command = [sys.executable, "-c", program.code, *arguments, "--host", LOOPBACK, "--port", str(self.port)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    @property
    def link(self) -> Link:
        url = f"http://{LOOPBACK}:{self.port}/"
        status = self.process.poll()
        return Link(self.name, url, "" if status is None else f"ended with status {status}: {self._last_line()}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"


@contextlib.contextmanager
def run_sidecars(
    run: RunFolder, *, optuna: bool, tensorboard: bool, storage: str | None = None
) -> Iterator[list[Sidecar]]:
    """Runs the programs that were asked for until this block ends.

    storage: the URL of a team's database where Optuna keeps the study; else its journal is in the run folder.

    Raises: MissingDependencyError; RunFolderError where a study has nothing that they could show.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ftray-dashboard-")))
        wanted = [(OPTUNA, _optuna_arguments(run, storage))] if optuna else []
        wanted += [(TENSORBOARD, _tensorboard_arguments(run, folder))] if tensorboard else []
        sidecars = []
        for program, arguments in wanted:
            sidecar = Sidecar(program, arguments, folder / f"{program.module}.log")
            stack.callback(sidecar.stop)
            sidecars.append(sidecar)
        yield sidecars


def links(sidecars: Sequence[Sidecar]) -> list[Link]:
    """The sidecars' pages, and Ray's dashboard where one listens on its usual port."""
    found = [sidecar.link for sidecar in sidecars]
    if listens(RAY_PORT):
        found.append(Link("Ray's dashboard", f"http://{LOOPBACK}:{RAY_PORT}/"))
    return found


def _optuna_arguments(run: RunFolder, storage: str | None) -> list[str]:
    if storage:
        return [storage.replace("postgresql://", "postgresql+psycopg://", 1)]
    run.fetch(JOURNAL)
    if not (run.path / JOURNAL).exists():
        raise RunFolderError(
            f"{run.where} has no {JOURNAL}: only studies that `ftray tune` ran have one; "
            "a team's database is named with --storage"
        )
    return [str(run.path / JOURNAL)]


def _tensorboard_arguments(run: RunFolder, folder: Path) -> list[str]:
    """The event files in the run folder; where it has none, temporary ones."""
    from ftray.boards.tensorboard import FOLDER, TensorBoard

    if run.mirror:
        run.fetch(*run.mirror.names(FOLDER))
    if (run.path / FOLDER).is_dir():
        return ["--logdir", str(run.path / FOLDER)]
    run.fetch()
    TensorBoard(run, folder / FOLDER).catch_up()
    return ["--logdir", str(folder / FOLDER)]
