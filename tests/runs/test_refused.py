"""A run folder that was created for a study which is refused is deleted again, on a disk and on object storage."""

import pytest

from ftray.errors import ClusterError, DataError, RunFolderError, StudyInterruptedError
from ftray.runs import RunFolder
from ftray.runs.refused import kept_if_used, without_new_data
from ftray.storage import Mirror

STUDY = {"name": "study"}


def refused(run: RunFolder, error: Exception) -> None:
    with pytest.raises(type(error)), kept_if_used(run), run.driven(lambda line: None):
        run.record_benchmarks({})
        raise error


def test_nothing_stays_of_a_new_run_folder(tmp_path):
    refused(RunFolder.create(tmp_path / "new" / "runs" / "study", STUDY), DataError("too few bars"))
    assert list(tmp_path.iterdir()) == []


def test_its_neighbours_stay(tmp_path):
    kept = RunFolder.create(tmp_path / "runs" / "kept", STUDY)
    refused(RunFolder.create(tmp_path / "runs" / "study", STUDY), OSError("a full disk"))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["kept"] and kept.study == STUDY


def test_one_that_was_there_stays_as_does_one_with_a_job(tmp_path):
    RunFolder.create(tmp_path / "there", STUDY)
    refused(RunFolder.create(tmp_path / "there", STUDY), ClusterError("no answer"))
    used = RunFolder.create(tmp_path / "used", STUDY)
    used.add_trial("trial-0000", 0, "trial", {}, {})
    refused(used, ClusterError("no answer"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "used"]


def test_what_is_stopped_stays(tmp_path):
    refused(RunFolder.create(tmp_path / "stopped", STUDY), StudyInterruptedError("by Ctrl-C"))
    assert RunFolder.open(tmp_path / "stopped").study == STUDY


def test_one_that_another_process_drives_by_now_stays(tmp_path):
    run = RunFolder.create(tmp_path / "study", STUDY)
    with RunFolder.open(tmp_path / "study").driven(), pytest.raises(DataError), kept_if_used(run):
        raise DataError("too few bars")
    assert RunFolder.open(tmp_path / "study").study == STUDY


def test_a_driver_leaves_no_lock_behind_whether_it_is_refused_or_not(tmp_path):
    run = RunFolder.create(tmp_path / "study", STUDY)
    with pytest.raises(DataError), run.driven(lambda line: None):
        assert (run.path / ".driver").exists()
        raise DataError("too few bars")
    assert not (run.path / ".driver").exists()
    with run.driven(lambda line: None):
        other = RunFolder.open(run.path).driven(lambda line: None)
        with pytest.raises(RunFolderError, match="is being run by another process"):
            other.__enter__()
    assert not (run.path / ".driver").exists()


def test_of_the_datasets_only_those_that_a_refused_command_prepared_are_deleted(tmp_path):
    run = RunFolder.create(tmp_path / "study", STUDY)
    (run.path / "data" / "old").mkdir()
    for new in ("first", "second"):
        with pytest.raises(DataError), without_new_data(run):
            (run.path / "data" / new).mkdir()
            raise DataError("too few bars")
    with without_new_data(run):
        (run.path / "data" / "kept").mkdir()
    assert sorted(path.name for path in (run.path / "data").iterdir()) == ["kept", "old"]


def test_on_object_storage_nothing_stays_either(bucket, machine):
    cache = machine("one")
    refused(RunFolder.create(f"{bucket}/runs/study", STUDY), DataError("too few bars"))
    assert Mirror(f"{bucket}/runs", "read").names() == []
    assert not [path for path in cache.rglob("*") if path.is_file()]
