"""`ftray report`: a study as one HTML file that opens anywhere, offline.

Takes: a run folder's location. Gives: a file. Every number comes from `open_study`, through the functions that a
notebook uses; where a study has no answer (yet), its part says why.
"""

import datetime
from collections.abc import Callable
from pathlib import Path

from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.boards.blocks import Block, Paragraph, render
from ftray.boards.report_encoder import encoder
from ftray.boards.report_origins import costs, failures, provenance, reproduce, test_window
from ftray.boards.report_parts import (
    comparison,
    curves,
    data,
    importance,
    leaderboard,
    money,
    question,
    regimes,
    winner,
)
from ftray.errors import NoResultError
from ftray.files import replace_file
from ftray.metrics import metric
from ftray.outputs import check_output_file
from ftray.plots.theme import plotly
from ftray.storage import Location

NAME = "report.html"

PARTS: dict[str, Callable[[Study], list[Block]]] = {
    "The question": question,
    "The data": data,
    "The winner": winner,
    "Leaderboard": leaderboard,
    "Learning curves": curves,
    "Tear sheet of the winner": money,
    "FT-Transformer against MLP": comparison,
    "What mattered": importance,
    "Regimes of the market": regimes,
    "The encoder": encoder,
    "Costs": costs,
    "Failures": failures,
    "The test window": test_window,
    "Provenance": provenance,
    "Run it again": reproduce,
}


def write_report(location: Location, out: Path | None = None) -> Path:
    """Writes the report of a run folder and returns its path.

    out: by default `report.html` in the run folder; of one on object storage, `NAME.html` in the working directory.

    Raises: OutputError for an `out` that no file can be written to; RunFolderError where there is no run folder;
        MissingDependencyError where plotly is missing.
    """
    if out is not None:
        check_output_file(out)
    study = open_study(location)
    if out is None:
        out = check_output_file(Path(f"{study.name}.html") if study.run.mirror else study.run.path / NAME)
    replace_file(out, report_page(study).encode())
    return out


def report_page(study: Study) -> str:
    """The whole report.

    Raises: MissingDependencyError where plotly is missing; MetricError for a study that searches for an unknown metric.
    """
    plotly()
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    for goal in study.objectives:
        metric(goal.metric)
    now = datetime.datetime.now(datetime.UTC)
    state = "finished" if study.is_done else "not finished: this is its state so far"
    note = f"A study of ftray, {state}. Written {now:%Y-%m-%d %H:%M} UTC. All metrics are of validation windows."
    sections = {title: _blocks(study, part) for title, part in PARTS.items()}
    return render("report.html", title=study.name, note=note, plotly=Markup(get_plotlyjs()), sections=sections)


def _blocks(study: Study, part: Callable[[Study], list[Block]]) -> list[Block]:
    try:
        return part(study)
    except NoResultError as error:
        return [Paragraph(f"Nothing to show: {error}", "note")]
