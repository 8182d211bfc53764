"""Trees, diagrams and formulas: what they name is there."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ftray
from ftray import plots, stats
from ftray.boards import backtest
from ftray.features import FeatureTable, ObservationLayout
from ftray.nets.onnx_process import ONNX
from ftray.plots.known_returns import VECTORS
from ftray.pretraining import folder as encoder_folder
from ftray.runs import folder as run_folder
from ftray.runs import trial as trial_folder

from .conftest import STUDY_WITH_POLICIES
from .pages import ROOT, blocks


def names_in(code: str) -> list[str]:
    """The first word of each line, without a slash at its end."""
    return [line.split()[0].rstrip("/,") for line in code.splitlines() if line.strip()]


def flow(code: str) -> None:
    for known in (FeatureTable, ObservationLayout, ftray.TradingEnv, ftray.TrialSpec, ftray.run_trial):
        assert known.__name__ in code


def tree(code: str) -> None:
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.*"))}
    hidden = {name for name in there if name.startswith(".") or name.endswith(".egg-info") or name in ("runs", "build")}
    assert set(names_in(code)) == there - hidden


def formula_of(function: Callable[..., object]) -> Callable[[str], None]:
    def check(code: str) -> None:
        right = code.partition(" = ")[2].strip()
        formula = right.removeprefix("1/√Y · ").removesuffix(" · √P")
        assert formula in re.sub(r"\s+", " ", function.__doc__ or "")

    return check


NOT_STORED = {
    "checkpoint",
    "weights-FOLD-SEED.parquet",
    "data/FINGERPRINT",
    "promoted/TRIAL/seed-N",
    "optuna.journal",
    "tensorboard",
    "tune",
}
"""Entries of the tree that the stored study was committed without, or that derive."""


def entries(code: str) -> Iterator[str]:
    """The paths of a run folder's tree; a line that is indented stands in the trial's folder."""
    for line in code.splitlines():
        yield ("trials/trial-0007/" if line.startswith("  ") else "") + line.split()[0].rstrip("/")


def patterns(code: str) -> dict[str, re.Pattern[str]]:
    """What matches each entry of a run folder's tree: words in capitals, and the trial's id, stand for any name."""
    listed = set(entries(code)) - {"trials/trial-0007"}
    anything = {name: re.sub(r"[A-Z]{3,}", "[^/]+", name).replace("trial-0007", "[^/]+") for name in listed - {"DONE"}}
    return {name: re.compile(rf"{one}(/|$)") for name, one in {**anything, "DONE": "DONE"}.items()}


def undescribed(code: str, run: Path) -> list[str]:
    """The files of a run folder that its tree does not describe; hidden ones are nobody's business."""
    files = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in Path(file).parts)]
    return [file for file in shown if not any(one.match(file) for one in patterns(code).values())]


def listed(entry: str) -> str:
    """How a docstring names an entry of the tree."""
    return entry.split("/")[0].replace("FOLD-SEED.parquet", "*")


def run_tree(code: str) -> None:
    assert undescribed(code, STUDY_WITH_POLICIES) == []
    files = [str(path.relative_to(STUDY_WITH_POLICIES)) for path in STUDY_WITH_POLICIES.rglob("*")]
    told = f"{run_folder.__doc__} {trial_folder.__doc__}"
    for name, pattern in patterns(code).items():
        short = name.removeprefix("trials/trial-0007/")
        assert any(map(pattern.match, files)) or (short in NOT_STORED and listed(short) in told), name


def policy_folder(code: str) -> None:
    stored = {path.name for path in next(STUDY_WITH_POLICIES.glob("trials/*/policy")).iterdir()}
    assert set(names_in(code)) == stored | {ONNX}


def encoder_tree(code: str) -> None:
    told = re.findall(r"^(\S+\.\w+|DONE) {2,}", encoder_folder.__doc__ or "", re.MULTILINE)
    assert set(names_in(code)) == set(told) - {"resume.pth"}


def backtest_folder(code: str) -> None:
    assert set(names_in(code)) == set(re.findall(r"`(\w+\.\w+)`", backtest.__doc__ or ""))


def known_returns(code: str) -> None:
    _, titles, *rows = code.splitlines()
    columns = {vector: {"mean": 0.0, "low": 0.0, "high": 0.0} for vector in VECTORS}
    horizons = {ahead: {"skill": columns} for ahead in ("1", "4", "24")}
    returns = {"horizons": horizons, "n_inputs": dict.fromkeys(VECTORS, 1)}
    expected, *_ = plots.known_returns({"figures": {"returns": returns}})
    assert re.split(r"  +", titles) == expected
    assert [re.split(r"  +", row)[0] for row in rows] == list(VECTORS.values())


CHECKS: dict[str, Callable[[str], None]] = {
    "the flow of data": flow,
    "the tree": tree,
    "known returns": known_returns,
    "formula of the error": formula_of(stats.sharpe_error),
    "formula of the luck line": formula_of(stats.expected_maximum_sharpe),
    "a run folder": run_tree,
    "a policy's folder": policy_folder,
    "an encoder's folder": encoder_tree,
    "a backtest's folder": backtest_folder,
}


@pytest.mark.parametrize("block", blocks("text"), ids=str)
def test_what_a_text_names_is_there(block):
    assert block.name in CHECKS, "a tree or a diagram needs a name and a check of that name"
    CHECKS[block.name](block.code)


def test_no_check_is_left_over():
    assert {block.name for block in blocks("text")} == set(CHECKS)
