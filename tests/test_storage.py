"""Object storage: what is brought here is what lies there, and nothing is lost or half there on the way."""

from pathlib import Path

import pytest
from pyarrow import fs

from ftray.errors import StorageError
from ftray.storage import Mirror, is_url, join, local
from ftray.versioned import VersionedObject


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def filled(mirror: Mirror, **files: str) -> Mirror:
    for name, content in files.items():
        path = mirror.local / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return mirror


def test_a_location_is_a_path_or_one_of_the_known_urls():
    assert is_url("s3://bucket/runs") and is_url("gs://bucket") and is_url("abfs://container@account/runs")
    assert not is_url("runs/demo") and not is_url(Path("/mnt/runs")) and not is_url("C_odd:name")
    assert join("s3://bucket/runs/", "demo") == "s3://bucket/runs/demo"
    assert join(Path("runs"), "demo") == Path("runs/demo")
    assert local("runs") == Path("runs")


@pytest.mark.parametrize("url", ["http://host/runs", "file:///mnt/runs", "s3a://bucket"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(url):
    with pytest.raises(StorageError, match="s3, gs, abfs"):
        is_url(url)


def test_a_url_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(StorageError, match="no credentials") as refused:
        is_url("s3://key:s3cr3t@bucket/runs")
    assert "s3cr3t" not in str(refused.value)


def test_files_and_folders_arrive_as_they_were_sent(bucket):
    there = f"{bucket}/arrive"
    filled(Mirror(there, "one"), a="1", sub__b="2", sub__deep__c="3").push()
    other = Mirror(there, "two")
    other.pull("sub")
    assert not (other.local / "a").exists()
    other.pull()
    assert {p.relative_to(other.local).as_posix(): p.read_text() for p in other.local.rglob("*") if p.is_file()} == {
        "a": "1", "sub/b": "2", "sub/deep/c": "3",
    }  # fmt: skip
    assert sorted(other.names()) == ["a", "sub/b", "sub/deep/c"] and other.folders() == ["sub"]


def test_only_what_changed_is_sent_and_brought(bucket):
    there = f"{bucket}/changed"
    mine, theirs = filled(Mirror(there, "one"), a="1", b="2"), Mirror(there, "two")
    mine.push()
    theirs.pull()
    kept = (theirs.local / "a").stat().st_ino, (theirs.local / "b").stat().st_ino
    filled(mine, b="22")
    mine.push()
    theirs.pull()
    now = (theirs.local / "a").stat().st_ino, (theirs.local / "b").stat().st_ino
    assert now[0] == kept[0] and now[1] != kept[1] and (theirs.local / "b").read_text() == "22"


def test_the_file_that_marks_a_folder_complete_is_copied_last(bucket):
    there = f"{bucket}/complete"
    mirror = filled(Mirror(there, "one"), DONE="", z="1", meta__json="", a="2", **{"meta.json": "{}"})
    order = [path.name for path in mirror._files("")]
    assert order[-2:] == ["meta.json", "DONE"]
    mirror.push()
    assert mirror.names()[-2:] == ["meta.json", "DONE"]


def test_hidden_files_stay_here_unless_their_folder_is_named(bucket):
    mirror = filled(Mirror(f"{bucket}/hidden", "one"), a="1", **{".lock": "", ".making__b": "2"})
    mirror.push()
    assert mirror.names() == ["a"]
    mirror.push(".making")
    assert sorted(mirror.names()) == [".making/b", "a"]


def test_what_is_not_there_is_no_error_to_bring_or_to_delete(bucket):
    mirror = Mirror(f"{bucket}/nothing", "one")
    mirror.pull("a", "b/c")
    mirror.delete("a")
    assert mirror.read("a") is None and mirror.names() == [] and not (mirror.local / "a").exists()


def test_a_deleted_file_can_be_sent_again(bucket):
    mirror = filled(Mirror(f"{bucket}/again", "one"), a="1")
    mirror.push()
    mirror.delete("a")
    assert mirror.names() == []
    mirror.push()
    assert mirror.names() == ["a"]


def test_storage_that_cannot_be_reached_is_named_with_its_url_and_what_to_check(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    once = fs.AwsStandardS3RetryStrategy(1)  # by itself it tries again for 6 s
    mirror = Mirror("s3://bucket/x", "one")
    mirror._connected = fs.S3FileSystem(endpoint_override="127.0.0.1:9", scheme="http", retry_strategy=once), "bucket/x"
    for read in (lambda: mirror.read("a"), VersionedObject("s3://bucket/x/a").read):
        with pytest.raises(StorageError, match=r"s3://bucket/x\S* must be readable .* check the URL") as refused:
            read()
        assert "s3cr3t" not in str(refused.value)


def test_a_bucket_that_does_not_exist_is_named(bucket):
    mirror = filled(Mirror("s3://nobodys/x", "one"), a="1")
    with pytest.raises(StorageError, match="s3://nobodys/x"):
        mirror.push()


def test_a_file_that_grows_is_sent_at_leisure_when_sending_is_slow(bucket, monkeypatch):
    mirror = filled(Mirror(f"{bucket}/grows", "one"), events="1\n")
    mirror.push_throttled("events")
    mirror._took = 1_000.0  # as if it had taken that long
    filled(mirror, events="1\n2\n")
    mirror.push_throttled("events")
    assert mirror.read("events") == b"1\n"
    mirror.push("events")
    assert mirror.read("events") == b"1\n2\n"


def test_a_file_is_brought_whole_or_not_at_all(bucket, monkeypatch):
    there = f"{bucket}/whole"
    filled(Mirror(there, "one"), a="new").push()
    theirs = filled(Mirror(there, "two"), a="old!")
    monkeypatch.setattr("shutil.copyfileobj", lambda *_: (_ for _ in ()).throw(OSError(28, "No space", "here")))
    with pytest.raises(OSError, match="No space"):
        theirs.pull()
    assert (theirs.local / "a").read_text() == "old!" and [path.name for path in theirs.local.iterdir()] == ["a"]
