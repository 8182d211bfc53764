"""The page of a tear sheet opens offline, whatever a backtest did, and shows what the data says."""

import shutil
import sys

import pandas as pd
import pytest

import ftray
from ftray import plots
from ftray.boards.backtest import write_backtest
from ftray.boards.report_parts import money
from ftray.boards.tear_sheet import tear_sheet, write_tear_sheet
from ftray.errors import MissingDependencyError
from ftray.features import Dataset
from ftray.trading import Backtest
from tests.plots.test_tear_sheet import ODD, dataset, policy  # noqa: F401  # fixtures
from tests.runs.test_version_0_1 import STORED as VERSION_0_1

from .browser import needs_chromium, opened
from .made import made_study

PARTS = [
    "Net and gross",
    "Equity and drawdown",
    "Months",
    "Rolling Sharpe ratio",
    "Weights, exposure and turnover",
    "Profit by asset and closed trades",
]


@pytest.fixture(scope="module")
def data(policy: Backtest) -> dict:  # noqa: F811
    return plots.backtest_data({"policy": policy})


@needs_chromium
def test_it_opens_offline_and_draws_every_part(browser, data, tmp_path):
    path = write_tear_sheet(tmp_path / "sheet.html", "<b>mine</b>", data)
    with opened(browser, path.as_uri(), offline=True) as shown:
        shown.wait_for("document.querySelectorAll('.js-plotly-plot .main-svg').length > 8")
        text = shown.text("body")
        assert all(title in text for title in [*PARTS, "<b>mine</b>"])
        assert f"{data['assets'].loc['all', 'profit']:,.2f}" in text
        assert f"{data['numbers'].loc['sharpe', 'gross']:.2f}" in text
        assert {request for request in shown.requests if not request.startswith("data:")} == {path.as_uri()}
        assert shown.problems == []


def test_a_folder_gets_a_file_of_a_known_name(data, tmp_path):
    assert write_tear_sheet(tmp_path / "new", "mine", data) == tmp_path / "new" / "tear_sheet.html"
    assert write_tear_sheet(tmp_path / "page.HTML", "mine", data).is_file()


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_backtest_has_a_page_that_says_what_there_is_not(kind, dataset: Dataset, policy: Backtest, tmp_path):  # noqa: F811
    odd = ODD[kind](dataset, policy)
    page = write_tear_sheet(tmp_path, kind, plots.backtest_data({"policy": odd})).read_text()
    assert all(title in page for title in PARTS)
    assert ("It bought nothing." in page) == (kind == "no fills")
    assert ("Nothing to show: this takes 30 days" in page) == (kind in ("no fills", "one bar", "a few days"))
    assert "nan" not in page.partition("<body")[2].lower().split("<script")[0]  # the table of numbers


def test_the_report_has_the_tear_sheet_of_the_winner(tmp_path):
    study = ftray.open_study(made_study(tmp_path / "made", 3, 2, n_bars=1_800).path)
    blocks = money(study)
    assert [block.words for block in blocks if block.kind == "heading"] == PARTS  # type: ignore[attr-defined]
    assert {block.name for block in blocks if block.kind == "plot"} == {  # type: ignore[attr-defined]
        *("equity", "months", "rolling-sharpe", "weights", "activity")
    }
    sheet = plots.tear_sheet_data(study, study.best().trial)
    bars = study.returns(study.best().trial)
    assert sheet["assets"].loc["all", "profit"] == pytest.approx(bars["equity"].iloc[-1] - 10_000, abs=0.005)


def test_the_report_of_a_study_of_0_1_says_what_was_not_stored(tmp_path):
    study = ftray.open_study(shutil.copytree(VERSION_0_1, tmp_path / "old"))
    blocks = tear_sheet(plots.tear_sheet_data(study, study.best().trial))
    for part in PARTS[-2:]:
        assert "version 0.1 ran it, and did not store them" in blocks[part][0].words  # type: ignore[attr-defined]


def test_without_plotly_everything_but_the_page_is_written(policy: Backtest, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingDependencyError, match="plotly"):
        write_backtest(tmp_path, {"policy": policy.performance()}, {"policy": policy}, "mine")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("equity.parquet", "weights.parquet", "fills.parquet", "performance.json")
    }
    equity = pd.read_parquet(tmp_path / "equity.parquet")
    assert equity["time"].tolist() == pd.to_datetime(policy.times).tolist()
    assert equity["policy"].tolist() == policy.equity.tolist()
