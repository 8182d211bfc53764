"""The study files that come with ftray are found by name, from any folder, in every verb and in `load_study`."""

from pathlib import Path

import pytest
import yaml

import ftray
from ftray.cli import main
from ftray.cluster.submitting import pack
from ftray.errors import SpecError
from ftray.shipped import find_study, shipped_studies
from ftray.study import load_study
from tests.study.tiny import TINY

ROOT = Path(__file__).parents[1]
HOME = ROOT / "tune_configs"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_of_tune_configs_are_the_ones_that_are_found():
    assert shipped_studies() == sorted(path.stem for path in HOME.glob("*.yaml"))
    for name in shipped_studies():
        assert find_study(name).samefile(HOME / f"{name}.yaml")
        assert find_study(f"{name}.yaml").samefile(HOME / f"{name}.yaml")


def test_the_link_to_them_also_holds_in_a_copy_of_the_repository():
    assert (ROOT / "ftray" / "tune_configs").readlink() == Path("../tune_configs")


def test_a_name_gives_the_study_that_its_path_gives():
    named, from_path = (
        ftray.load_study("demo", ["trial.seed=3"]),
        ftray.load_study(HOME / "demo.yaml", ["trial.seed=3"]),
    )
    assert named.name == "demo" and named.identity == from_path.identity


def test_a_path_wins_over_a_name(empty_folder):
    for file in ("demo.yaml", "demo"):
        (empty_folder / file).write_text(yaml.safe_dump({"name": "mine", **TINY}))
        assert load_study(file).name == load_study(Path(file)).name == "mine"
        (empty_folder / file).unlink()


def test_a_folder_of_that_name_is_no_study(empty_folder):
    (empty_folder / "demo").mkdir()  # a run folder, seen from runs/
    assert load_study("demo").name == "demo"
    (empty_folder / "other").mkdir()
    with pytest.raises(SpecError, match=r"cannot read other: it is a folder, and no study of that name"):
        load_study("other")


@pytest.mark.parametrize("file", ["deom", "deom.yaml", "tune_configs/demo.yaml", "/nowhere/demo"])
def test_an_unknown_name_is_refused_with_the_names_that_there_are(file):
    with pytest.raises(SpecError, match=r"cannot read .*did you mean 'demo'\? Known: balanced, crypto_1h, .*, demo, "):
        load_study(file)


@pytest.mark.parametrize("verb", ["check", "vram", "pretrain", "train", "tune", "submit"])
def test_every_verb_that_takes_a_file_names_those_that_come_with_ftray(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert ", ".join(shipped_studies()) in " ".join(capsys.readouterr().out.split())


def test_check_prints_where_a_study_is_and_what_it_can_without_the_candles(empty_folder, capsys):
    assert main(["check", "crypto_1h"]) == 0
    out = capsys.readouterr().out
    assert Path(out.splitlines()[0].removeprefix("file ")).samefile(HOME / "crypto_1h.yaml")
    assert f"unknown, and all sizes with them: {empty_folder}/data/binance_1h: no such folder" in out
    assert "trial/encoder/d_token: 32, 64" in out and "parameters" not in out


def test_a_clusters_job_takes_the_files_along(empty_folder, monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", str(empty_folder / "cache"))
    folder = pack("demo-1", find_study("demo"))
    assert (folder / "demo.yaml").read_text() == (HOME / "demo.yaml").read_text()
    carried = folder / "ftray" / "tune_configs"
    assert not carried.is_symlink() and sorted(path.stem for path in carried.glob("*.yaml")) == shipped_studies()


def test_candles_that_are_here_and_broken_still_fail_a_check(empty_folder, capsys):
    (empty_folder / "data").mkdir()
    assert main(["check", "crypto_1h", "--set", "trial.market.path=data"]) == 1
    assert "no candle files in this folder" in capsys.readouterr().err
