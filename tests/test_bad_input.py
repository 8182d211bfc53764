"""Every bad input of the list is refused in one clear line: no traceback, nothing left behind."""

import contextlib
import io
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ftray.cli import main
from ftray.market import SimulatorSpec
from ftray.nets import FTSpec
from ftray.spec import to_mapping
from ftray.study import SearchSpec
from ftray.trial import TrialSpec

from .bad_input import CANDLES, CLUSTER, CLUSTERS, FILES, SETS, WORDS, WRONG
from .test_nothing_left import OLD_STUDY, content

STUDY = """
trial:
  market: {kind: simulator, n_assets: 2, n_bars: 1200}
  windows: {holding: 6}
  features: {lookback: 8, indicators: [close]}
  encoder: {kind: mlp}
  ppo: {n_env_runners: 0}
search: {n_trials: 1}
"""
Refusal = tuple[tuple[str, ...], str]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory with a study and a run folder."""
    (tmp_path / "study.yaml").write_text(STUDY)
    encoder = "{kind: ft, d_token: 32, n_blocks: 1, n_heads: 2, encoding_dim: 256, patch_length: 8}"
    (tmp_path / "ft.yaml").write_text(STUDY.replace("{kind: mlp}", encoder))
    shutil.copytree(OLD_STUDY, tmp_path / "runs" / "old")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def outcome(words: Iterable[str]) -> tuple[Any, list[str]]:
    """The exit status of a command, and the lines that it writes to standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            status: Any = main(list(words))
        except SystemExit as error:
            status = error.code
    return status, errors.getvalue().strip().splitlines()


def not_refused(inputs: Iterable[Refusal], place: Path, status: int = 1) -> list[str]:
    """The commands that were accepted, or refused in other words or more lines, or that left something behind."""
    wrong, before = [], content(place)
    for words, word in inputs:
        found, lines = outcome(words)
        if found != status or not lines or word not in lines[-1] or (status == 1 and len(lines) > 1):
            wrong.append(f"{words} must be refused with {word!r}: {found}, {lines}")
        if content(place) != before:
            wrong.append(f"{words} left something behind")
            before = content(place)
    return wrong


def leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The fields of a plain tree that are no sections, by their paths."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.{key}")
        elif key != "kind":
            yield f"{path}.{key}", value


def test_no_field_takes_a_value_of_another_type(place):
    trial = to_mapping(TrialSpec(market=SimulatorSpec(), encoder=FTSpec()))
    fields = [*leaves(trial, "trial"), *leaves(to_mapping(SearchSpec()), "search")]
    inputs = [
        (("check", "ft.yaml", "--set", f"{path}={value}"), path.rpartition(".")[2])
        for path, default in fields
        for value in WRONG.get(type(default), ())
        if (path, value) != ("trial.encoder.horizons", "[7]")  # a list of numbers, of this field alone
    ]
    assert len(inputs) > 600 and not_refused(inputs, place) == []


def test_settings_that_describe_no_study_are_refused(place):
    assert not_refused(((("check", "study.yaml", "--set", text), word) for text, word in SETS.items()), place) == []


def test_files_that_are_no_studies_are_refused(place):
    files = []
    for number, (text, word) in enumerate(FILES.items()):
        (place / f"{number}.yaml").write_text(text)
        files.append((("check", f"{number}.yaml"), word))
    assert not_refused(files, place) == []


def test_candles_that_are_none_are_refused(place):
    inputs = []
    for number, (text, word) in enumerate(CANDLES.values()):
        folder = place / f"candles-{number}"
        folder.mkdir()
        (folder / "BTC.csv").write_bytes(text.encode("latin-1"))
        market = f"trial.market={{kind: files, path: {folder}}}"
        inputs.append((("check", "study.yaml", "--set", market), word))
    assert not_refused(inputs, place) == []


def test_cluster_files_that_promise_what_no_machine_has_are_refused(place):
    inputs = []
    for number, ((right, wrong), word) in enumerate(CLUSTERS.items()):
        assert right in CLUSTER
        (place / f"cluster-{number}.yaml").write_text(CLUSTER.replace(right, wrong, 1))
        inputs.append((("vram", "study.yaml", "--cluster", f"cluster-{number}.yaml"), word))
    assert not_refused(inputs, place) == []


def test_command_lines_that_say_nothing_are_refused(place):
    wrong = []
    for words, word in WORDS.items():
        status, lines = outcome(words)
        if status not in (1, 2) or not lines or word not in lines[-1]:
            wrong.append(f"{words} must be refused with {word!r}: {status}, {lines}")
    assert wrong == []
