"""`ftray report`: a study as one file of HTML that opens anywhere, offline, for ever.

Takes: a run folder's location. Gives: a file. Every figure is asked of `open_study` by the functions that a notebook
uses; what cannot be told (yet) is said in its place, with the reason.
"""

import datetime
from collections.abc import Callable
from pathlib import Path

from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.boards import html
from ftray.boards.report_origins import costs, failures, provenance, reproduce, test_window
from ftray.boards.report_parts import (
    comparison,
    curves,
    data,
    encoder,
    equity,
    importance,
    leaderboard,
    question,
    regimes,
    winner,
)
from ftray.errors import NoResultError, RunFolderError
from ftray.files import replace_file
from ftray.plots.theme import plotly
from ftray.storage import Location

NAME = "report.html"

PARTS: dict[str, Callable[[Study], str]] = {
    "The question": question,
    "The data": data,
    "The winner": winner,
    "Leaderboard": leaderboard,
    "Learning curves": curves,
    "Equity and drawdown": equity,
    "FT-Transformer against MLP": comparison,
    "What mattered": importance,
    "Regimes of the market": regimes,
    "The encoder": encoder,
    "Costs": costs,
    "Failures": failures,
    "The test window": test_window,
    "Provenance": provenance,
    "Do it again": reproduce,
}


def write_report(location: Location, out: Path | None = None) -> Path:
    """Writes the report of a run folder and returns where it lies.

    out: `report.html` in the run folder unless told; of one on object storage, `NAME.html` in the working directory.

    Raises: RunFolderError where there is no run folder; MissingDependencyError where plotly is missing.
    """
    study = open_study(location)
    if not isinstance(study, Study):
        raise RunFolderError(f"{location} holds {len(study)} studies; name one of them: {', '.join(study)}")
    out = out or (Path(f"{study.name}.html") if study.run.mirror else study.run.path / NAME)
    page = report_page(study)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, page.encode())
    return out


def report_page(study: Study) -> str:
    """The whole report. Raises: MissingDependencyError where plotly is missing."""
    plotly()
    now = datetime.datetime.now(datetime.UTC)
    state = "finished" if study.is_done else "not finished: what follows is how it stands"
    note = f"A study of ftray, {state}. Written {now:%Y-%m-%d %H:%M} UTC. Figures are of validation windows alone."
    return html.page(study.name, note, [(title, _told(study, part)) for title, part in PARTS.items()])


def _told(study: Study, part: Callable[[Study], str]) -> str:
    try:
        return part(study)
    except NoResultError as error:
        return html.paragraph(f"Nothing to show: {error}", "note")
