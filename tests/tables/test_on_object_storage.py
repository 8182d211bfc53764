"""Tables on object storage: written by the driver, read by a machine that has seen nothing yet."""

import json

import pytest

from ftray.analysis.studies import open_studies, open_study
from ftray.errors import RunFolderError, StorageError
from ftray.runs import RunFolder
from ftray.tables import parquet as tables
from ftray.tables.bars import write_benchmarks
from ftray.tables.parquet import compact
from tests.tables.test_parquet import bar_record, finish, play, report
from tests.tables.test_parquet import write_bars as write


def drive(run: RunFolder, *numbers: int) -> None:
    for number in numbers:
        name = play(run, number)
        run.sync(f"trials/{name}", "events.jsonl")


def test_a_reader_sees_what_a_driver_on_another_machine_adds_and_nothing_of_the_first_ones_files_is_left(
    bucket, machine, monkeypatch
):
    monkeypatch.setattr(tables, "LOOK_EVERY", 0.0)
    machine("first")
    run = RunFolder.create(f"{bucket}/moved/study", {"name": "study"})
    drive(run, 0, 1)
    compact(run)
    machine("laptop")
    study = open_study(f"{bucket}/moved/study")
    assert len(study.read("metrics")) == 6
    machine("second")
    run = RunFolder.open(f"{bucket}/moved/study", "driver")
    drive(run, 2)
    compact(run)
    assert sorted(set(study.read("metrics")["trial"].to_pylist())) == ["trial-0000", "trial-0001", "trial-0002"]
    manifest = json.loads((run.path / "tables" / "manifest.json").read_text())
    named = {part[0] for parts in (*manifest["parts"].values(), manifest["open"]) for part in parts}
    there = {name.removeprefix("tables/") for name in run.mirror.names("tables")}
    assert there == named | {"manifest.json"}


def test_a_finished_study_that_continues_is_not_done_for_a_reader(bucket, machine, monkeypatch):
    monkeypatch.setattr(tables, "LOOK_EVERY", 0.0)
    machine("driver")
    run = RunFolder.create(f"{bucket}/again/study", {"name": "study"})
    drive(run, 0)
    finish(run)
    machine("laptop")
    study = open_study(f"{bucket}/again/study")
    assert study.is_done
    drive(run, 1)
    assert len(study.run.records()) == 2 and not study.is_done
    assert not open_study(f"{bucket}/again/study").is_done


@pytest.mark.long
def test_files_that_were_merged_since_the_last_read_are_found_again(bucket, machine):
    machine("driver")
    run = RunFolder.create(f"{bucket}/merged/study", {"name": "study"})
    drive(run, 0)
    compact(run)
    machine("laptop")
    readers = [open_study(f"{bucket}/merged/study") for _ in range(3)]
    for reader in readers:
        reader.run.records()
        assert len(reader.read("trials")) == 1  # and so soon after no one looks at object storage again
    known = set(run.mirror.names("tables")) - {"tables/manifest.json"}
    for number in range(1, tables.MERGED + 1):
        drive(run, number)
        compact(run)
    assert {name for name in known if "trials" in name or "metrics" in name}.isdisjoint(run.mirror.names("tables"))
    n = 3 * (tables.MERGED + 1)
    assert len(readers[0].read("metrics")) == n
    assert "validation/sharpe" in readers[1].metrics
    assert readers[2].sql("select count(*) as n from metrics")["n"][0] == n


def test_storage_that_fails_in_the_middle_of_a_read_loses_nothing(bucket, machine, monkeypatch):
    machine("driver")
    run = RunFolder.create(f"{bucket}/failing/study", {"name": "study"})
    drive(run, 0, 1, 2)
    machine("laptop")
    study = open_study(f"{bucket}/failing/study")
    refresh, failing = study.run.refresh, ["trial-0002"]

    def fail_once(trial: str) -> None:
        if trial in failing:
            failing.remove(trial)
            raise StorageError("no answer")
        refresh(trial)

    monkeypatch.setattr(study.run, "refresh", fail_once)
    with pytest.raises(StorageError):
        study.read("metrics")
    assert len(study.read("metrics")) == 9 and len(study.read("events")) >= 9


def test_encoder_cards_and_benchmarks_are_there_before_the_driver_compacts(bucket, machine):
    machine("driver")
    run = RunFolder.create(f"{bucket}/others/early", {"name": "early"})
    write_benchmarks(run.path, 0, {"equal_weight": bar_record()})
    for name in ("0123", ".4567.making"):
        (run.path / "encoders" / name).mkdir()
        (run.path / "encoders" / name / "encoder_card.json").write_text(json.dumps({"validation_loss": 0.25}))
        (run.path / "encoders" / name / "weights.pt").write_bytes(b"many")
    (run.path / "encoders" / "0123" / "DONE").touch()
    run.sync("benchmarks", "encoders/0123", "encoders/.4567.making/encoder_card.json")

    machine("laptop")
    study = open_study(f"{bucket}/others/early")
    assert study.encoders[["encoder", "validation_loss"]].to_numpy().tolist() == [["0123", 0.25]]
    assert len(study.returns("equal_weight")) == 4
    assert not list(study.run.path.rglob("weights.pt")), "nobody asked for them"


def test_a_study_is_read_in_place_while_it_runs_and_when_it_is_done(bucket, machine, monkeypatch):
    monkeypatch.setattr(tables, "LOOK_EVERY", 0.0)
    machine("driver")
    run = RunFolder.create(f"{bucket}/runs/far", {"name": "far"})
    name = play(run, 0)
    write(run.trial_folder(name).folder, 0, 0, bar_record())
    report(run, name, 4, fold=0, seed=0, run_done=True, runs=[{"fold": 0, "seed": 0, "validation/sharpe": 1.0}])
    run.sync(f"trials/{name}", "events.jsonl")
    for number in range(1, 4):
        play(run, number)
        compact(run)

    machine("laptop")
    study = open_study(f"{bucket}/runs/far")
    assert len(study.trials) == 4 and len(study.read("metrics")) == 4 * 3 + 1
    assert study.folds(name)["validation/sharpe"].tolist() == [1.0] and len(study.returns(name)) == 4
    machine("driver")
    finish(run)

    machine("laptop")
    assert len(study.sql("select * from metrics")) == 13  # the files it knew are merged and gone
    together = open_studies(f"{bucket}/runs")
    assert list(together) == ["far"] and len(together.trials) == 4
    with pytest.raises(RunFolderError, match=r"has no study\.json"):
        open_study(f"{bucket}/nowhere")
