"""Candle files written for a test, and the real ones where they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"
WRITERS = {
    ".feather": lambda frame, path: frame.to_feather(path),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
}


def legal_frame(n_bars: int = 6, start: str = "2024-01-01", step: str = "1h", price: float = 100.0) -> pd.DataFrame:
    """Rows that break no rule; bar i closes at price + i + 1."""
    opens = price + np.arange(n_bars, dtype=float)
    return pd.DataFrame(
        {
            "date": pd.date_range(start, periods=n_bars, freq=step, tz="UTC"),
            "open": opens,
            "high": opens + 2.0,
            "low": opens - 1.0,
            "close": opens + 1.0,
            "volume": np.arange(n_bars, dtype=float),
        }
    )


@pytest.fixture
def write(tmp_path):
    """Writes a frame under a file name into one folder, and returns the folder as text."""

    def _write(frame: pd.DataFrame, name: str = "BTC_USDT-1h.feather") -> str:
        path = tmp_path / name
        WRITERS[path.suffix](frame, path)
        return str(tmp_path)

    return _write


@pytest.fixture
def real_data():
    """The folder with real candles."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real candles: {REAL_DATA} is missing")
    return REAL_DATA
