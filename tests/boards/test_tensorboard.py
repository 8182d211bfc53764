"""TensorBoard's files, read by TensorBoard."""

import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ftray.boards.tensorboard import TensorBoard
from ftray.runs import RunFolder

from .made import end, made_study, report

SHARPE = "validation/sharpe"


def read(run: RunFolder, trial: str) -> EventAccumulator:
    found = EventAccumulator(str(run.path / "tensorboard" / trial))
    return found.Reload()


def reported(run: RunFolder, trial: str) -> list[tuple[int, float]]:
    return [(row["env_steps"], row[SHARPE]) for row in run.trial_folder(trial).reports()]


def shown(run: RunFolder, trial: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value)) for point in read(run, trial).Scalars(SHARPE)]


def test_a_trial_is_followed_as_it_reports(tmp_path):
    run = made_study(tmp_path / "study", 2, 3)
    board = TensorBoard(run)
    board.follow("trial-0001")
    assert reported(run, "trial-0001") == shown(run, "trial-0001")
    report(run, "trial-0001", 4, 2.5)
    board.follow("trial-0001")
    board.follow("trial-0001")
    assert len(shown(run, "trial-0001")) == 4 and reported(run, "trial-0001") == shown(run, "trial-0001")
    at = [event["at"] for event in run.trial_folder("trial-0001").events() if event["event"] == "report"]
    times = [point.wall_time for point in read(run, "trial-0001").Scalars(SHARPE)]
    assert times == sorted(times) and len(set(at)) == 4


def test_metrics_alone_are_scalars_and_searched_values_are_hyperparameters(tmp_path):
    run = made_study(tmp_path / "study", 2, 2)
    TensorBoard(run).ended("trial-0000")
    found = read(run, "trial-0000")
    assert {"validation/sharpe", "validation/max_drawdown", "cost/gpu_seconds"} <= set(found.Tags()["scalars"])
    assert {"fold", "seed", "env_steps", "runs"}.isdisjoint(found.Tags()["scalars"])
    pieces = {tag: HParamsPluginData.FromString(data) for tag, data in found.PluginTagToContent("hparams").items()}
    start = pieces["_hparams_/session_start_info"].session_start_info.hparams
    values = run.record("trial-0000").values
    assert start["trial/ppo/gamma"].number_value == values["trial/ppo/gamma"]
    assert start["trial/encoder/kind"].string_value == values["trial/encoder/kind"]
    assert pieces["_hparams_/session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_a_trial_that_continued_from_its_checkpoint_appears_once(tmp_path):
    run = made_study(tmp_path / "study", 2, 3)
    TensorBoard(run).follow("trial-0001")  # by a driver that was killed
    for step in (3, 4):
        report(run, "trial-0001", step, 7.0)
    end(run, "trial-0001", "COMPLETE")
    board = TensorBoard(run)
    board.catch_up()
    board.ended("trial-0001")
    assert [step for step, _ in shown(run, "trial-0001")] == [1_000, 2_000, 3_000, 4_000]
    assert shown(run, "trial-0001")[2] == reported(run, "trial-0001")[2]  # the first report of a step counts
    assert len(list((run.path / "tensorboard" / "trial-0001").iterdir())) == 1


def test_what_was_deleted_is_written_again_from_the_run_folder(tmp_path):
    run = made_study(tmp_path / "study", 3, 2)
    TensorBoard(run).catch_up()
    before = {trial: shown(run, trial) for trial in ("trial-0000", "trial-0001", "trial-0002")}
    shutil.rmtree(run.path / "tensorboard")
    TensorBoard(run).catch_up()
    assert before == {trial: reported(run, trial) for trial in before}
    assert {trial: shown(run, trial) for trial in before} == {trial: reported(run, trial) for trial in before}


def test_a_full_disk_stops_nothing_and_what_is_missing_is_written_later(tmp_path):
    run = made_study(tmp_path / "study", 2, 2)
    (run.path / "tensorboard").write_text("no folder can be made here")
    board = TensorBoard(run)
    board.follow("trial-0001")
    (run.path / "tensorboard").unlink()
    board.follow("trial-0001")
    assert shown(run, "trial-0001") == reported(run, "trial-0001")
