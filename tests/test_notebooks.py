"""The notebooks run from top to bottom on a study that was just made, and are kept with their outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_two_and_both_are_short():
    assert [path.stem for path in NOTEBOOKS] == ["compare_encoders", "query_trials"]
    for path in NOTEBOOKS:
        assert len(code_cells(path)) <= 15


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_fresh_study(path, finished, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == 'run = "../runs/demo"'
    first.source = f"run = {str(finished.run.path)!r}"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    figures = [output for output in outputs(notebook) if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(figures) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_printed_and_drew(path):
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells if "=" not in cell.source.splitlines()[-1] or cell.source.endswith(")"))
    assert all(output.output_type != "error" for output in outputs(kept))
    assert path.stat().st_size < 600_000


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
