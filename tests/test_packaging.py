"""What travels in a wheel: the version that the code names, the licence, and the mark that the code is typed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ftray

ROOT = Path(__file__).parents[1]


def test_a_wheel_has_the_codes_version_its_licence_and_its_types(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "ftray", source / "ftray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"ftray-{ftray.__version__}-")
    assert {"ftray/py.typed", "ftray/__init__.pyi"} <= set(names) and any(name.endswith("/LICENSE") for name in names)
