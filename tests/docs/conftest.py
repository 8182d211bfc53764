"""A folder in which a reader might try a page's code."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ftray.market import COLUMNS, SimulatorSpec, load_market

from .pages import ROOT

STUDY = ROOT / "tests" / "runs" / "format_1"
STUDY_WITH_POLICIES = ROOT / "tests" / "runs" / "version_0_1"
CANDLES = Path("PATH/TO/binance_1h")


@pytest.fixture(scope="session")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hourly candles of seven assets, a file each."""
    folder = tmp_path_factory.mktemp("candles") / CANDLES.name  # studies are named after the folder
    folder.mkdir()
    market = load_market(SimulatorSpec(n_bars=6_000))
    for i, symbol in enumerate(market.symbols):
        frame = pd.DataFrame(market.values[:, i], columns=list(COLUMNS))
        frame.insert(0, "date", pd.to_datetime(np.asarray(market.times), utc=True))
        frame.to_parquet(folder / f"{symbol}_USDT-1h.parquet")
    return folder


@pytest.fixture
def folder(tmp_path: Path, candles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: candles of the reader's own, a finished study as `runs/demo`, one with policies as
    `runs/binance_1h`, and what a checkout has for commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    CANDLES.parent.mkdir(parents=True)
    CANDLES.symlink_to(candles)
    shutil.copytree(STUDY, "runs/demo")
    shutil.copytree(STUDY_WITH_POLICIES, "runs/binance_1h")
    for name in ("tune_configs", "cluster", "benchmarks", "docs", "constraints.txt", "pyproject.toml"):
        Path(name).symlink_to(ROOT / name)
    return tmp_path
