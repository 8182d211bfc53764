"""The sidecars of the page: real programs, on the same study, on loopback, that end with the page."""

import json
import subprocess
import sys
import time
import urllib.request

import pytest

from ftray.boards import sidecars
from ftray.boards.sidecars import Program, Sidecar, links, run_sidecars
from ftray.errors import MissingDependencyError, RunFolderError

from ..study.by_hand import Hand, tiny_study
from .made import made_study


def answer(url: str) -> str:
    """What a program answers, once it is up."""
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as page:
                return page.read().decode()
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.3)


def test_tensorboard_shows_the_trials_of_a_study_that_has_no_files_for_it_and_leaves_none(tmp_path):
    run = made_study(tmp_path / "study", 3, 2)
    with run_sidecars(run, optuna=False, tensorboard=True) as (sidecar,):
        assert not (run.path / "tensorboard").exists()
        assert answer(f"{sidecar.link.url}data/environment")
        while (runs := json.loads(answer(f"{sidecar.link.url}data/runs"))) != [
            "trial-0000",
            "trial-0001",
            "trial-0002",
        ]:
            assert runs == [] or set(runs) < {"trial-0000", "trial-0001", "trial-0002"}
            time.sleep(0.3)
        assert [link.name for link in links([sidecar]) if link.problem] == []
    assert sidecar.process.returncode is not None


def test_optuna_dashboard_shows_the_study_in_the_journal(tmp_path):
    hand = Hand(tiny_study(), tmp_path / "tiny")
    hand.start()
    with run_sidecars(hand.run, optuna=True, tensorboard=False) as (sidecar,):
        assert optuna_studies(sidecar) == ["tiny"]


def optuna_studies(sidecar: Sidecar) -> list[str]:
    """The names of what optuna-dashboard shows."""
    return [study["study_name"] for study in json.loads(answer(f"{sidecar.link.url}api/studies"))["study_summaries"]]


def test_a_program_that_ends_says_why_in_its_link(tmp_path):
    sidecar = Sidecar(Program("odd", "sys", "import sys; sys.exit('no such study')"), [], tmp_path / "odd.log")
    sidecar.process.wait()
    assert sidecar.link.problem == "ended with status 1: no such study"


def test_what_is_missing_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    run = made_study(tmp_path / "study", 2, 1)
    with (
        pytest.raises(RunFolderError, match=r"has no optuna\.journal"),
        run_sidecars(run, optuna=True, tensorboard=False),
    ):
        pass
    (run.path / "optuna.journal").touch()
    monkeypatch.setattr(sidecars.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(
            MissingDependencyError, match=r"optuna-dashboard is not installed: pip install 'ftray\[dashboard\]'"
        ),
        run_sidecars(run, optuna=True, tensorboard=False),
    ):
        pass


def test_without_dash_the_error_names_the_line_that_installs_it(tmp_path):
    run = made_study(tmp_path / "study", 2, 1)
    code = (
        "import sys\nsys.modules['dash'] = None\nfrom ftray.cli import main\n"
        f"sys.exit(main(['dashboard', {str(run.path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "dash is not installed: pip install 'ftray[dashboard]'" in done.stderr
    assert "Traceback" not in done.stderr
