"""The validation curve decides which evaluation of a training is its result, and a kill in between changes nothing."""

import dataclasses
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ftray import stats
from ftray.errors import RunFolderError
from ftray.metrics import check_reported
from ftray.nets import Policy
from ftray.runs import TrialFolder
from ftray.spec import parse, to_mapping
from ftray.tables.bars import bars_file
from ftray.tables.ingest import on_the_way
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial.evaluation import EvalResult
from ftray.trial.judge import judge
from ftray.trial.progress import Training, TrialProgress, trainings_of
from ftray.trial.reporting import ResultQueue
from ftray.trial.selection import Selection

from .clocks import without_clocks
from .interrupting import killed_after
from .test_run import TRIAL, Reports, run

PLAYED = dataclasses.replace(TRIAL, select="best_validation", ppo=dataclasses.replace(TRIAL.ppo, env_steps=40))
"""Trainings of four evaluations, ten env steps apart."""

Curves = dict[int, list[float]]
"""By seed, the growth at each evaluation of a training."""


def measured(growth: float, seed: int = 0) -> dict[str, float]:
    """What an evaluation measures: its Sharpe ratio says which one it was."""
    return {"validation/total_return": growth, "validation/sharpe": 10 * growth + seed, "encoder/token_norm": growth}


def play(
    curves: Curves,
    folder: Path,
    reports: Reports,
    *,
    spec: TrialSpec = PLAYED,
    resume: Path | None = None,
    stop: int = 99,
) -> None:
    """Trainings whose evaluations measure this, from a checkpoint on; killed after `stop` reports in all."""
    spec = dataclasses.replace(spec, seeds=len(curves))
    progress = TrialProgress.read(resume, spec)
    for training in trainings_of(spec)[len(progress.finished) :]:
        begin = progress.selection.evaluations if progress.inside_training else 0
        inside, progress.inside_training = progress.inside_training, False

        def save(to: Path, backtest: Any, training: Training = training) -> None:
            to.mkdir(parents=True, exist_ok=True)
            (to / f"returns-0-{training.seed}.parquet").write_text(backtest)

        queue = ResultQueue(training, progress, reports, folder, save, resume if inside else None)
        for number, growth in enumerate(curves[training.seed][begin:], begin + 1):
            name, evaluation = f"{training.seed}-{number}", Future()
            evaluation.set_result(EvalResult(measured(growth, training.seed), name))  # type: ignore[arg-type]

            def save_state(state: Path, name: str = name) -> None:
                (state / "selected" / "policy").mkdir(parents=True)
                (state / "selected" / "policy" / "weights").write_text(name)

            row = {"env_steps": 10 * number, "iteration": number}
            queue.add_evaluated(row, number == 4, evaluation, save_state)
            queue.finish()
            if len(reports) >= stop:
                return


def played(curves: Curves, folder: Path, **how: Any) -> Reports:
    reports = Reports()
    play(curves, folder, reports, **how)
    return reports


def exported(folder: Path, seed: int = 0) -> tuple[str, str]:
    """Which evaluation the trial's policy and the bars of a training are of."""
    return (folder / "policy" / "weights").read_text(), (folder / f"returns-0-{seed}.parquet").read_text()


def test_the_evaluation_that_grew_most_is_the_result_with_its_policy_and_bars(tmp_path: Path):
    rows = played({0: [0.1, 0.4, 0.2, -0.3]}, tmp_path)
    assert [row["validation/total_return"] for row in rows] == [
        0.1,
        0.4,
        0.2,
        0.4,
    ]  # its running values, then its result
    assert [row["selected/evaluations"] for row in rows] == [1, 2, 3, 4]
    assert [row["selected/env_steps"] for row in rows] == [10, 20, 20, 20]
    last = rows[-1]
    assert last["env_steps"] == 40 and last["iteration"] == 4 and last["encoder/token_norm"] == 0.4
    (own,) = last["runs"]
    assert own == {
        **{"fold": 0, "seed": 0, "env_steps": 40, "selected/env_steps": 20, "selected/evaluations": 4},
        **{"validation/total_return": 0.4, "validation/sharpe": 4.0},
    }
    assert exported(tmp_path) == ("0-2", "0-2")
    assert not (TrialFolder(tmp_path).checkpoint / "selected").exists()  # type: ignore[operator]  # it has one
    for row in rows:
        check_reported(set(row) - {"checkpoint"})


def test_a_curve_still_shows_what_the_last_evaluation_measured(tmp_path: Path):
    rows = [on_the_way(row) for row in played({0: [0.1, 0.4, 0.2, -0.3], 1: [0.0, 0.2, 0.1, 0.6]}, tmp_path)]
    growth = [row["validation/total_return"] for row in rows]
    assert growth == pytest.approx([0.1, 0.4, 0.2, -0.3, 0.2, 0.3, 0.25, 0.5])  # of seed 1, means with seed 0's result
    assert "evaluated" in rows[3] and "evaluated" not in rows[7]  # the last evaluation is the result there


