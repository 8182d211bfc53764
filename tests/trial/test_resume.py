"""A trial that was interrupted ends as if nothing had happened: the same metrics and weights, to the last bit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftray.agent.checkpoint import FILE, LAYOUT
from ftray.runs import TrialFolder
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.run import run_trial

from .clocks import without_clocks
from .interrupting import killed_after
from .test_run import FT, TRIAL, Reports, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "without_probes")]

IN_PROCESS = {"n_env_runners": 0, "envs_per_runner": 8}
REGULARISED = {"dropout": 0.2, "weight_decay": 1.0, "log_std": -0.5, "min_log_std": -1.0}
TWO_RUNNERS = {"n_env_runners": 2, "envs_per_runner": 4, "cpus_per_env_runner": 0.5}
CASES = [
    pytest.param(TRIAL.encoder, IN_PROCESS, id="an MLP"),
    pytest.param(FT, IN_PROCESS, id="a fine-tuned encoder"),
    pytest.param(dataclasses.replace(FT, frozen=True), IN_PROCESS, id="a frozen encoder", marks=pytest.mark.long),
    pytest.param(FT, TWO_RUNNERS, id="two env runners", marks=pytest.mark.long),
    pytest.param(FT, IN_PROCESS | REGULARISED | {"alternatives": 3}, id="alternatives, dropout and weight decay"),
    pytest.param(FT, TWO_RUNNERS | {"alternatives": 3}, id="alternatives of two env runners", marks=pytest.mark.long),
]


def trial(encoder=TRIAL.encoder, **ppo):
    """Episodes of 50 bars that span iterations; a reward that remembers; accounts that share a bar."""
    trading = dataclasses.replace(TRIAL.trading, accounts_per_bar=2, reward="differential_sharpe")
    changes = {"env_steps": 5 * 128, "evaluate_every": 1, "learning_rate": 3e-3} | ppo
    return dataclasses.replace(TRIAL, encoder=encoder, trading=trading, ppo=dataclasses.replace(TRIAL.ppo, **changes))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


def weights(folder) -> dict[str, bytes]:
    with np.load(folder / "policy" / "weights.npz") as file:
        return {name: file[name].tobytes() for name in file}


def resumptions(folder) -> list[tuple[bool, str | None]]:
    return [(event["exactly"], event["why"]) for event in TrialFolder(folder).events() if event["event"] == "resumed"]


@pytest.mark.parametrize(("encoder", "runners"), CASES)
def test_a_trial_that_is_interrupted_twice_ends_bit_equal(encoder, runners, tmp_path, shared):
    spec, whole, parts = trial(encoder, **runners), tmp_path / "whole", tmp_path / "parts"
    rows = without_clocks(run(spec, whole, shared))
    assert len(rows) == 5 and any("reward" in row for row in rows)
    first = killed_after(1, spec, parts, shared)
    second = killed_after(1, spec, parts, shared)
    last = run(spec, parts, shared, resume=TrialFolder(parts).checkpoint)
    assert without_clocks([*first, *second, *last]) == [rows[0], rows[2], rows[4]]  # killed with the rows between
    assert weights(parts) == weights(whole)
    assert resumptions(parts) == [(True, None)] * 2


def test_what_is_repeated_after_a_checkpoint_is_repeated_exactly(tmp_path, shared):
    spec = trial(evaluate_every=3)
    rows = without_clocks(run(spec, tmp_path / "whole", shared))
    before = killed_after(3, spec, tmp_path / "parts", shared)
    after = run(spec, tmp_path / "parts", shared, resume=TrialFolder(tmp_path / "parts").checkpoint)
    assert without_clocks(before) == rows[:3] and without_clocks(after) == rows[3:]


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory, shared) -> list[dict[str, Any]]:
    """The rows of a trial that nothing interrupted."""
    return run(trial(), tmp_path_factory.mktemp("whole"), shared)


@pytest.fixture(scope="module")
def killed(cluster, tmp_path_factory, shared) -> Path:
    """The folder of the same trial, killed after two iterations."""
    folder = tmp_path_factory.mktemp("killed")
    killed_after(1, trial(), folder, shared)
    return folder


@pytest.fixture
def folder(killed, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(killed, tmp_path / "killed")


def rest_of(folder, shared, **how) -> list[dict[str, Any]]:
    reports = Reports()
    run_trial(trial(), reports, folder=folder, shared=shared, resume=TrialFolder(folder).checkpoint, **how)
    assert [row["iteration"] for row in reports] == [3, 4, 5] and reports[-1]["run_done"]
    return reports


def test_a_checkpoint_of_an_earlier_version_continues_with_new_episodes_and_says_so(folder, whole, shared):
    (folder / "checkpoint" / FILE).unlink()
    rest = rest_of(folder, shared)
    assert rest[-1]["validation/sharpe"] != whole[-1]["validation/sharpe"]  # the state is worth comparing for
    ((exactly, why),) = resumptions(folder)
    assert not exactly and "an earlier version" in why


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("dataset", "0123", "dataset was 0123"), ("env_runners", 2, "env_runners was 2, is 0")],
)
def test_another_layout_of_accounts_continues_with_new_episodes_and_says_why(name, value, said, folder, shared):
    file = folder / "checkpoint" / FILE
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {LAYOUT: json.dumps(json.loads(str(arrays[LAYOUT])) | {name: value})})
    rest_of(folder, shared)
    ((exactly, why),) = resumptions(folder)
    assert not exactly and said in why


def test_a_smaller_memory_plan_with_as_many_env_runners_keeps_the_episodes(folder, whole, shared):
    rest = rest_of(folder, shared, memory_plan=MemoryPlan(micro_batches=2))
    assert resumptions(folder) == [(True, None)]
    rewards = [row["reward"] for row in whole[2:] if "reward" in row]  # of episodes that began before the checkpoint
    assert rewards and [row["reward"] for row in rest if "reward" in row] == pytest.approx(rewards, rel=1e-3)


def test_what_ftray_adds_to_a_checkpoint_needs_no_unpickling(killed):
    with np.load(killed / "checkpoint" / FILE, allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file} <= set("biufU")
