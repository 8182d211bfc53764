"""A command that is refused says so in one line, and leaves nothing behind: no file, no folder, no temporary file."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from ftray.cli import main
from ftray.runs import RunFolder

OLD_STUDY = Path(__file__).parent / "runs" / "format_1"

TRIAL = {
    "market": {"kind": "simulator", "n_assets": 2, "n_bars": 1200},
    "windows": {"holding": 6},
    "features": {"lookback": 8, "indicators": ["close", "volume"]},
    "encoder": {"kind": "ft", "d_token": 32, "n_blocks": 1, "n_heads": 2, "encoding_dim": 256, "patch_length": 8},
    "ppo": {"env_steps": 256, "train_batch_size": 128, "minibatch_size": 64, "n_env_runners": 0},
}

FILES = {
    "a folder": ("folder", "folder must be a file, or not exist yet, but is a folder: name a file"),
    "a device": ("device", "device must be a file, or not exist yet, but is a device: name a file"),
}
FOLDERS = {
    "a file": ("file", "file must be a folder, or not exist yet, but is a file: name a folder"),
    "a device": ("device", "device must be a folder, or not exist yet, but is a device: name a folder"),
}
ANYWHERE = {
    "below a file": ("file/out.html", "file must be a folder, but is a file; check the path"),
    "below a circle of links": ("circle/out.html", "circle/out.html cannot be written: Too many levels of symbolic"),
    "below a broken link": ("broken/out.html", "broken must be a folder, but is a link that leads nowhere"),
    "a long name": (f"new/{'n' * 300}.html", "File name too long; give it a shorter name"),
    "no real disk": ("/proc/out/out.html", "/proc/out/out.html cannot be written: /proc: "),
}

WRITE_FILES = {
    "init": ("init", "candles", "--output"),
    "results --csv": ("results", "runs/old", "--csv"),
    "results --json": ("results", "runs/old", "--json"),
    "report": ("report", "runs/old", "--out"),
}
WRITE_FOLDERS = {
    "backtest": ("backtest", "runs/old", "--out"),
    "fetch": ("fetch", "s3://nowhere/runs/old", "--to"),
    "vram": ("vram", "--measure", "--runs"),
    "pretrain": ("pretrain", "study.yaml", "--runs"),
    "train": ("train", "study.yaml", "--runs"),
    "tune": ("tune", "study.yaml", "--runs"),
}

OUTPUTS = {
    f"{verb}: {what}": ((*command, place), message)
    for verbs, places in ((WRITE_FILES, FILES | ANYWHERE), (WRITE_FOLDERS, FOLDERS | ANYWHERE))
    for verb, command in verbs.items()
    for what, (place, message) in places.items()
} | {
    "backtest: a device for the tear sheet": (
        ("backtest", "runs/old", "--html", "device"),
        "device/tear_sheet.html cannot be written: device must be a folder, but is a device",
    ),
    "backtest: the tear sheet below a file": (
        ("backtest", "runs/old", "--html", "file/sheet.html"),
        "file must be a folder, but is a file",
    ),
    "init: a file that is there": (("init", "candles", "--output", "file"), "file exists, and is not replaced"),
}

INPUTS = {
    "init: no candles": (("init", "nowhere"), "nowhere"),
    "init: no file of candles": (("init", "folder"), "folder"),
    "schema: no plug-in": (("schema", "--plugin", "nowhere"), "no plug-in nowhere"),
    "check: no study": (("check", "nowhere"), "cannot read nowhere: no such file"),
    "vram: no study": (("vram", "nowhere"), "cannot read nowhere: no such file"),
    "vram: no cluster": (("vram", "study.yaml", "--cluster", "nowhere.yaml"), "nowhere.yaml"),
    "pretrain: no study": (("pretrain", "nowhere"), "cannot read nowhere: no such file"),
    "train: no study": (("train", "nowhere"), "cannot read nowhere: no such file"),
    "tune: no study": (("tune", "nowhere"), "cannot read nowhere: no such file"),
    "submit: no study": (("submit", "nowhere", "--address", "http://127.0.0.1:1"), "cannot read nowhere"),
    "submit: no place": (("submit", "study.yaml", "--address", "http://127.0.0.1:1"), "name the place for run folders"),
    "status: no cluster": (("status", "--address", "http://127.0.0.1:1"), "a Ray dashboard must answer at"),
    "fetch: no place": (("fetch", "nowhere"), "nowhere must be s3://"),
    "results: no run": (("results", "nowhere"), "nowhere must be a run folder"),
    "dashboard: no run": (("dashboard", "nowhere"), "nowhere must be a run folder"),
    "report: no run": (("report", "nowhere"), "nowhere must be a run folder"),
    "report: no run, but an output": (("report", "nowhere", "--out", "new/a.html"), "nowhere must be a run folder"),
    "backtest: no run": (("backtest", "nowhere"), "nowhere must be a run folder, like runs/demo, and does not exist"),
    "promote: no run": (("promote", "nowhere"), "nowhere must be a run folder, like runs/demo, and does not exist"),
    "promote: no such trial": (("promote", "runs/old", "--trial", "nope"), "runs/old has no trial 'nope'"),
    "backtest: no such trial": (("backtest", "runs/old", "--trial", "nope"), "runs/old has no trial 'nope'"),
    "backtest: no policy": (("backtest", "runs/old"), "holds no policy"),
    "dashboard: no journal": (("dashboard", "runs/old", "--optuna"), "has no optuna.journal"),
    "dashboard: no such address": (("dashboard", "runs/old", "--host", "192.0.2.77"), "must name a free address"),
    "promote: a file": (("promote", "file"), "file must be a run folder, like runs/demo, and is a file"),
}

STUDIES = {
    "a misspelt field": ("trial.ppo.epoch=1", "trial.ppo.epoch: no such key"),
    "no candles": ("trial.market={kind: files, path: nowhere}", "nowhere"),
    "too few bars for the windows": ("trial.market.n_bars=100", "bars"),
    "no checkpoint": ("trial.encoder.pretrained=nowhere.pth", "nowhere.pth: no such checkpoint"),
}
"""What makes a study impossible, of which some is only found when its data are prepared."""

INPUTS |= {
    f"{verb}: {what}": ((verb, "study.yaml", "--runs", "new/runs", "--set", override), message)
    for verb in ("tune", "train")
    for what, (override, message) in STUDIES.items()
} | {
    "tune: no such place to count": (
        ("tune", "study.yaml", "--runs", "new/runs", "--set", "search.also_counts=[nowhere]"),
        "search.also_counts must name run folders",
    ),
    "pretrain: too few bars": (
        ("pretrain", "pretraining.yaml", "--runs", "new/runs", "--set", "trial.market.n_bars=100"),
        "bars",
    ),
    "pretrain: nothing to pre-train": (
        ("pretrain", "study.yaml", "--runs", "new/runs"),
        "this trial asks for no pre-training",
    ),
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory with a study and a run folder, and the folders of caches and temporary files next to it."""
    for name in ("work/folder", "cache", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    work = tmp_path / "work"
    shutil.copytree(OLD_STUDY, work / "runs" / "old")
    (work / "file").write_text("kept")
    (work / "circle").symlink_to("circle")
    (work / "device").symlink_to("/dev/null")  # where it would be replaced, the machine keeps its own
    (work / "broken").symlink_to("nowhere")
    pretrained = TRIAL | {"encoder": TRIAL["encoder"] | {"pretrained": "auto"}}
    for name, trial in (("study", TRIAL), ("pretraining", pretrained)):
        (work / f"{name}.yaml").write_text(yaml.safe_dump({"trial": trial, "search": {"n_trials": 1}}))
    monkeypatch.chdir(work)
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as `status` and `submit` would, for good
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def content(folder: Path) -> dict[str, object]:
    """Everything below a folder: of files their bytes, of links where they lead."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(("command", "message"), (OUTPUTS | INPUTS).values(), ids=OUTPUTS | INPUTS)
def test_a_refused_command_says_why_in_one_line_and_leaves_nothing_behind(command, message, place, capsys):
    before = content(place)
    status = main(command)
    errors = capsys.readouterr().err
    assert status == 1 and errors.startswith("ftray: ") and message in errors, errors
    assert len(errors.splitlines()) == 1, errors
    assert content(place) == before


@pytest.mark.parametrize("verb", ["tune", pytest.param("train", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RAY_ADDRESS": "127.0.0.1:1"}, "a Ray cluster must answer at"),
        pytest.param({"RAY_TMPDIR": f"/tmp/{'d' * 60}"}, "must have a path of at most", marks=pytest.mark.long),
        pytest.param({"RAY_TMPDIR": "/dev/null"}, "/dev/null must be a folder", marks=pytest.mark.long),
    ],
    ids=["a head that does not answer", "a path too long for sockets", "temporary files on a device"],
)
def test_a_study_whose_ray_cannot_start_leaves_no_run_folder(verb, environment, message, place):
    before = content(place)
    command = [sys.executable, "-m", "ftray", verb, "study.yaml", "--runs", "new/runs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert content(place) == before


def test_a_refused_command_keeps_the_run_folder_that_was_there(place, capsys):
    run = RunFolder.create(place / "work" / "runs" / "study", {"name": "another"})
    before = content(place)
    assert main(["tune", "study.yaml"]) == 1
    assert "belongs to another study" in capsys.readouterr().err
    assert content(place) == before and run.study == {"name": "another"}


def test_a_full_disk_is_named_with_what_to_do(place, capsys, monkeypatch):
    """/dev/full takes no byte."""

    def write(path: Path, content: bytes) -> None:
        with Path("/dev/full").open("wb") as file:
            file.write(content)

    monkeypatch.setattr(Path, "write_bytes", write)
    before = content(place)
    assert main(["results", "runs/old", "--csv", "new/deep/out.csv"]) == 1
    problem = capsys.readouterr().err
    assert problem.endswith(
        "out.csv: No space left on device; delete something there, or name a place on another disk\n"
    )
    assert content(place) == before


@pytest.mark.parametrize("command", [("results", "runs/old", "--csv", "-"), ("results", "runs/old"), ("schema",)])
def test_standard_output_on_a_full_disk_is_named(command, place):
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "ftray", *command]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("ftray: standard output: No space left on device; ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["tune", "train"])
def test_a_checkpoint_of_another_encoder_is_refused_by_its_fields_before_the_first_trial(verb, place, capsys):
    import torch

    from ftray.features import ObservationLayout
    from ftray.nets import FTSpec, build_encoder, market_state_dict

    layout = ObservationLayout(("AAVE", "AVAX"), ("close", "volume"), lookback=8)
    wider = build_encoder(FTSpec(d_token=64, n_blocks=3, n_heads=2, patch_length=8), layout)
    content_of_it = {"encoder_state_dict": market_state_dict(wider), "layout": layout.to_mapping()}
    torch.save(content_of_it, place / "work" / "wider.pth")
    before = content(place)
    assert main([verb, "study.yaml", "--runs", "new/runs", "--set", "trial.encoder.pretrained=wider.pth"]) == 1
    errors = capsys.readouterr().err
    assert (
        "wider.pth: the weights do not fit the encoder: d_token 64 there, 32 here; n_blocks 3 there, 1 here." in errors
    )
    assert len(errors.splitlines()) == 1 and len(errors) < 400 and content(place) == before
