"""Output paths are checked before the work, in the functions that Python users call, too; an OSError is explained."""

import errno
import os
from pathlib import Path

import pytest

import ftray
from ftray.boards.report import write_report
from ftray.boards.tear_sheet import write_tear_sheet
from ftray.cli import main
from ftray.errors import OutputError
from ftray.features import build_dataset
from ftray.files import partial_file, replace_file, replace_folder, undone
from ftray.nets import export_onnx
from ftray.outputs import check_output_file, check_output_folder, describe_os_error
from tests.nets.test_deployment import policy_of

MARKET = ftray.SimulatorSpec(n_assets=2, n_bars=900)
WINDOWS = ftray.WindowsSpec(holding=6)
FEATURES = ftray.FeatureSpec(lookback=8, indicators=("close",))
ENCODER = ftray.FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8)
PRETRAINING = ftray.PretrainingSpec(epochs=1, windows_per_epoch=64, batch_size=32, horizon=6, device="cpu")
OLD_STUDY = Path(__file__).parent / "runs" / "format_1"


def _dataset():
    return build_dataset(MARKET, WINDOWS, FEATURES)


WRITERS = {
    "write_report": lambda path: write_report(OLD_STUDY, path),
    "write_tear_sheet": lambda path: write_tear_sheet(path, "title", {}),
    "export_onnx": lambda path: export_onnx(policy_of("mlp").network, path),
    "Policy.save": lambda path: policy_of("mlp").save(path),
    "Dataset.save": lambda path: _dataset().save(path),
    "pretrain": lambda path: ftray.pretrain(ENCODER, PRETRAINING, _dataset(), path),
    "run_study": lambda path: ftray.run_study(ftray.load_study("demo"), path),
    "run_trial": lambda path: ftray.run_trial(
        ftray.TrialSpec(market=MARKET), lambda metrics, checkpoint=None: None, folder=path
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_functions_refuse_a_place_that_cannot_be_written_before_the_work(write, tmp_path):
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file" / "out.html", Path("/proc/nowhere/out.html")):
        with pytest.raises(OutputError, match=f"{place}(/[a-z_.]+)? cannot be written: "):
            write(place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_device_or_pipe_is_never_replaced(name, tmp_path):
    (tmp_path / "device").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for kind in ("device", "pipe"):
        with pytest.raises(OutputError, match=f"{kind}.* must be .*but is a {kind}"):
            WRITERS[name](tmp_path / kind)
    assert (tmp_path / "device").is_symlink() and (tmp_path / "pipe").is_fifo()


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "there.csv").write_text("old")
    for path in (tmp_path / "there.csv", tmp_path / "new.csv", tmp_path / "new" / "deep" / "out.csv"):
        assert check_output_file(path) == path
    for path in (tmp_path, tmp_path / "new", tmp_path / "new" / "deep"):
        assert check_output_folder(path) == path
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there.csv": "old"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied; name a place that this user may read and write"):
        check_output_file(tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; delete something there, or name a place on another disk"),
        (errno.EROFS, "Read-only file system; name a place that is not mounted read-only"),
        (errno.EACCES, "Permission denied; name a place that this user may read and write, or change its permissions"),
        (errno.ENAMETOOLONG, "File name too long; give it a shorter name"),
        (errno.ELOOP, "Too many levels of symbolic links; its symbolic links form a circle; name the file itself"),
        (errno.ENOTDIR, "Not a directory; a file is where a folder must be; check the path"),
        (errno.EISDIR, "Is a directory; it is a folder; name a file"),
    ],
)
def test_an_error_of_the_system_names_the_path_and_what_to_do(number, advice):
    assert describe_os_error(OSError(number, os.strerror(number), "runs/out.csv")) == f"runs/out.csv: {advice}"
    assert describe_os_error(OSError(number, os.strerror(number))) == advice


def test_an_error_with_a_text_alone_is_that_text():
    assert describe_os_error(OSError("cannot write\nmode RGBA")) == "cannot write mode RGBA"
    assert describe_os_error(OSError()) == "OSError"
    assert describe_os_error(TimeoutError()) == "TimeoutError"
    moved = OSError(errno.EXDEV, os.strerror(errno.EXDEV), "a", None, "b")
    assert describe_os_error(moved) == "a → b: Invalid cross-device link"


def test_the_command_line_prints_an_error_with_one_argument(monkeypatch, capsys):
    def fail(location):
        raise OSError("the file system hung up")

    monkeypatch.setattr("ftray.analysis.studies.open_study", fail)
    assert main(["results", "anywhere"]) == 1
    assert capsys.readouterr().err == "ftray: the file system hung up\n"


def test_a_failed_write_names_its_file_and_deletes_the_folders_that_it_created(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for write in (partial_file, replace_folder):
        with pytest.raises(OSError, match="No space left") as caught, write(tmp_path / "new" / "deep" / "out"):
            raise full
        assert caught.value.filename == str(tmp_path / "new" / "deep" / "out")
        assert list(tmp_path.iterdir()) == []
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_with_a_text_alone_is_named_too(tmp_path):
    with pytest.raises(OSError, match=f"^{tmp_path}/out: cannot write mode RGBA$"), partial_file(tmp_path / "out"):
        raise OSError("cannot write mode RGBA")


def test_what_a_failed_block_created_is_deleted_and_nothing_else(tmp_path):
    replace_file(tmp_path / "old" / "file", b"kept")
    with pytest.raises(ValueError, match="stop"), undone(tmp_path / "old" / "new" / "run"):
        replace_file(tmp_path / "old" / "new" / "run" / "a" / "b", b"gone")
        raise ValueError("stop")
    with pytest.raises(ValueError, match="stop"), undone(tmp_path / "old"):
        raise ValueError("stop")
    with undone(tmp_path / "whole"):
        (tmp_path / "whole").mkdir()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["old", "old/file", "whole"]
