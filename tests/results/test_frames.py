"""Trials as a table: every trial one row, every value and metric a column, for pandas and for parquet alike."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ftray.results import RunFolder, trials_frame

FT, MLP = {"encoder": {"kind": "ft"}}, {"encoder": {"kind": "mlp"}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "study", {"name": "study"})
    run.add_trial(
        "trial-0001", 1, "trial", {"encoder/kind": "ft", "width": 1, "any": "auto"}, {"encoder": {"kind": "ft"}}
    )
    run.add_trial(
        "trial-0002", 2, "trial", {"encoder/kind": "mlp", "width": 0.5, "any": 3}, {"encoder": {"kind": "mlp"}}
    )
    run.trial_started("trial-0001")
    run.trial_ended("trial-0001", "COMPLETE", {"validation/sharpe": 1.0, "state": "a metric of an unlucky name"})
    return run


def test_every_trial_is_one_row(run: RunFolder):
    frame = trials_frame(run.trials())
    assert frame["id"].tolist() == ["trial-0001", "trial-0002"]
    assert frame["state"].tolist() == ["COMPLETE", "PENDING"]
    assert frame["encoder/kind"].tolist() == ["ft", "mlp"]
    assert frame["validation/sharpe"].isna().tolist() == [False, True]


def test_parquet_holds_the_same_rows_and_plain_types(run: RunFolder):
    table = pq.read_table(run.compact())
    assert table.column_names == trials_frame(run.trials()).columns.tolist()
    assert table["width"].to_pylist() == [1.0, 0.5]
    assert table["any"].to_pylist() == ['"auto"', "3"]
    assert table["spec"].to_pylist() == ['{"encoder": {"kind": "ft"}}', '{"encoder": {"kind": "mlp"}}']
    frame = pd.read_parquet(run.path / "trials.parquet")
    assert frame["started_at"].dt.tz is not None


def test_a_study_without_trials_is_an_empty_table(tmp_path: Path):
    run = RunFolder.create(tmp_path / "empty", {"name": "empty"})
    assert pq.read_table(run.compact()).num_rows == 0
    assert trials_frame(run.trials()).empty


def test_compacting_again_replaces_the_file_and_leaves_nothing_beside_it(run: RunFolder):
    run.compact()
    run.trial_ended("trial-0002", "FAILED", error="boom")
    assert pq.read_table(run.compact())["state"].to_pylist() == ["COMPLETE", "FAILED"]
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]
