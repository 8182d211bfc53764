"""The live page, in a real browser: it opens, shows the trials, draws, follows a running study, and shows errors."""

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

import ftray
from ftray.boards.report import write_report
from ftray.boards.serving import build_server, is_loopback, serve
from ftray.errors import FtrayError, RunFolderError
from ftray.metrics import ROUND_TRIPS
from ftray.runs import RunFolder
from ftray.tables.parquet import compact

from .browser import Opened, needs_chromium, opened
from .made import FT, TRIAL, end, made_study, report, validated

ROWS = "document.querySelectorAll('#leaderboard .ag-center-cols-container .ag-row')"
DRAWN = "document.querySelectorAll('#search .scatterlayer .point').length"


@contextlib.contextmanager
def served(path: Path | str, host: str = "127.0.0.1") -> Iterator[str]:
    """The page of a run folder, behind a URL."""
    server = build_server(ftray.open_study(path), host, port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{host}:{server.port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def failing(browser, tmp_path_factory) -> Iterator[Opened]:
    """The page of a study in which a trial failed."""
    run = made_study(tmp_path_factory.mktemp("runs") / "failing", 21, 4)
    with served(run.path) as url, opened(browser, url) as page:
        yield page


def asked(url: str, host: str) -> int:
    """The status of a page that is asked for under another name."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host})) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


@needs_chromium
def test_a_running_study_is_shown_and_followed(browser, tmp_path):
    run = made_study(tmp_path / "live", 4)
    with served(run.path) as url, opened(browser, url) as page:
        page.wait_for(f"{ROWS}.length == 5 && {DRAWN} >= 4")
        text = page.text("main")
        assert "3 of 4\ntrials ended" in text and "1\nrunning" in text and "luck line" in text
        best = ftray.open_study(run.path).best()
        first = page.page.locator("#leaderboard .ag-row[row-index='0']").inner_text().split("\n")
        assert first[:3] == ["1", best.trial, "COMPLETE"] and f"{best.value:.2f}" in first
        assert page.page.locator("#curves .scatterlayer .trace").count() == 4

        report(run, "trial-0003", 11, 9.0)
        end(run, "trial-0003", "COMPLETE")
        page.wait_for(
            "document.querySelector('#leaderboard .ag-row[row-index=\"0\"]').innerText.includes('trial-0003')"
        )
        page.wait_for("document.querySelector('#tiles').innerText.includes('4 of 4')")
        run.mark_done()
        page.wait_for("document.querySelector('#state').innerText == 'done'")
        assert page.problems == []
        assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {url.split("/")[2]}


@needs_chromium
@pytest.mark.long
def test_a_study_on_object_storage_is_followed_from_a_machine_that_has_nothing_of_it(browser, bucket, machine):
    machine("cluster")
    run = made_study(f"{bucket}/far", 4, n_bars=50)
    share(run)
    machine("laptop")
    with served(f"{bucket}/far") as url, opened(browser, url) as page:
        page.wait_for(f"{ROWS}.length == 5 && {DRAWN} >= 4")
        assert "3 of 4\ntrials ended" in page.text("main")
        page.page.locator("#leaderboard .ag-row", has_text="trial-0001").first.click()
        page.wait_for("document.querySelectorAll('#trial-card .scatterlayer .trace').length > 0")  # its equity

        report(run, "trial-0003", 11, 9.0)
        end(run, "trial-0003", "COMPLETE")
        share(run)
        page.wait_for(
            "document.querySelector('#leaderboard .ag-row[row-index=\"0\"]').innerText.includes('trial-0003')"
        )
        run.mark_done()
        page.wait_for("document.querySelector('#state').innerText == 'done'")
        assert page.problems == []


def share(run: RunFolder) -> None:
    """What the trials' processes and the driver do on object storage: their files go there."""
    run.sync("events.jsonl", "benchmarks", *(str(file.relative_to(run.path)) for file in run.path.glob("trials/*/*")))


@needs_chromium
def test_an_error_of_a_trial_is_shown_as_text_whatever_it_says(failing):
    failing.wait_for("document.querySelector('#failures').innerText.includes('trial-0019')")
    assert "ValueError: <script>document.title = 'taken'</script>" in failing.text("#failures")
    failing.page.locator("#leaderboard .ag-row", has_text="FAILED").first.click()
    failing.wait_for("document.querySelector('#trial-card') != null")
    card = failing.text("#trial-card")
    assert "and more of it" in card and "ppo/learning_rate" in card
    assert failing.page.title() == "failing · ftray"


@pytest.mark.long
@needs_chromium
def test_the_page_reports_a_damaged_event_file(browser, tmp_path):
    run = made_study(tmp_path / "damaged", 3)
    with served(run.path) as url, opened(browser, url) as page:
        page.wait_for(f"{ROWS}.length == 4")
        with (run.path / "events.jsonl").open("a") as file:
            file.write("{no event\n")
        page.wait_for("document.querySelector('#problem').innerText.includes('is damaged')")


@needs_chromium
def test_curves_are_grouped_by_what_a_reader_chooses(failing):
    failing.wait_for("document.querySelectorAll('#curves .legendtext').length > 2")
    failing.page.locator("#by").click()
    failing.page.get_by_role("option", name="encoder", exact=True).click()
    failing.wait_for("document.querySelector('#curves-title').innerText.includes('by encoder')")
    failing.wait_for("[...document.querySelectorAll('#curves .legendtext')].map(e => e.textContent[0]).join() == 'f,m'")


@needs_chromium
@pytest.mark.long
def test_a_thousand_trials_are_in_the_grid_and_only_those_in_sight_on_the_page(browser, tmp_path):
    run = made_study(tmp_path / "thousand", 1_000, 2)
    compact(run)
    with served(run.path) as url, opened(browser, url, width=480) as page:
        page.wait_for(f"{ROWS}.length > 5 && {DRAWN} >= 900")
        assert page.page.evaluate(f"{ROWS}.length") < 60
        page.page.evaluate("document.querySelector('#leaderboard .ag-body-viewport').scrollTop = 1e6")
        page.wait_for("document.querySelector('#leaderboard .ag-row[row-index=\"1000\"]') != null")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 480
        assert page.problems == []


@pytest.mark.long
@needs_chromium
def test_a_study_that_has_just_begun_has_a_page(browser, tmp_path):
    run = RunFolder.create(tmp_path / "new", {"name": "new"})
    with served(run.path) as url, opened(browser, url) as page:
        page.wait_for("document.querySelector('#importance-title').innerText.includes('not yet')")
        assert "has no complete trial" in page.text("#importance-title")
        assert page.problems == [] and page.text("#problem") == "" == page.text("#failure")


@pytest.mark.long
@needs_chromium
def test_several_objectives_have_their_front(browser, tmp_path):
    goals = [{"metric": "validation/sharpe", "direction": "maximize"}]
    goals.append({"metric": "validation/max_drawdown", "direction": "minimize"})
    run = made_study(tmp_path / "front", 5, 2, objectives=goals)
    with served(run.path) as url, opened(browser, url) as page:
        page.wait_for("document.querySelectorAll('#front .scatterlayer .point').length == 4")
        assert "The trials that no other beats" in page.text("#front-title")


def test_the_page_is_for_this_machine_alone(tmp_path):
    run = made_study(tmp_path / "alone", 2, 1)
    with served(run.path) as url:
        port = url.split(":")[2].strip("/")
        assert [asked(url, name) for name in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost")] == [200] * 3
        assert [asked(url, name) for name in (f"evil.example:{port}", "127.0.0.1.evil.example")] == [403] * 2
    with served(run.path, "127.0.0.2") as url:
        assert asked(url, url.split("/")[2]) == 200 and asked(url, "evil.example") == 403
    assert is_loopback("::1") and is_loopback("localhost") and not is_loopback("0.0.0.0")


def test_what_cannot_be_served_is_an_error_that_says_why(tmp_path):
    run = made_study(tmp_path / "runs" / "one", 2, 1)
    made_study(tmp_path / "runs" / "two", 2, 1)
    with served(run.path) as url, pytest.raises(FtrayError, match=r"must name a free address .* in use"):
        build_server(ftray.open_study(run.path), port=int(url.split(":")[2].strip("/")))
    with pytest.raises(FtrayError, match="must name a free address"):
        build_server(ftray.open_study(run.path), port=80_500)
    with pytest.raises(RunFolderError, match="name one of them: one, two"):
        serve(tmp_path / "runs")
    with pytest.raises(RunFolderError, match=r"has no study\.json"):
        serve(tmp_path / "nowhere")


NAMED = "[...document.querySelectorAll('#curves .legendtext')].map(e => e.textContent)"
STROKES = (
    "Object.fromEntries(document.querySelector('#curves .js-plotly-plot').data.map(one => [one.name, one.line.color]))"
)
SHOWN = "document.querySelector('#leaderboard .ag-center-cols-viewport')"


@needs_chromium
def test_a_leaderboard_is_whole_at_1280_pixels_and_has_searched_values_where_a_reader_asks(browser, tmp_path):
    run = made_study(tmp_path / "narrow", 12, 2)
    with served(run.path) as url, opened(browser, url, width=1280) as page:
        page.wait_for(f"{ROWS}.length > 8 && {DRAWN} >= 4")
        page.wait_for(f"{SHOWN}.scrollWidth <= {SHOWN}.clientWidth")
        assert "learning_rate" not in page.text("#leaderboard")
        page.page.locator("summary", has_text="Columns").click()
        page.page.get_by_label("ppo/learning_rate").click()
        page.wait_for("document.querySelector('#leaderboard [col-id=\"trial/ppo/learning_rate\"].ag-cell') != null")
        cell = page.page.locator("#leaderboard .ag-row[row-index='0'] [col-id='trial/ppo/learning_rate']").inner_text()
        best = ftray.open_study(run.path).best()
        assert float(cell) == pytest.approx(run.record(best.trial).values["trial/ppo/learning_rate"], rel=1e-3)
        assert page.problems == []


@needs_chromium
def test_no_word_of_the_leaderboard_is_cut_at_1280_pixels(browser, tmp_path):
    run = made_study(tmp_path / "idle", 3, 2, min_round_trips=10)
    run.trial_folder("trial-0002").report({"env_steps": 3_000, **validated(0.4, 0.2), ROUND_TRIPS: 3.0})
    end(run, "trial-0002", "COMPLETE")
    add_waiting(run, 3)
    with served(run.path) as url, opened(browser, url, width=1280) as page:
        page.wait_for(f"{ROWS}.length == 5 && document.querySelector('#leaderboard').innerText.includes('hardly')")
        page.wait_for(f"{SHOWN}.scrollWidth <= {SHOWN}.clientWidth")
        assert "COMPLETE, hardly trades" in page.text("#leaderboard") and "auto, fine-tuned" in page.text(
            "#leaderboard"
        )
        cut = "[...document.querySelectorAll('#leaderboard .ag-cell')].filter(one => one.scrollWidth > one.clientWidth)"
        assert page.page.evaluate(f"{cut}.map(one => one.innerText)") == []


@needs_chromium
def test_while_only_pretraining_runs_each_chart_without_values_takes_a_line(browser, tmp_path):
    run = RunFolder.create(tmp_path / "early", {"name": "early", "trial": TRIAL})
    run.append_event("study_started", n_trials=9)
    run.add_trial("encoder-1", None, "pretraining", {}, {"encoder": FT, "pretraining": {"mask_ratio": 0.15}})
    run.trial_started("encoder-1")
    run.trial_folder("encoder-1").started(host="vm", cpu="a processor", gpu=None, pid=1)
    run.trial_folder("encoder-1").report({"epoch": 1, "validation_loss": 0.3})
    add_waiting(run, 0)
    with served(run.path) as url, opened(browser, url, width=1280) as page:
        page.wait_for("document.querySelectorAll('.plots .card.empty').length == 4")
        assert "encoder-1: pre-training, no trial runs yet" in page.text("header")
        titles = page.page.locator(".plots .card:not([hidden]) h2").all_inner_texts()
        assert titles == [f"{name}: not yet" for name in ("Curves", "Search", "Importance", "Cost")]
        assert all(page.page.locator(f"#{name}-card").bounding_box()["height"] < 90 for name in ("search", "cost"))
        assert page.page.locator(".plots .dash-graph:visible").count() == 0
        assert page.text("#jobs").count("RUNNING") == 1 and "jobs running" in page.text("#machines")
        run.trial_started("trial-0000")
        report(run, "trial-0000", 1, 0.5)
        end(run, "trial-0000", "COMPLETE")
        page.wait_for("document.querySelectorAll('.plots .card.empty').length == 1")  # importance
        page.wait_for(f"document.querySelector('#curves .main-svg').clientWidth > 400 && {DRAWN} == 1")
        assert page.problems == []


def add_waiting(run: RunFolder, number: int) -> None:
    """A trial that waits for its pre-trained encoder."""
    name, encoder = f"trial-{number:04}", FT | {"frozen": False}
    run.add_trial(name, number, "trial", {"trial/encoder/kind": "ft"}, {"encoder": encoder})


@needs_chromium
def test_clicked_trials_keep_the_colours_of_all_curves_and_share_one_chart_of_equity(browser, tmp_path):
    run = made_study(tmp_path / "clicked", 9, 3, n_bars=20)
    with served(run.path) as url, opened(browser, url, width=1280, height=1200) as page:
        page.wait_for(f"{ROWS}.length > 8 && {NAMED}.length == 6")
        before = page.page.evaluate(STROKES)
        row = page.page.locator("#leaderboard .ag-row[row-index='2']")
        assert row.evaluate("one => getComputedStyle(one).cursor") == "pointer"
        last = page.page.locator("#leaderboard .ag-row", has_text="COMPLETE").last
        row.click()
        last.click(modifiers=["Control"])
        page.wait_for("document.querySelectorAll('#trial-card .legendtext').length == 3")  # two, and equal weight
        page.wait_for(f"{NAMED}.length == 7")
        after = page.page.evaluate(STROKES)
        assert {name: after[name] for name in before} == before and len(set(after.values())) == 7
        assert page.problems == []


@needs_chromium
def test_the_leaderboard_of_a_report_is_whole_at_1280_pixels_and_its_charts_are_as_wide_as_the_page(browser, tmp_path):
    report_file = write_report(made_study(tmp_path / "written", 12, 2, n_bars=20).path)
    with opened(browser, report_file.as_uri(), width=1280) as page:
        wide = "[...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth).length"
        assert page.page.evaluate(wide) == 0
        widths = "[...new Set([...document.querySelectorAll('.main-svg')].map(one => one.clientWidth))]"
        page.wait_for(f"{widths}.join() == '1248'")
        page.page.set_viewport_size({"width": 1440, "height": 900})
        page.wait_for(f"{widths}.join() == '1408'")
        page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for(f"{widths}.join() == '700'")  # of paper
        page.page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.wait_for(f"{widths}.join() == '1408'")
