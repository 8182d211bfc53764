"""Commands that the pages show are ones that this version takes; those that are cheap are run."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from ftray import open_study
from ftray.analysis.luck import luck_of_best
from ftray.cli import _parser, main
from ftray.runs import RunFolder
from ftray.search.objectives import constraints_of, objectives_of
from ftray.study import load_study

from .pages import PAGES, README, ROOT, Block, blocks, commands, files_before, inline_commands
from .test_examples import marked, write_files
from .test_texts import undescribed

ELSEWHERE = {
    *("aws", "az", "docker", "export", "gcloud", "kubectl", "nvidia-smi", "source"),
    *("tensorboard", "optuna-dashboard"),
}
"""Programs that are not ours to check."""

RUN = {"check", "init", "report", "results", "schema", "vram"}
"""Verbs that are really run, where they need neither a cluster nor a GPU."""

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PLACEHOLDER = re.compile(r"[A-Z]+(\.yaml|_\w+)?|cluster/X\.yaml")
"""What stands for a file or folder of the reader's own; `FILE`, `CLUSTER.yaml`."""

_ran: set[tuple[str, ...]] = set()

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def check_ftray(words: list[str], alone: bool) -> None:
    """The command line is one that the parser takes, and its files exist.

    alone: the study may name a plug-in, which no other test shall see.
    """
    given = _parser().parse_args(words)
    file = getattr(given, "file", None)
    if file is not None and alone:
        if words[0] not in RUN:  # those are run
            run_alone(["check", str(file), *(word for override in given.set for word in ("--set", override))])
    elif file is not None and not PLACEHOLDER.fullmatch(str(file)):
        spec = load_study(file, given.set)
        names = [override.partition("=")[2] for override in given.set if override.startswith("name=")]
        assert spec.name == (names[0] if names else file.stem)
        if words[0] in ("pretrain", "train"):
            spec.only_trial(words[0])
    cluster = getattr(given, "cluster", None)
    assert cluster is None or PLACEHOLDER.fullmatch(str(cluster)) or cluster.is_file(), cluster


def is_cheap(words: list[str]) -> bool:
    away = {"--cluster", "--measure", "--watch", "--address"} & set(words)
    return words[0] in RUN and not away and not re.search(r"://|\$", " ".join(words))


