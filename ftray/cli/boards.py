"""Verbs that show a run folder as pages."""

import argparse
from pathlib import Path
from typing import Annotated

from ftray.cli.terminal import Add, a_number, add_verb, location, runs_of, say
from ftray.errors import SpecError
from ftray.ports import LOOPBACK
from ftray.spec import Between

Port = Annotated[int, Between(1, 65_535)]


def add_verbs(add: Add) -> None:
    verb = add_verb(add, dashboard, "serve a page that shows a study while it runs, and afterwards")
    line = "a run folder, like runs/demo, or its URL; with --cluster also its name, or its path on the head"
    verb.add_argument("run", type=location, metavar="RUN", help=line)
    verb.add_argument(
        "--port", type=a_number(Port), metavar="N", help="where to listen (default: 8050, or any that is free)"
    )
    line = "the address to listen at (default: 127.0.0.1, this machine alone); the page has no password"
    verb.add_argument("--host", default=LOOPBACK, metavar="ADDRESS", help=line)
    verb.add_argument("--optuna", action="store_true", help="start optuna-dashboard on the same study, and link to it")
    line = "where Optuna stores the study, if not in the run folder: the study file's search.storage"
    verb.add_argument("--storage", metavar="URL", help=line)
    verb.add_argument("--tensorboard", action="store_true", help="start TensorBoard on its trials, and link to it")
    line = "let the head of this cluster serve the page, and show it here through a tunnel"
    verb.add_argument("--cluster", type=Path, metavar="CLUSTER.yaml", help=line)
    verb = add_verb(add, report, "write a study as one HTML file that opens anywhere, offline")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo, or its URL")
    verb.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the run folder")


def dashboard(given: argparse.Namespace) -> int:
    if given.cluster:
        return _through_tunnel(given)
    from ftray.boards.serving import serve

    serve(
        given.run,
        host=given.host,
        port=given.port,
        optuna=given.optuna,
        tensorboard=given.tensorboard,
        storage=given.storage,
        say=say,
    )
    return 0


def _through_tunnel(given: argparse.Namespace) -> int:
    from ftray.cluster.fetching import place_of
    from ftray.cluster.page import serve_on_head
    from ftray.cluster.ray_cli import RayCli

    if given.optuna or given.tensorboard or given.storage or given.host != LOOPBACK:
        raise SpecError(
            "--cluster shows the page alone, on this machine alone: leave out --host, --storage, --optuna and "
            "--tensorboard, or `ftray fetch` the study and open it here"
        )
    place = place_of(str(given.run), runs_of(given.cluster))
    serve_on_head(RayCli(say), given.cluster, place, given.port)
    return 0


def report(given: argparse.Namespace) -> int:
    from ftray.boards.report import write_report

    print(write_report(given.run, given.out))
    return 0
