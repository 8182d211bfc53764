"""docs/extending.md: its plug-ins keep their contracts, and it lists all promises. `tests/docs` runs its blocks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.long
def test_the_members_keep_their_contracts(folder):
    tests = [file for program, file, *_ in COMMANDS if program == "pytest"]
    assert set(tests) == {name for name in FILES if name.startswith("test_")}
    printed = run("-m", "pytest", "-q", "-n", "0", "-p", "no:dash", "-p", "no:cacheprovider", *tests)
    assert f"{sum(len(contract.promises()) for contract in CONTRACTS.values())} passed" in printed


@pytest.mark.parametrize("family", CONTRACTS)
def test_the_page_lists_every_promise(family):
    listed = re.split(rf"^\*\*An? {family}\*\*$", PAGE, flags=re.MULTILINE)[1].partition("**")[0]
    promises = [name.removeprefix("test_").replace("_", " ") for name in CONTRACTS[family].promises()]
    assert re.findall(r"^- (.+)$", listed, re.MULTILINE) == promises
