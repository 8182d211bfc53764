"""docs/extending.md: its plug-ins keep their contracts, its studies are accepted, it lists all promises."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftray.cli import _parser
from ftray.testing import (
    EncoderContract,
    IndicatorContract,
    MarketContract,
    RewardContract,
    SamplerContract,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {found[1]: code for _, code in BLOCKS if (found := re.match(r"# ([\w/]+\.(?:py|yaml))\n", code))}
COMMANDS = [line.split() for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()]

CONTRACTS = {
    "indicator": IndicatorContract,
    "reward": RewardContract,
    "market": MarketContract,
    "encoder": EncoderContract,
    "sampler": SamplerContract,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the reader's with all files of the page, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def run(*command: str) -> str:
    """What a command prints in a process of its own: plug-ins must not register in this one."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_a_file_a_session_or_commands():
    assert {kind for kind, code in BLOCKS if code not in FILES.values()} == {"pycon", "bash"}


@pytest.mark.long
def test_the_members_keep_their_contracts(folder):
    tests = [file for program, file, *_ in COMMANDS if program == "pytest"]
    assert set(tests) == {name for name in FILES if name.startswith("test_")}
    printed = run("-m", "pytest", "-q", "-n", "0", "-p", "no:dash", "-p", "no:cacheprovider", *tests)
    assert f"{sum(len(contract.promises()) for contract in CONTRACTS.values())} passed" in printed


def test_the_studies_are_accepted_with_every_range_at_both_ends(folder):
    checked = [
        file for program, verb, file, *_ in (c for c in COMMANDS if len(c) > 2) if [program, verb] == ["ftray", "check"]
    ]
    assert checked == [name for name in FILES if name.endswith(".yaml")]
    lines = [f"assert main(['check', {file!r}]) == 0" for file in checked]
    printed = run("-c", "; ".join(["from ftray.cli import main", *lines]))
    assert "study gaps_study" in printed and "study my_study" in printed and "conv: " in printed


def test_the_commands_are_ones_that_there_are(folder):
    for program, *words in COMMANDS:
        if program == "ftray":
            _parser().parse_args(words)
        else:
            assert program == "pytest"


def test_the_sessions_print_what_stands_below_them():
    code = "\n".join(code for kind, code in BLOCKS if kind == "pycon")
    test = doctest.DocTestParser().get_doctest(code, {}, "extending.md", "extending.md", 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("family", CONTRACTS)
def test_the_page_lists_every_promise(family):
    listed = re.split(rf"^\*\*An? {family}\*\*$", PAGE, flags=re.MULTILINE)[1].partition("**")[0]
    promises = [name.removeprefix("test_").replace("_", " ") for name in CONTRACTS[family].promises()]
    assert re.findall(r"^- (.+)$", listed, re.MULTILINE) == promises
