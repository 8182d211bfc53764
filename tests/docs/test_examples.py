"""Examples in Python run as they stand, in a folder of the reader's, and leave what the page says."""

import doctest
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from .pages import BLOCKS, PAGES, README, ROOT, Block, blocks, blocks_of, files_before

Left = dict[str, Any]
"""The names that an example leaves."""


def policy(left: Left, printed: str) -> None:
    weights = np.maximum(left["action"], 0)
    assert left["action"].shape == (left["policy"].layout.n_assets,) and np.isfinite(weights).all()


def results(left: Left, printed: str) -> None:
    assert "trial-0003" in printed and "luck line" in printed and "improvement" in printed
    assert Path("slices.html").stat().st_size > 10_000


def questions(left: Left, printed: str) -> None:
    assert "trial-0000" in printed and "any" not in left and "/nowhere/weights.pth" in printed
    for table in ("trials", "metrics", "folds", "returns", "fills", "events", "encoders"):
        assert table in printed
    assert Path("encoders.html").stat().st_size > 10_000


def own_config(left: Left, printed: str) -> None:
    result, learner = left["result"], left["result"]["learners"]["default_policy"]
    assert result["num_env_steps_sampled_lifetime"] == 256
    assert math.isfinite(learner["total_loss"]) and learner["mean_kl_loss"] > 0.0  # the policy moved
    assert math.isfinite(result["env_runners"]["episode_return_mean"])
    left["algorithm"].stop()


def one_trial(left: Left, printed: str) -> None:
    assert left["figures"]["env_steps"] == 512 and math.isfinite(left["figures"]["validation/sharpe"])
    assert [line.split()[0] for line in printed.splitlines() if line] == ["256", "512"]
    action = left["policy"](np.eye(1, left["policy"].layout.size, dtype=np.float32)[0])
    assert left["policy"].layout.size == 5_888 and action.shape == (7,)
    assert Path("runs/one/policy/policy.onnx").is_file()


def later_candles(left: Left, printed: str) -> None:
    judged, seen = left["result"]["policy"], left["policy"].facts["windows"]["test"][0][1]
    assert judged.bars[0] == 3_000 and seen == "2020-05-04T23:00:00" and len(printed.split()) == 2


def objective(left: Left, printed: str) -> None:
    study = left["study"]
    assert math.isfinite(study.best_value) and study.best_params["hidden"] % 64 == 0
    assert [sorted(trial.intermediate_values)[0] for trial in study.trials] == [256] * 3
    assert len(list(Path("runs/data").iterdir())) == 1  # prepared once for all
    strict = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(lower=1e9))
    strict.optimize(left["objective"], n_trials=1)
    assert [(trial.state, list(trial.intermediate_values)) for trial in strict.trials] == [(TrialState.PRUNED, [256])]


def filled_study(left: Left, printed: str) -> None:
    assert "'trial/encoder/frozen'" in printed and printed.endswith("32 0.0003\n")
    assert left["spec"].search.n_trials == 8


def own_rule(left: Left, printed: str) -> None:
    measures = left["result"].performance()
    assert measures["n_trades"] > 10 and 0 < measures["exposure"] < 1 and 0 < measures["max_drawdown"] < 1
    assert left["dataset"].layout.symbols[2] == "BTC"


def environment(left: Left, printed: str) -> None:
    assert left["observation"].shape == (5_888,) and not left["terminated"] and math.isfinite(left["reward"])


def slashed(left: Left, printed: str) -> None:
    assert "trial-0003" in printed and "mlp" in printed


def tear_sheet(left: Left, printed: str) -> None:
    gained = left["result"].equity[-1] - left["result"].initial_cash
    assert left["sheet"]["assets"].loc["all", "profit"] == pytest.approx(gained, abs=0.005)
    assert "max_drawdown" in printed and "BTC" in printed
    assert Path("equity.html").stat().st_size > 10_000 and Path("weights.html").stat().st_size > 10_000


OUTCOMES: dict[str, Callable[[Left, str], None]] = {
    "a policy": policy,
    "ask your results": results,
    "questions": questions,
    "your own PPOConfig": own_config,
    "one trial": one_trial,
    "a plain Optuna objective": objective,
    "a policy on later candles, from Python": later_candles,
    "a study by name": filled_study,
    "a rule of your own": own_rule,
    "an environment": environment,
    "a name with a slash": slashed,
    "a tear sheet": tear_sheet,
}
"""What an example must leave and print, by its name."""

NEEDS_RAY = {"your own PPOConfig", "one trial", "a plain Optuna objective", "a policy on later candles, from Python"}

MAX_LINES = 20
"""Lines of an example that is no file."""


def marked(some: list[Block]) -> list[Any]:
    """Blocks as parameters: which need Ray, and which take seconds: those with Ray outside README.md, and those in a
    process of their own, where a file of their page may register something."""
    return [pytest.param(block, id=str(block), marks=list(marks_of(block))) for block in some]


def marks_of(block: Block) -> Iterator[pytest.MarkDecorator]:
    if block.name in NEEDS_RAY:
        yield pytest.mark.ray
    if block.file or files_before(block) or (block.name in NEEDS_RAY and block.page != README):
        yield pytest.mark.long


def test_every_named_example_has_an_outcome():
    assert {block.name for block in blocks("python") if block.name} == set(OUTCOMES)


def test_examples_are_short():
    some = [block for block in blocks("python") if not block.file]
    assert [str(block) for block in some if len(block.code.splitlines()) > MAX_LINES] == []


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_an_example_is_python(block):
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize("block", marked([block for block in blocks("python") if not block.file]))
def test_an_example_runs(block, folder, request, capsys, monkeypatch):
    if files_before(block):
        write_files(block)
        run_alone(block.code)
        return
    if block.name in NEEDS_RAY:
        request.getfixturevalue("cluster")
    if block.name == "a plain Optuna objective":
        monkeypatch.setitem(sys.modules, "onnxscript", None)  # four policies without the extra: an export takes 7 s
    left: Left = {"__name__": "__main__"}
    exec(compile(block.code, str(block), "exec"), left)
    if block.name:
        OUTCOMES[block.name](left, capsys.readouterr().out)


@pytest.mark.parametrize("block", marked([block for block in blocks("python") if block.file]))
def test_a_file_of_a_page_can_be_imported(block, folder):
    write_files(block)
    Path(block.file).parent.mkdir(parents=True, exist_ok=True)
    Path(block.file).write_text(block.code)
    run_alone(f"import {block.file.removesuffix('.py').replace('/', '.')}")


def write_files(block: Block) -> None:
    """Writes the files that stand earlier on its page."""
    for name, code in files_before(block).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(code)


def run_alone(code: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['', {str(ROOT)!r}]\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.kind == "pycon" for block in blocks_of(page))])
def test_examples_print_what_stands_below_them(page, folder):
    code = "\n".join(block.code for block in BLOCKS if block.page == page and block.kind == "pycon")
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, page.name, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
