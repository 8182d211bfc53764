"""Tables on object storage: written by the driver, read by a machine that has seen nothing yet."""

import json

import pytest

from ftray.errors import RunFolderError
from ftray.results import RunFolder, tables
from ftray.results.outcomes import write_benchmarks
from ftray.results.query import open_study
from ftray.results.studies import Studies

from .test_tables import outcome, play, report
from .test_tables import write_outcome as write


def test_encoder_cards_and_benchmarks_are_there_before_the_driver_compacts(bucket, machine):
    machine("driver")
    run = RunFolder.create(f"{bucket}/others/early", {"name": "early"})
    write_benchmarks(run.path, 0, {"equal_weight": outcome()})
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


def test_a_study_is_read_where_it_lies_while_it_runs_and_when_it_is_done(bucket, machine, monkeypatch):
    monkeypatch.setattr(tables, "LOOK_EVERY", 0.0)
    machine("driver")
    run = RunFolder.create(f"{bucket}/runs/far", {"name": "far"})
    name = play(run, 0)
    write(run.trial(name).folder, 0, 0, outcome())
    report(run, name, 4, fold=0, seed=0, run_done=True, runs=[{"fold": 0, "seed": 0, "validation/sharpe": 1.0}])
    run.sync(f"trials/{name}", "events.jsonl")
    for number in range(1, 4):
        play(run, number)
        run.compact()

    machine("laptop")
    study = open_study(f"{bucket}/runs/far")
    assert len(study.trials) == 4 and len(study.read("metrics")) == 4 * 3 + 1
    assert study.folds(name)["validation/sharpe"].tolist() == [1.0] and len(study.returns(name)) == 4
    machine("driver")
    run.mark_done()

    machine("laptop")
    assert len(study.sql("select * from metrics")) == 13  # the files it knew are merged and gone
    together = open_study(f"{bucket}/runs")
    assert isinstance(together, Studies) and list(together) == ["far"] and len(together.trials) == 4
    with pytest.raises(RunFolderError, match=r"has a study\.json"):
        open_study(f"{bucket}/nowhere")
