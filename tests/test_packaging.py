"""What travels: the code with its types, its data and its licence in a wheel, and what a cluster needs in the source
distribution. `.ci/wheel` installs the wheel and uses it."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import ftray
from ftray.cluster.installing import PARTS

ROOT = Path(__file__).parents[1]


def build(function: str, source: Path, target: Path) -> Path:
    code = f"import sys; from setuptools import build_meta; print(build_meta.{function}(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(target)]
    done = subprocess.run(words, cwd=source, check=True, capture_output=True, text=True)
    return target / done.stdout.splitlines()[-1]


def contents(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the working tree: setuptools leaves files where it builds, and packs what it finds there."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        made = ("build", "runs", "ftray.egg-info") if Path(folder) == ROOT else ()
        return [name for name in names if name.startswith(".") or name in ("__pycache__", *made)]

    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("work") / "ftray", symlinks=True, ignore=ignored))


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("build_sdist", source, folder)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"ftray-{ftray.__version__}"


def test_a_wheel_has_the_codes_version_its_licence_and_its_types(wheel):
    assert wheel.name.startswith(f"ftray-{ftray.__version__}-")
    names = contents(wheel).keys()
    assert {"ftray/py.typed", "ftray/__init__.pyi"} <= set(names) and any(name.endswith("/LICENSE") for name in names)


def test_a_wheel_has_all_of_the_package_and_nothing_else(wheel):
    code = {path.relative_to(ROOT) for path in (ROOT / "ftray").rglob("*") if path.is_file()}
    studies = {Path("ftray") / path.relative_to(ROOT) for path in (ROOT / "tune_configs").iterdir()}
    packed = {Path(name): content for name, content in contents(wheel).items() if ".dist-info/" not in name}
    assert packed.keys() == {path for path in code | studies if "__pycache__" not in path.parts}
    assert packed[Path("ftray/tune_configs/demo.yaml")] == (ROOT / "tune_configs" / "demo.yaml").read_bytes()


def test_the_wheel_of_a_source_distribution_is_the_wheel_of_the_tree(wheel, sdist, tmp_path):
    from_tree, from_sdist = contents(wheel), contents(build("build_wheel", sdist, tmp_path))
    assert {name for name in from_tree.keys() | from_sdist if from_tree.get(name) != from_sdist.get(name)} == set()


def test_a_source_distribution_is_a_folder_that_ray_up_can_run_in(sdist):
    assert all((sdist / part).exists() for part in PARTS)
    assert {path.name for path in (ROOT / "cluster").iterdir()} == {path.name for path in (sdist / "cluster").iterdir()}