def test_metrics_of_a_trial_are_means_over_the_results_of_its_trainings(tmp_path: Path):
    last = played({0: [0.1, 0.4, 0.2, -0.3], 1: [0.6, 0.2, 0.1, 0.0]}, tmp_path)[-1]
    assert last["validation/total_return"] == pytest.approx(0.5) and last["validation/sharpe"] == pytest.approx(5.5)
    assert last["validation/sharpe_error"] == pytest.approx(np.std([4.0, 7.0], ddof=1) / math.sqrt(2))
    assert [one["selected/env_steps"] for one in last["runs"]] == [20, 10]
    assert last["selected/evaluations"] == 4  # of each training
    assert exported(tmp_path, 0) == ("1-1", "0-2") and exported(tmp_path, 1) == ("1-1", "1-1")


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_trial_that_is_killed_after_any_report_ends_like_one_that_is_not(stop: int, tmp_path: Path):
    curves = {0: [0.1, 0.4, 0.2, -0.3], 1: [0.6, 0.2, math.nan, 0.0]}
    whole = played(curves, tmp_path / "whole")
    parts = played(curves, tmp_path / "parts", stop=stop)
    assert len(parts) == stop
    play(curves, tmp_path / "parts", parts, resume=TrialFolder(tmp_path / "parts").checkpoint)
    assert without_clocks(parts) == without_clocks(whole)
    assert exported(tmp_path / "parts", 0) == ("1-1", "0-2") and exported(tmp_path / "parts", 1) == ("1-1", "1-1")


def test_of_equals_the_later_evaluation_is_the_result_and_an_undefined_one_only_if_all_are():
    flat = Selection("best_validation")
    assert [flat.see(steps, measured(0.0)) for steps in (10, 20, 30)] == [True, True, True]
    some = Selection("best_validation")
    assert [some.see(1, measured(growth)) for growth in (math.nan, -1.0, math.nan, -0.5)] == [True, True, False, True]
    last = Selection("last")
    assert [last.see(1, measured(growth)) for growth in (0.4, 0.1)] == [True, True] and last.facts() == {}


def test_by_default_the_last_evaluation_is_the_result_and_nothing_is_selected(tmp_path: Path):
    rows = played({0: [0.1, 0.4, 0.2, -0.3]}, tmp_path, spec=dataclasses.replace(PLAYED, select="last"))
    assert rows[-1]["validation/total_return"] == -0.3 and (tmp_path / "returns-0-0.parquet").read_text() == "0-4"
    assert not any(name.startswith(("selected/", "evaluated")) for row in rows for name in row)


def test_a_trial_of_an_earlier_version_opens_as_one_whose_last_evaluation_is_its_result():
    stored = to_mapping(TRIAL)
    del stored["select"]
    assert parse(TrialSpec, stored).select == "last"


def test_a_checkpoint_without_the_files_of_its_selected_evaluation_is_refused(tmp_path: Path):
    played({0: [0.1, 0.4, 0.2, -0.3]}, tmp_path, stop=2)
    checkpoint = TrialFolder(tmp_path).checkpoint
    assert checkpoint is not None
    (checkpoint / "selected").rename(tmp_path / "lost")
    with pytest.raises(RunFolderError, match=r"selected/ is missing.*delete the checkpoint to start again"):
        TrialProgress.read(checkpoint, PLAYED)


WILD = dataclasses.replace(
    TRIAL,
    seed=4,
    select="best_validation",
    ppo=dataclasses.replace(TRIAL.ppo, env_steps=5 * 128, learning_rate=1e-2),
)
"""A real training whose best evaluation is not its last one."""


@pytest.mark.ray
@pytest.mark.usefixtures("cluster", "without_probes")
def test_the_policy_of_a_real_training_has_the_metrics_and_bars_of_the_selected_evaluation(tmp_path: Path):
    rows = run(WILD, tmp_path / "whole", tmp_path)
    growth = [on_the_way(row)["validation/total_return"] for row in rows]
    best = int(np.argmax(growth))
    last = rows[-1]
    assert best < len(rows) - 1 and last["selected/env_steps"] == rows[best]["env_steps"]
    names = [name for name in last if name.startswith("validation/")]
    assert {name: last[name] for name in names} == {name: rows[best][name] for name in names}
    policy = Policy.load(tmp_path / "whole" / "policy")
    tested = judge(policy, WILD, prepare_dataset(WILD, tmp_path)[1])
    measures = tested["policy"].performance(tested["equal_weight"])
    for name in ("total_return", "active_sharpe", "turnover"):  # the policy alone computes in another order
        assert measures[name] == pytest.approx(last[f"validation/{name}"], rel=1e-4, abs=1e-6)
    bars = pd.read_parquet(bars_file(tmp_path / "whole", "returns", 0, WILD.seed))
    equity = stats.equity_curve(bars["return"].to_numpy())
    assert stats.total_return(equity) == last["validation/total_return"]  # to the last bit
    np.testing.assert_allclose(bars["return"], tested["policy"].returns, atol=1e-7)
    assert set(bars["trial"]) == {"whole"}

    killed_after(best + 1, WILD, tmp_path / "parts", tmp_path)  # with the checkpoint after the best evaluation
    resumed = run(WILD, tmp_path / "parts", tmp_path, resume=TrialFolder(tmp_path / "parts").checkpoint)
    assert without_clocks(resumed) == without_clocks(rows)[best + 2 :]
    first, second = (np.load(tmp_path / name / "policy" / "weights.npz") for name in ("whole", "parts"))
    assert {name: first[name].tobytes() for name in first} == {name: second[name].tobytes() for name in second}
    again = pd.read_parquet(bars_file(tmp_path / "parts", "returns", 0, WILD.seed))
    pd.testing.assert_frame_equal(again.drop(columns="trial"), bars.drop(columns="trial"), check_exact=True)
