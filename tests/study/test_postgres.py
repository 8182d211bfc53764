"""Optuna's storage on a team's database: the same study as in a journal, and never in the way of another one."""

import tempfile
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from ftray.boards.sidecars import run_sidecars
from ftray.errors import SpecError, StorageError
from ftray.runs import RunFolder
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials
from ftray.study import SearchSpec
from ftray.study.optuna.storage import name_in, open_storage
from ftray.study.run import run_study

from ..boards.test_sidecars import optuna_studies
from .by_hand import Hand, tiny_study
from .played import play, study_of
from .postgres import PASSWORD, postgres


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="ftray-pg-") as folder:  # pytest's own folders are for root alone
        Path(folder).chmod(0o755)
        with postgres(Path(folder)) as running:
            yield running


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def in_database(server, run: RunFolder) -> list[optuna.trial.FrozenTrial]:
    storage = RDBStorage(server.url.replace("postgresql:", "postgresql+psycopg:"))
    return optuna.load_study(study_name=name_in(server.url, run.name, run), storage=storage).trials


def study_names(server) -> list[str]:
    storage = RDBStorage(server.url.replace("postgresql:", "postgresql+psycopg:"))
    return sorted(study.study_name for study in storage.get_all_studies())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr3t@host/db",
        "postgresql://host/db?password=s3cr3t",
        "postgresql://me:s3cr3t@host:5432/db?x=1",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(SpecError, match="PGPASSWORD") as refused:
        SearchSpec(storage=url)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("url", ["mysql://host/db", "postgresql://host", "optuna.db", "sqlite:///x.db"])
def test_what_is_no_database_is_refused_with_the_form_it_must_have(url):
    with pytest.raises(SpecError, match=r"storage: must be postgresql://"):
        SearchSpec(storage=url)
    SearchSpec(storage="postgresql://me@host:5432/my-studies?sslmode=require")


def test_a_database_that_cannot_be_reached_is_named_without_a_password(tmp_path):
    run = RunFolder.create(tmp_path / "x", {"name": "x"})
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9/db answers: .*refused") as raised:
        open_storage("postgresql://me@127.0.0.1:9/db", "x", run)
    assert PASSWORD not in str(raised.value)


@pytest.mark.ray
@pytest.mark.long
def test_a_database_that_goes_away_loses_nothing_and_agrees_with_the_run_folder_when_it_is_back(
    server, cluster, tmp_path
):
    plays = ["ends well", "ends well", "is bad", "raises", "reports NaN"]
    how = {"storage": server.url, "max_concurrent": 1, "scheduler": {"kind": "asha", "grace": 64, "reduction": 2}}
    spec = study_of("lost", plays, **how)

    def say(line: str) -> None:
        if "trial-0001" in line and "COMPLETE" in line:
            server.stop()

    try:
        with pytest.raises(StorageError, match=r"must stay reachable.*same command continues") as raised:
            run_study(spec, tmp_path, say=say, trial_fn=play)
    finally:
        server.start()
    assert PASSWORD not in str(raised.value)
    run = run_study(spec, tmp_path, say=lambda line: None, trial_fn=play)
    assert agree(server, run) == 5
    assert [record.state for record in run.records()] == ["COMPLETE", "COMPLETE", "PRUNED", "FAILED", "FAILED"]
    assert not (run.path / "optuna.journal").exists()
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def agree(server, run: RunFolder) -> int:
    stored, records = in_database(server, run), sampled_trials(run.records())
    assert [OPTUNA_STATES[record.state] for record in records] == [trial.state for trial in stored]
    assert [dict(record.values) for record in records] == [trial.params for trial in stored]
    for record, trial in zip(records, stored, strict=True):
        if record.state == "COMPLETE":
            assert trial.value == record.metrics["validation/sharpe"] and len(trial.intermediate_values) == 4
    return len(stored)


def test_equal_names_in_one_database_are_different_studies(server, tmp_path):
    spec = tiny_study(storage=server.url)
    before = study_names(server)
    for folder in ("mine", "yours"):
        hand = Hand(spec, tmp_path / folder / "tiny")
        hand.start()
        if folder == "mine":
            mine = hand.run
    assert len(study_names(server)) == len(before) + 2
    assert len(in_database(server, mine)) == 1


def test_optuna_dashboard_shows_the_study_in_the_database(server, tmp_path):
    hand = Hand(tiny_study(storage=server.url), tmp_path / "shown" / "tiny")
    hand.start()
    with run_sidecars(hand.run, optuna=True, tensorboard=False, storage=server.url) as (child,):
        assert name_in(server.url, hand.run.name, hand.run) in optuna_studies(child)


def test_a_study_that_starts_again_is_stored_there_once(server, tmp_path):
    hand = Hand(tiny_study(storage=server.url), tmp_path / "again" / "tiny")
    hand.start()
    n = len(study_names(server))
    hand.resumed()
    assert len(study_names(server)) == n


def test_where_optuna_keeps_a_study_is_no_part_of_what_it_is(server):
    assert tiny_study(storage=server.url).identity == tiny_study().identity
