"""The report: one file that opens offline, says what `open_study` says, and runs no code that it did not bring."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markupsafe import escape

import ftray
from ftray import plots
from ftray.analysis.test_window import record_read
from ftray.boards.blocks import Paragraph, Plot, Table
from ftray.boards.report import PARTS, report_page, write_report
from ftray.boards.report_origins import command, study_file
from ftray.errors import MetricError, RunFolderError
from ftray.metrics import SHARPE, format_metric
from ftray.runs import RunFolder
from ftray.study import parse_study

from ..study.tiny import TINY
from .browser import needs_chromium, opened
from .made import UNTRUSTED, made_study, validated


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """21 trials, one of them FAILED with an error that is a script, with bars and a look at the test window."""
    run = made_study(tmp_path_factory.mktemp("runs") / "made", 21, 3, n_bars=1_800)
    measures = {name.removeprefix("validation/"): value for name, value in validated(0.7, 0.1).items()}
    record_read(run, "trial-0003", [11, 12], [measures] * 2, forced=["luck explains it"])
    return ftray.open_study(run.path)


@pytest.fixture(scope="module")
def page(study) -> str:
    return report_page(study)


@needs_chromium
def test_it_opens_offline_and_draws_what_the_study_says(browser, study, page, tmp_path):
    path, best = tmp_path / "report.html", study.best()
    path.write_text(page)
    with opened(browser, path.as_uri(), offline=True) as shown:
        shown.wait_for("document.querySelectorAll('.js-plotly-plot .main-svg').length > 8")
        text = shown.text("body")
        assert all(title in text for title in PARTS)
        assert f"{best.trial} has the best validation/sharpe of {best.chosen_from} finished trials" in text
        assert {request for request in shown.requests if not request.startswith("data:")} == {path.as_uri()}
        assert shown.page.title() == "made" and shown.problems == []

        traces = shown.page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')]"
            ".map(e => [e.id, e._fullData.map(t => ({name: t.name, y: Array.from(t.y || [])}))]))"
        )
        own = next(trace for trace in traces["equity"] if trace["name"] == best.trial)
        equity = next(
            one for one in plots.plot_equity(plots.equity_data(study, best.trial)).data if one.name == own["name"]
        )
        assert own["y"] == pytest.approx(list(equity.y))
        line = next(trace for trace in traces["search"] if trace["name"] == "luck line")
        assert line["y"] == pytest.approx(plots.search_data(study)["luck_line"].tolist())


def test_its_numbers_are_those_of_the_notebook(study, page):
    best, compared = study.best(), study.compare("encoder")
    assert f"{best.value:.4g}" in page and f"{best.luck_line:.2f} (best of" in page.replace("   ", " ")
    assert f"deflated Sharpe ratio is {best.deflated_sharpe:.0%}" in page
    for name, row in compared.iterrows():
        assert f'<td>{name}</td><td class="number">{row["n_trials"]:.0f}</td>' in page
        mean, low = (format_metric(SHARPE, row[column]) for column in ("mean", "low"))
        assert f'<td class="number">{mean}</td><td class="number">{low}</td>' in page
    chance = study.overfitting()
    assert chance is not None and f"overfitting: {chance:.0%}" in page


def test_what_comes_from_files_is_text(page):
    assert UNTRUSTED not in page and escape(UNTRUSTED) in page
    assert "document.title = 'taken'</script>" not in page


def test_a_plots_name_cannot_be_markup():
    go = pytest.importorskip("plotly.graph_objects")
    assert "<script>alert" not in Plot(go.Figure(), 'cells-"><script>alert(1)</script>').html


def test_it_shows_every_read_of_the_test_window(page):
    assert "test window read once:" in page and "mean Sharpe 0.70" in page and "luck explains it" in page


def test_it_holds_plotly_once(page):
    assert page.count("plotly.js v") == 1 and "cdn.plot.ly" not in page.partition("</head>")[2]


def test_a_study_that_has_just_begun_has_a_report_that_says_what_is_missing(tmp_path):
    run = RunFolder.create(tmp_path / "new", {"name": "new"})
    page = write_report(run.path).read_text()
    assert (run.path / "report.html").exists() and "No trial failed." in page
    assert page.count("Nothing to show: ") >= 5 and "no trial has been sampled yet" in page


def test_an_unknown_metric_is_an_error_not_an_empty_report(tmp_path):
    goals = [{"metric": "validation/sharp", "direction": "maximize"}]
    run = RunFolder.create(tmp_path / "odd", {"name": "odd", "search": {"objectives": goals}})
    with pytest.raises(MetricError, match="did you mean 'validation/sharpe'"):
        write_report(run.path)


def test_a_part_that_asks_for_an_unknown_metric_is_an_error(study, monkeypatch):
    monkeypatch.setitem(PARTS, "The winner", lambda study: [Paragraph(repr(study.best("profit")))])
    with pytest.raises(MetricError, match="no metric is called 'profit'"):
        report_page(study)


def test_a_damaged_run_folder_is_an_error_not_an_empty_part(tmp_path):
    run = made_study(tmp_path / "made", 2, 1)
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "trial_started", "at": "2026-01-01T00:00:00+00:00", "id": "ghost"}\n')
    with pytest.raises(RunFolderError, match="ghost"):
        report_page(ftray.open_study(run.path))


def test_the_command_that_repeats_a_study_holds_all_of_it(tmp_path):
    parsed = parse_study({"name": "tiny study", **TINY})
    run = RunFolder.create(tmp_path / "tiny study", {**parsed.identity, "candles": "0123"})
    run.append_event("study_started", n_trials=7)
    study = ftray.open_study(run.path)
    assert parse_study(yaml.safe_load(study_file(study))).identity == parsed.identity
    shell = command(study).replace("ftray tune", "echo ftray tune")
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "ftray tune tiny study.yaml --set search.n_trials=7\n"
    assert (tmp_path / "tiny study.yaml").read_text() == study_file(study)


def test_the_verb_prints_where_the_file_is(tmp_path):
    run, out = made_study(tmp_path / "runs" / "made", 2, 1), tmp_path / "deep" / "r.html"
    words = [sys.executable, "-m", "ftray", "report", str(run.path), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert out.read_text().startswith("<!doctype html>")
    with pytest.raises(RunFolderError, match="name one of them: made"):
        write_report(run.path.parent)


@pytest.mark.parametrize("is_earlier", [True, False], ids=["of an earlier version", "with probes of returns"])
def test_the_encoders_card_says_what_its_pooled_vector_lost_where_that_was_measured(tmp_path, is_earlier):
    run = shutil.copytree(Path(__file__).parents[1] / "runs" / "format_1", tmp_path / "format_1")
    shutil.rmtree(run / "tables", ignore_errors=True)
    one = {"mean": 0.1, "low": 0.05, "high": 0.2}
    returns = {
        "horizons": {"1": {"skill": {"encoder": one, "tokens": one}, "gain": {"tokens": {**one, "mean": 0.0}}}},
        "n_inputs": {"encoder": 16, "tokens": 160},
        "n_bars": {"fit": 256, "scored": 64},
    }
    for file in () if is_earlier else run.glob("encoders/*/encoder_card.json"):
        card = json.loads(file.read_text())
        file.write_text(json.dumps({**card, "figures": {**card["figures"], "returns": returns}}))
    blocks = PARTS["The encoder"](ftray.open_study(run))
    said = [block.words for block in blocks if isinstance(block, Paragraph)]
    rows = [block.rows for block in blocks if isinstance(block, Table)]
    assert any("The pooled vector shows no loss" in words for words in said) is not is_earlier
    assert rows == (
        [] if is_earlier else [[["pooled vector", "16", "10.0 [5.0, 20.0]"], ["all tokens", "160", "10.0 [5.0, 20.0]"]]]
    )
