"""The guide to tuning: every command in it is one that this version takes, and every question one that a study
answers.
"""

import itertools
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ftray.cli import main
from ftray.study import load_study

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "tuning.md"
OLD_STUDY = ROOT / "tests" / "runs" / "format_1"

COMMANDS = re.findall(r"(?:^|`)((?:ftray|python -c) [^`\n]+)", GUIDE.read_text(), re.MULTILINE)
SHOWN = [command for command in COMMANDS if command.startswith("python")]
RUN = [command for command in COMMANDS if re.match(r"ftray (results|report) runs/demo", command)]
FILES = [command for command in COMMANDS if "tune_configs/" in command]


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A folder in which `runs/demo` is a study of six trials."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD_STUDY, tmp_path / "runs" / "demo")
    return tmp_path


def test_there_is_a_command_for_everything():
    assert len(SHOWN) >= 6 and len(FILES) >= 8 and len(set(RUN)) == 2
    assert GUIDE.name in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", dict.fromkeys(SHOWN))
def test_a_question_is_answered(command, demo, capsys):
    python, _, code = shlex.split(command)
    exec(compile(code, python, "exec"), {})
    assert len(capsys.readouterr().out) > 50


@pytest.mark.parametrize("command", dict.fromkeys(RUN))
def test_a_run_is_looked_at(command, demo, capsys):
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("command", dict.fromkeys(FILES))
def test_a_file_is_taken_with_what_is_laid_over_it(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, verb, file, *options = shlex.split(command)
    overrides = [value for option, value in itertools.pairwise(options) if option == "--set"]
    market = [] if "demo" in file else ["trial.market={kind: simulator}"]  # there are no candles here
    spec = load_study(Path(file), [*overrides, *market])
    assert spec.name == next((o.partition("=")[2] for o in overrides if o.startswith("name=")), Path(file).stem)
    if verb in ("check", "vram"):
        assert main([verb, file, *options, *(word for value in market for word in ("--set", value))]) == 0
    if verb in ("pretrain", "train"):
        spec.only_trial(verb)


def test_the_rest_are_verbs_that_there_are(capsys):
    for command in COMMANDS:
        if command.startswith("ftray"):
            with pytest.raises(SystemExit) as end:
                main([command.split()[1], "--help"])
            assert end.value.code == 0, command
