"""The cluster files as a user has them: in a project, with the places filled in that he must."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILLED_IN = {
    "YOUR-BUCKET": "candles-and-runs",
    "YOUR-PROJECT": "trading-4711",
    "YOUR-SUBSCRIPTION": "01234567-89ab-cdef-0123-456789abcdef",
    "YOUR-CONTAINER@YOUR-ACCOUNT": "runs@trading",
    "YOUR-REGISTRY": "registry.example.org/trading",
}
"""What a user of each provider fills in, besides regions and addresses."""
NAMES = ("local", "aws-gpu", "gcp-gpu", "azure-gpu", "kuberay")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def make_project(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """A project with `cluster/` filled in, to be worked in, and a home with Ray's token."""
    folder = root / "project"
    (folder / "cluster").mkdir(parents=True)
    for name in ("ftray", "tune_configs", "pyproject.toml", "constraints.txt", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    for path in (ROOT / "cluster").glob("*.yaml"):
        (folder / "cluster" / path.name).write_text(filled_in(path.read_text()))
    home = root / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64)
    patch.setenv("HOME", str(home))
    patch.chdir(folder)
    return folder


def filled_in(text: str) -> str:
    for place, value in FILLED_IN.items():
        text = text.replace(place, value)
    return text


def as_shipped(folder: Path, name: str) -> Path:
    """A cluster file with nothing filled in, in that project."""
    return Path(shutil.copy(ROOT / "cluster" / f"{name}.yaml", folder / "cluster"))
