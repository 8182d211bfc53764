"""`ftray backtest`: the exported policy acts as the one that was trained, and is compared with the benchmarks."""

import dataclasses

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from ftray.cli import main
from ftray.errors import RunFolderError, WeightsError
from ftray.features import build_dataset
from ftray.nets import Policy
from ftray.runs import RunFolder
from ftray.trial.judge import export_policy, has_onnx, judge, performance_table
from ftray.trial.progress import trainings_of
from ftray.trial.standalone import train

from . import test_run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

TRIAL = dataclasses.replace(test_run.TRIAL, onnx=True)


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory) -> RunFolder:
    run = RunFolder.create(tmp_path_factory.mktemp("runs") / "one", {"name": "one"})
    train(TRIAL, run)
    return run


@pytest.fixture(scope="module")
def dataset():
    return build_dataset(TRIAL.market, TRIAL.windows, TRIAL.features)


def test_the_exported_policy_earns_what_the_trial_reported(run, dataset):
    policy = Policy.load(run.trial_folder("trial-0000").folder / "policy")
    figures = performance_table(judge(policy, TRIAL, dataset))["policy"]
    reported = run.record("trial-0000").metrics
    for name in ("total_return", "sharpe", "max_drawdown", "turnover"):
        assert figures[name] == pytest.approx(reported[f"validation/{name}"], rel=1e-4, abs=1e-6)


def test_the_onnx_file_of_the_policy_decides_the_same(run, dataset):
    folder = run.trial_folder("trial-0000").folder / "policy"
    account = np.tile(np.float32([0.5, 0.5, 0.0]), (5, 1))
    observation = dataset.table.observation(dataset.table.decision_bars(dataset.windows.validation)[:5], account)
    session = onnxruntime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"observation": observation})
    np.testing.assert_allclose(answer, Policy.load(folder)(observation), atol=1e-5)


def test_only_the_last_run_of_a_trial_takes_the_time_for_an_onnx_file(run, dataset, tmp_path):
    network, spec = (
        Policy.load(run.trial_folder("trial-0000").folder / "policy").network,
        dataclasses.replace(TRIAL, seeds=2),
    )
    first, last = trainings_of(spec)
    for one in (first, last):
        export_policy(network, spec, dataset, tmp_path / "policy", one)
        assert Policy.load(tmp_path / "policy").facts["seed"] == one.seed
        assert not (tmp_path / "policy" / "policy.onnx").exists()
    assert has_onnx(spec, last) and not has_onnx(spec, first)  # the study's only run has its file: see above
    assert not has_onnx(dataclasses.replace(spec, onnx=False), last)


def test_the_best_trial_of_a_run_is_backtested_and_everything_is_written(run, capsys):
    assert main(["backtest", str(run.path)]) == 0
    printed = capsys.readouterr().out
    for word in ("policy", "equal_weight", "exposure_matched", "hold_AAVE", "Sharpe", "max drawdown"):
        assert word in printed
    folder = run.trial_folder("trial-0000").folder / "backtest-validation"
    equity = pd.read_parquet(folder / "equity.parquet")
    weights = pd.read_parquet(folder / "weights.parquet")
    fills = pd.read_parquet(folder / "fills.parquet")
    assert list(equity) == ["time", "policy", "equal_weight", "cash", "hold_AAVE", "hold_AVAX"]
    assert len(equity) == len(weights) > 100
    np.testing.assert_allclose(weights[["cash", "AAVE", "AVAX"]].sum(axis=1), 1.0)
    assert set(fills["symbol"]) <= {"AAVE", "AVAX"} and (fills["notional"] != 0).all()
    assert fills.columns.tolist()[3:] == ["notional", "units", "price", "fee", "slippage"]
    page = folder / "tear_sheet.html"
    assert "trial-0000 on the validation window" in page.read_text() and f"tear sheet: {page}" in printed
    assert not (folder / "equity.html").exists()


def test_a_policy_folder_can_be_backtested_alone(run, tmp_path, capsys):
    policy = run.trial_folder("trial-0000").folder / "policy"
    assert main(["backtest", str(policy), "--window", "train", "--out", str(tmp_path / "out")]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("equity.parquet", "weights.parquet", "fills.parquet", "performance.json", "tear_sheet.html")
    }
    page = tmp_path / "pages" / "policy.html"
    assert main(["backtest", str(policy), "--out", str(tmp_path / "second"), "--html", str(page)]) == 0
    assert page.is_file() and not (tmp_path / "second" / "tear_sheet.html").exists()
    assert "train window" in capsys.readouterr().out


def test_the_test_window_is_not_for_backtests(run):
    with pytest.raises(SystemExit):
        main(["backtest", str(run.path), "--window", "test"])


def test_a_dataset_that_the_policy_was_not_trained_for_is_refused_with_what_differs(run):
    policy = Policy.load(run.trial_folder("trial-0000").folder / "policy")
    for change, message in (
        ({"features": dataclasses.replace(TRIAL.features, lookback=9)}, r"lookback 8, and the dataset has 9"),
        ({"market": dataclasses.replace(TRIAL.market, seed=9)}, "scaled by another train window"),
    ):
        other = dataclasses.replace(TRIAL, **change)
        with pytest.raises(WeightsError, match=message):
            judge(policy, TRIAL, build_dataset(other.market, other.windows, other.features))


def test_a_run_without_a_finished_trial_says_so(tmp_path, capsys):
    RunFolder.create(tmp_path / "empty", {})
    assert main(["backtest", str(tmp_path / "empty")]) == 1
    assert "no trial with a rank yet" in capsys.readouterr().err


def test_training_that_died_before_its_end_mark_is_finished_by_the_same_command(run):
    (run.path / "DONE").unlink()
    before = run.trial_folder("trial-0000").reports()
    train(TRIAL, RunFolder.open(run.path))
    assert RunFolder.open(run.path).is_done and run.trial_folder("trial-0000").reports() == before
    assert run.benchmarks()["equal_weight"]


def test_two_at_once_on_one_run_folder_are_refused(run):
    with run.driven(), pytest.raises(RunFolderError, match="is being run by another process"):
        train(TRIAL, RunFolder.open(run.path))