def run_here(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words[0] in ("results", "report") and not Path(words[1]).exists():
        return  # of a study that the page's own commands would have made
    if tuple(words) in _ran:
        return  # several pages show it
    _ran.add(tuple(words))
    status = main(words)
    told = capsys.readouterr()
    assert status == 0 and (told.out or words[0] == "report"), told.err
    if words[0] == "init":
        assert Path(f"{Path(words[1]).name}.yaml").read_text().count("# ") > 5, "it has comments"


def run_alone(words: list[str], program: str = "ftray") -> str:
    """What a command prints in a process of its own."""
    command = [sys.executable, "-m", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        for extra in re.findall(r"\[([\w,]+)\]", word):
            assert set(extra.split(",")) <= set(EXTRAS), word
    assert all(Path(file).exists() for option, file in itertools.pairwise(words) if option == "-c")


def check_ray(words: list[str]) -> None:
    """A command of Ray's own, with options that it has."""
    from ray.scripts.scripts import cli

    command: click.Command = cli
    rest = list(words)
    while rest and isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    options = {option for param in command.params for option in param.opts}
    takes_more = any(param.nargs == -1 for param in command.params)
    own = rest[: rest.index("--")] if "--" in rest else rest
    assert {word.partition("=")[0] for word in own if word.startswith("-")} <= options, words
    places = sum(param.param_type_name == "argument" for param in command.params)
    assert places or takes_more or all(word.startswith("-") for word in own), words


def check_python(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words[0] == "-c":
        exec(compile(words[1], "python -c", "exec"), {})
        assert len(capsys.readouterr().out) > 50
    elif words[0] == "-m":
        assert (ROOT / f"{words[1].replace('.', '/')}.py").exists()
    else:
        assert (ROOT / words[0]).exists()


def check_make(words: list[str]) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def elsewhere(words: list[str]) -> list[str]:
    """`check` with a folder of runs in which no study of the pages has run."""
    return [*words, "--runs", "elsewhere"] if words[0] == "check" and "--runs" not in words else words


def check(words: list[str], capsys: pytest.CaptureFixture[str], alone: bool = False) -> None:
    """Checks any command; a program that is not known fails."""
    program, rest = words[0], words[1:]
    match program:
        case "ftray":
            check_ftray(rest, alone)
        case "pytest":
            run_alone(["-q", *rest], program)
        case "pip":
            check_pip(rest)
        case "ray":
            check_ray(rest)
        case "python":
            check_python(rest, capsys)
        case "make":
            check_make(rest)
        case _:
            assert program in ELSEWHERE or re.fullmatch(r"\w+=\S*", program), f"{program}: is it a command?"


@pytest.mark.parametrize("block", marked(blocks("bash")))
def test_commands_are_ones_that_there_are(block: Block, folder, capsys):
    write_files(block)
    alone = bool(files_before(block))
    for words in commands(block.code):
        check(words, capsys, alone)
        if words[0] == "ftray" and is_cheap(words[1:]):
            run_alone(words[1:]) if alone else run_here(elsewhere(words[1:]), capsys)


@EACH_PAGE
def test_commands_within_sentences_are_ones_that_there_are(page, folder, capsys):
    for command in inline_commands(page):
        for words in commands(command):
            if words[0] == "ftray" and len(words) == 2:
                with pytest.raises(SystemExit) as end:
                    main([*words[1:], "--help"])
                assert end.value.code == 0, command
            elif words[0] in ("ftray", "python", "make", "ray", "pip"):
                check(words, capsys)
            own = any(map(PLACEHOLDER.fullmatch, words))
            if words[0] == "ftray" and len(words) > 2 and words[1] != "init" and is_cheap(words[1:]) and not own:
                run_here(elsewhere(words[1:]), capsys)


WRONG = (
    *("ftray tun demo", "ftray check deom", "ftray check demo --sett x=1", "ftray check demo --set x=1"),
    *("ray dwon -y x.yaml", "ray up --yess x.yaml", "pip install 'ftray[nb]'", "make tests", "fray tune demo"),
)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_command_that_there_is_not_is_found(wrong, folder, capsys):
    with pytest.raises((Exception, SystemExit)):
        check(next(commands(wrong)), capsys)


def tune_demo() -> list[list[str]]:
    """The commands of README.md that run the demo: as it is, and on noise."""
    shown = [words[1:] for block in blocks("bash") if block.page == README for words in commands(block.code)]
    return [words for words in shown if words[:2] == ["tune", "demo"]]


@pytest.mark.ray
@pytest.mark.long
def test_the_demo_does_what_the_readme_says(folder):
    shutil.rmtree("runs/demo")
    (words,) = [words for words in tune_demo() if words == ["tune", "demo"]]
    printed = run_alone(words)
    for part in ("rank", "equal_weight", "luck line", "found: more than luck explains"):
        assert part in printed
    assert "nothing found" not in printed
    run = RunFolder.open(Path("runs/demo"))
    records = run.records()
    assert run.is_done and {record.state for record in records} == {"COMPLETE"}
    assert sorted(record.kind for record in records) == ["pretraining", *["trial"] * 4]
    luck = open_study(run.path).best().luck
    assert luck is not None and luck.clears
    assert "is finished: nothing to run" in run_alone(words)
    (tree,) = [block for block in blocks("text") if block.name == "a run folder"]
    assert undescribed(tree.code, run.path) == []
    assert "exposure_matched" in run_alone(["backtest", "runs/demo"])


@pytest.mark.ray
@pytest.mark.long
def test_the_demo_on_noise_finds_nothing(folder):
    (words,) = [words for words in tune_demo() if "name=noise" in words]
    printed = run_alone(words)
    assert "nothing found" in printed and "found: more" not in printed
    run = RunFolder.open(Path("runs/noise"))
    luck = luck_of_best(run.records(), objectives_of(run.study), constraints_of(run.study))
    assert run.is_done and (luck is None or not luck.clears)


def test_commands_are_read_as_a_shell_reads_them():
    code = "a b \\\n  'c d'  # said\nx=1\nexport y=$(e f) && g > h\n"
    assert list(commands(code)) == [["a", "b", "c d"], ["x=1"], ["export", "y=$"], ["e", "f"], ["g"]]


def test_the_commands_of_a_loop_are_read_once_for_each_of_its_values():
    code = "for x in 1 2; do\n  a b_$x\n  c\ndone\nd\n"
    assert list(commands(code)) == [["a", "b_1"], ["c"], ["a", "b_2"], ["c"], ["d"]]
    assert list(commands("for x in 1 2; do a $x; done")) == [["a", "1"], ["a", "2"]]
