"""`ftray check` reads the candles and prints what they are; what `ftray tune` would refuse it refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ftray.capacity.nodes import Node
from ftray.cli import main
from ftray.errors import RunFolderError, StorageError, WeightsError
from ftray.market import SimulatorSpec, simulate
from ftray.study import parse_study
from ftray.study.check import describe_study
from ftray.study.data_summary import describe_data, describe_windows
from ftray.study.duration import describe_duration
from ftray.study.spec import open_run

from .test_drafting import write_candles
from .tiny import TINY

CANDLES = simulate(SimulatorSpec(n_assets=3, n_bars=1_500, seed=1))


def study(folder: Path, **search):
    market = {"kind": "files", "path": str(folder)}
    encoder = {"kind": "mlp", "hidden": 64, "encoding_dim": 64}
    trial = TINY["trial"] | {"market": market, "encoder": encoder}
    return parse_study({"name": "summed", "trial": trial, "search": {"n_trials": 4} | search})


def files(folder: Path, change=lambda values: None) -> Path:
    values = CANDLES.values.copy()
    change(values)
    return write_candles(folder, dataclasses.replace(CANDLES, values=values), "1h")


def summary(folder: Path) -> str:
    return "\n".join(describe_data(study(folder).corner_trials[0]))


def test_clean_candles_have_a_line_each_and_no_objection(tmp_path):
    first, *rows = summary(files(tmp_path)).splitlines()
    assert first.split(None, 1)[1] == (
        "3 assets, 1,500 common bars of 1h, 2020-01-01 00:00:00 to 2020-03-03 11:00:00, 0 gaps"
    )
    assert [row.split()[0] for row in rows] == ["asset", *CANDLES.symbols]
    assert rows[1].split() == [
        "AAVE",
        "1,500",
        *["2020-01-01", "00:00:00", "2020-03-03", "11:00:00", "0", "0", "0", "0", "0"],
    ]


def test_false_prices_and_volumes_and_stretches_without_a_move_are_named_with_their_times(tmp_path):
    def spoil(values: np.ndarray) -> None:
        values[100, 0, 1] *= 10.0
        values[200:203, 0, :4] *= 10.0
        values[:240, 1, :4] = 5.0
        values[100, 2, 4] *= 1_000.0

    found = summary(files(tmp_path, spoil))
    assert "false price?  AAVE leaves what comes before and after by a factor of 2 or more for up to 5 bars" in found
    assert "at 2020-01-05 04:00:00, 2020-01-09 08:00:00 (3 bars): backtests" in found
    assert "no move       AVAX has 240 bars without a move, the most from 2020-01-01 00:00:00 to" in found
    assert "false volume? BTC has 50 times the volume of the busiest of 12 bars" in found
    aave, avax, btc = (line.split() for line in found.splitlines() if line.split()[0] in CANDLES.symbols)
    assert [row[-4:] for row in (aave, avax, btc)] == [
        ["4", "0", "0", "0"],
        ["0", "0", "240", "0"],
        ["0", "1", "0", "0"],
    ]


def test_a_file_that_costs_the_others_most_of_their_bars_is_named_with_the_setting_that_leaves_it_out(tmp_path):
    folder = files(tmp_path)
    short = dataclasses.replace(CANDLES.of(["BTC"]).between(CANDLES.times[1_300], None))
    write_candles(folder, short, "1h")
    found = summary(folder)
    (row,) = (line for line in found.splitlines() if line.split()[0] == "BTC")
    assert row.split()[1] == "200" and int(row.split()[-1].replace(",", "")) == 1_300
    assert "--set 'trial.market.symbols=[AAVE,AVAX]'" in found


def test_windows_have_their_dates_and_bars(tmp_path):
    spec = study(files(tmp_path))
    head, *rows = describe_windows(spec.corner_trials[0], CANDLES)
    assert [row.split()[0] for row in rows] == ["train", "validation", "test"]
    assert rows[0].split()[2:4] == ["2020-01-01", "00:00:00"] and rows[-1].split()[4:6] == ["2020-03-03", "11:00:00"]
    assert all(int(row.split()[-1].replace(",", "")) > 0 for row in rows) and "decisions" in head


def test_check_and_tune_both_print_what_is_wrong_with_the_candles(tmp_path, capsys):
    folder = files(tmp_path / "candles", lambda values: values[100, 0, 1:2].__imul__(10.0))
    file = tmp_path / "study.yaml"
    file.write_text(f"trial: {{market: {{kind: files, path: {folder}}}}}\nsearch: {{n_trials: 1}}\n")
    assert main(["check", str(file), "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "false price?" in out and "duration      about" in out
    assert not (tmp_path / "runs").exists()


def test_check_names_what_never_moves_in_a_train_window_once_and_in_one_line(tmp_path, capsys):
    def spoil(values: np.ndarray) -> None:
        values[:, 1, 4] = 0.0
        values[:1_300, 2, :4] = values[1_300, 2, 0]  # it moves in the test window alone

    folder, file = files(tmp_path / "candles", spoil), tmp_path / "study.yaml"
    file.write_text(
        f"trial: {{market: {{kind: files, path: {folder}}}, windows: {{kind: walk_forward, n_folds: 2}}, "
        "features: {lookback: 8}, encoder: {kind: mlp}}\nsearch: {n_trials: 1}\n"
    )
    assert main(["check", str(file), "--runs", str(tmp_path / "runs")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ftray: warning: a policy learns nothing of features that do not move")
    assert "AVAX volume, range_breakout; BTC all features but volume. Leave out" in line


REFUSED = {
    "weights that are nowhere": ({"encoder": {"kind": "ft", "pretrained": "/nowhere/w.pth"}}, {}, WeightsError),
    "a warm start from nowhere": ({}, {"warm_start": "/nowhere/run"}, RunFolderError),
    "another place without runs": ({}, {"also_counts": ["/nowhere/runs"]}, RunFolderError),
    "a database that does not answer": ({}, {"storage": "postgresql://me@127.0.0.1:1/none"}, StorageError),
}


@pytest.mark.parametrize(("trial", "search", "error"), REFUSED.values(), ids=REFUSED)
def test_what_tune_would_refuse_is_refused_and_nothing_is_written(tmp_path, trial, search, error):
    pytest.importorskip("psycopg")
    tree = {"name": "refused", "trial": TINY["trial"] | {"encoder": {"kind": "mlp"}} | trial, "search": search}
    with pytest.raises(error):
        list(describe_study(parse_study(tree), runs=tmp_path / "runs"))
    assert not list(tmp_path.iterdir())


def test_a_run_folder_of_another_study_is_refused_and_ones_own_is_continued(tmp_path):
    spec = study(files(tmp_path / "candles"))
    open_run(spec, tmp_path / "runs")
    lines = list(describe_study(spec, runs=tmp_path / "runs", here=False))
    assert any("summed has 0 jobs of this study, which `ftray tune` continues" in line for line in lines)
    other = study(tmp_path / "candles", objective="validation/sortino")
    with pytest.raises(RunFolderError):
        list(describe_study(other, runs=tmp_path / "runs", here=False))


def test_the_duration_is_from_all_trials_like_the_fastest_to_all_like_the_slowest(tmp_path):
    spec = study(files(tmp_path))
    machine = Node("this machine", 1, 2.0, 0, None)
    (line,) = describe_duration(spec, 1_500, tmp_path / "runs", machine, lambda worker, device: 1e-3)
    (slower,) = describe_duration(spec, 1_500, tmp_path / "runs", machine, lambda worker, device: 1.0)
    assert "on this machine" in line and "by a few timed steps of each encoder" in line
    assert slower != line
