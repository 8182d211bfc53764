"""The tables say what the events say, at any moment, whoever reads, however often they were compacted on the way."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.runs import RunFolder
from ftray.tables.bars import BarRecord, bars_file, read_bars, write_bars, write_benchmarks
from ftray.tables.parquet import Tables, compact
from ftray.tables.parts import read_part
from ftray.tables.schema import SCHEMA, arrow_table, concat
from tests.analysis.test_study import OLD
from tests.runs.test_version_0_1 import STORED as VERSION_0_1


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "study", {"name": "study"})


def begin(run: RunFolder, number: int, **values) -> str:
    name = f"trial-{number:04}"
    if name not in {trial.id for trial in run.records()}:
        run.add_trial(name, number, "trial", values, {"encoder": {"kind": "mlp"}, "seed": number})
    run.trial_started(name, commit="c0ffee")
    run.trial_folder(name).started(host="here", cpu="fast")
    return name


def report(run: RunFolder, name: str, *steps: int, **more) -> None:
    for step in steps:
        run.trial_folder(name).report({"env_steps": step, "validation/sharpe": step / 10, **more})


def play(run: RunFolder, number: int, state="COMPLETE", **values) -> str:
    name = begin(run, number, **values)
    report(run, name, 1, 2, 3)
    run.trial_ended(name, state, {}, "boom" if state == "FAILED" else None)
    return name


def finish(run: RunFolder) -> None:
    """What a driver does at the end of a study."""
    compact(run, whole=True)
    run.mark_done()


def bar_record(n: int = 4) -> BarRecord:
    times = np.datetime64("2024-01-01T02:00:00") + np.arange(n) * np.timedelta64(1, "h")
    flat = np.full(n, 0.5)
    fills = {
        "time": times[1:3] - np.timedelta64(1, "h"),
        "symbol": ["BTC", "ETH"],
        "cause": ["order", "order"],
        "notional": [5.0, -3.0],
        "units": [0.5, -3.0],
        "price": [10.0, 1.0],
        "fee": [0.05, 0.03],
        "slippage": [0.02, 0.01],
    }
    return BarRecord(
        times=times,
        returns=flat / 100,
        equity=1 + flat,
        exposure=flat,
        turnover=flat,
        fees=flat / 10,
        slippage=flat / 20,
        regimes=np.array([-1, 0, 1, 2])[np.arange(n) % 4],
        symbols=("BTC", "ETH"),
        weights=np.arange(2 * n).reshape(n, 2) / (2 * n),
        fills=fills,
    )


def rows(study: Study, name: str) -> list[dict]:
    """A table as mappings, without what a column of nulls adds, in an order of its own."""
    found = study.read(name).to_pylist()
    plain = [{key: value for key, value in row.items() if value is not None} for row in found]
    return sorted(plain, key=lambda row: json.dumps(row, sort_keys=True, default=str))


def assert_same(one: Study, other: Study) -> None:
    for name in SCHEMA:
        assert rows(one, name) == rows(other, name), name


def derived(run: RunFolder, tmp_path: Path) -> Study:
    """The same study without its tables: everything derived again from the events."""
    shutil.rmtree(tmp_path / "bare", ignore_errors=True)
    shutil.copytree(run.path, tmp_path / "bare", ignore=shutil.ignore_patterns("tables"))
    return open_study(tmp_path / "bare")


def test_files_and_events_say_the_same_whenever_they_are_compacted(run, tmp_path):
    looking = open_study(run.path)
    for number in range(40):
        name = play(run, number, ("COMPLETE", "PRUNED", "FAILED", "COMPLETE")[number % 4], width=number)
        if number % 3 == 0:
            compact(run)
        if number % 10 == 5:
            assert_same(looking, derived(run, tmp_path))
            assert looking.trials.set_index("trial").loc[name, "env_steps"] == 3
    assert_same(open_study(run.path), derived(run, tmp_path))
    finish(run)
    assert_same(open_study(run.path), derived(run, tmp_path))
    assert_same(looking, open_study(run.path))


def test_many_small_files_become_few_and_nothing_is_left_with_them(run):
    for number in range(30):
        play(run, number)
        compact(run)
    assert 1 < len(list((run.path / "tables" / "metrics").iterdir())) < 16
    finish(run)
    for name in ("trials", "metrics", "events"):
        assert len(list((run.path / "tables" / name).iterdir())) == 1
    assert len(open_study(run.path).trials) == 30


def test_a_trial_that_runs_is_seen_and_one_that_went_on_repeats_no_step(run, tmp_path):
    name, study = begin(run, 0), open_study(run.path)
    report(run, name, 1, 2)
    assert study.curve(name, "validation/sharpe")["env_steps"].tolist() == [1, 2]
    assert study.trials["validation/sharpe"].tolist() == [0.2] and study.trials["state"].tolist() == ["RUNNING"]
    compact(run)
    report(run, name, 3)
    run.trial_ended(name, "INTERRUPTED")
    compact(run)
    begin(run, 0)
    report(run, name, 2, 3, 4)
    assert study.curve(name, "validation/sharpe")["env_steps"].tolist() == [1, 2, 3, 4]
    run.trial_ended(name, "COMPLETE")
    compact(run)
    assert study.curve(name, "validation/sharpe")["env_steps"].tolist() == [1, 2, 3, 4]
    assert_same(study, derived(run, tmp_path))


def test_what_a_process_writes_after_its_end_was_noted_is_not_lost(run):
    name = play(run, 0)
    compact(run)
    run.trial_folder(name).spent({"cost/cpu_seconds": 1.0, "cost/gpu_seconds": 0.0})
    assert "spent" in open_study(run.path).sql("select event from events where trial = ?", [name])["event"].tolist()
    finish(run)
    assert "spent" in open_study(run.path).sql("select event from events where trial = ?", [name])["event"].tolist()


def test_what_is_noted_after_the_end_is_seen(run):
    play(run, 0)
    finish(run)
    run.append_event("test_window_read", trial="trial-0000")
    events = open_study(run.path).sql("select event from events where trial is null")["event"].tolist()
    assert events[-2:] == ["study_done", "test_window_read"]


def test_bars_fills_and_folds_of_a_finished_run_are_tables(run, tmp_path):
    write_benchmarks(run.path, 0, {"equal_weight": bar_record()})
    name = begin(run, 0)
    folder = run.trial_folder(name).folder
    done = []
    for fold, seed in ((0, 5), (1, 5)):
        write_bars(folder, fold, seed, bar_record())
        done.append({"fold": fold, "seed": seed, "env_steps": 10, "validation/sharpe": 1.0 + fold})
        report(run, name, 10 * (fold + 1), fold=fold, seed=seed, run_done=True, runs=list(done))
    for _ in range(2):  # live, then from the files
        study = open_study(run.path)
        bars = study.returns(name)
        assert bars["fold"].tolist() == [0] * 4 + [1] * 4 and set(bars["portfolio"]) == {"policy"}
        assert bars["regime"].tolist()[1:4] == ["bear", "sideways", "bull"] and bars["regime"].isna().sum() == 2
        assert study.fills(name)["symbol"].tolist() == ["BTC", "ETH"] * 2
        assert study.fills(name)["price"].tolist() == [10.0, 1.0] * 2
        assert study.fills(name)["time"].tolist() == [*bars["time"][:2], *bars["time"][4:6]]  # a bar before their row
        held = study.frame("weights", trial=name)
        assert held["symbol"].tolist() == ["BTC", "ETH"] * 8 and held["weight"].tolist() == [*np.arange(8) / 8] * 2
        assert study.folds(name)["validation/sharpe"].tolist() == [1.0, 2.0]
        assert study.returns("equal_weight")["time"].tolist() == bars["time"].tolist()[:4]
        assert study.trials["n_runs"].tolist() == [2]
        run.trial_ended(name, "COMPLETE") if not run.is_done else None
        finish(run)
    assert_same(open_study(run.path), derived(run, tmp_path))


def test_weights_of_a_long_training_are_those_of_a_thousand_bars_with_the_last_one(run):
    record = bar_record(5_000)
    write_bars(run.trial_folder("trial-0000").folder, 0, 1, record)
    held = read_bars(bars_file(run.trial_folder("trial-0000").folder, "weights", 0, 1), "weights").to_pandas()
    assert held["time"].nunique() == 1_000 and held["time"].max() == record.times[-1]
    known = dict(zip(record.times, record.weights[:, 0], strict=True))
    own = held[held["symbol"] == "BTC"]
    assert own["weight"].tolist() == [known[time] for time in own["time"].to_numpy()]


def test_bars_of_version_0_1_are_read_with_the_times_of_today(tmp_path):
    """0.1 stored the opening time of the deciding bar; its market had bars of an hour."""
    folder, hour = shutil.copytree(VERSION_0_1, tmp_path / "old"), np.timedelta64(1, "h")
    study = open_study(folder)
    stored = pq.read_table(bars_file(folder / "trials" / "trial-0000", "returns", 0, 0)).to_pandas()
    bars = study.returns("trial-0000").query("fold == 0 and seed == 0")
    assert (bars["time"].to_numpy() == stored["time"].to_numpy() + 2 * hour).all()
    assert bars["return"].tolist() == stored["return"].tolist() and bars["fees"].isna().all()
    fills = study.fills("trial-0000").query("fold == 0 and seed == 0")
    assert set(fills["time"]) == set(bars["time"][bars["turnover"] > 0] - hour)
    assert set(fills["cause"]) == {"order"} and fills["price"].isna().all()
    assert study.returns("equal_weight")["time"].isin(study.returns("trial-0000")["time"]).all()
    assert study.sql("select count(*) as n from weights")["n"].tolist() == [0]


def test_where_a_trial_ran_and_from_what_code_is_in_its_row(run):
    name = play(run, 3)
    row = open_study(run.path).trials.iloc[0]
    assert (row["commit"], row["host"], row["cpu"], row["seed"]) == ("c0ffee", "here", "fast", 3)
    finish(run)
    assert open_study(run.path).lineage(name)["commit"] == "c0ffee"


def test_a_reader_is_not_disturbed_by_files_that_are_merged_while_it_reads(run):
    for number in range(3):
        play(run, number)
        compact(run)
    pending = [lambda: finish(run)]

    def interrupted(*arguments):
        if pending:
            pending.pop()()
        return read_part(*arguments)

    reader = Tables(RunFolder.open(run.path), interrupted)
    assert len(reader.read("metrics")) == 9 and not pending


@pytest.mark.parametrize("damage", ['{"format": 99}', '{"format"', "[]"])
def test_tables_of_another_version_or_damaged_ones_are_derived_again(run, damage, tmp_path):
    play(run, 0)
    compact(run)
    (run.path / "tables" / "manifest.json").write_text(damage)
    assert_same(open_study(run.path), derived(run, tmp_path))
    compact(run)
    assert_same(open_study(run.path), derived(run, tmp_path))


def test_a_study_of_an_older_version_reads_the_same_before_and_after_it_is_compacted(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    before = open_study(OLD)
    compact(RunFolder.open(tmp_path / "old"), whole=True)
    assert_same(before, open_study(tmp_path / "old"))


def test_types_depend_on_the_name_of_a_column_and_searched_values_of_mixed_types_become_text():
    one = arrow_table("metrics", [{"trial": "a", "env_steps": 1, "loss": 1}])
    other = arrow_table("metrics", [{"trial": "b", "loss": "strange"}])
    assert one.schema.field("loss").type == "double" and "loss" not in other.column_names
    assert concat([one, other])["loss"].to_pylist() == [1.0, None]
    values = [arrow_table("trials", [{"trial": "a", "trial/x": value}]) for value in (1, "auto", 2.5)]
    assert concat(values)["trial/x"].to_pylist() == ["1", "auto", "2.5"]
    assert concat(values[::2])["trial/x"].to_pylist() == [1.0, 2.5]
