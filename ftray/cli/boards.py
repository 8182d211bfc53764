"""Verbs that show a run folder as pages."""

import argparse
from pathlib import Path

from ftray.cli.terminal import Add, add_verb, location


def add_verbs(add: Add) -> None:
    verb = add_verb(add, dashboard, "serve a page that shows a study while it runs, and afterwards")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo, or its URL")
    verb.add_argument("--port", type=int, metavar="N", help="where to listen (default: 8050, or any that is free)")
    line = "the address to listen at (default: 127.0.0.1, this machine alone); the page has no password"
    verb.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=line)
    verb.add_argument("--optuna", action="store_true", help="start optuna-dashboard on the same study, and link to it")
    line = "where Optuna keeps the study, if not in the run folder: the study file's search.storage"
    verb.add_argument("--storage", metavar="URL", help=line)
    verb.add_argument("--tensorboard", action="store_true", help="start TensorBoard on its trials, and link to it")
    verb = add_verb(add, report, "write a study as one HTML file that opens anywhere, offline")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo, or its URL")
    verb.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the run folder")


def dashboard(given: argparse.Namespace) -> int:
    from ftray.boards.serving import serve

    serve(
        given.run,
        host=given.host,
        port=given.port,
        optuna=given.optuna,
        tensorboard=given.tensorboard,
        storage=given.storage,
        say=lambda line: print(line, flush=True),
    )
    return 0


def report(given: argparse.Namespace) -> int:
    from ftray.boards.report import write_report

    print(write_report(given.run, given.out))
    return 0
