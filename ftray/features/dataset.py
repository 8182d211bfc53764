"""The dataset: candles, feature table and windows of one fold under one fingerprint, and the folder that keeps them.

Takes: the specs of a market, its folds and its features, and which fold is meant. Gives: a `Dataset`, and a folder of
plain `.npy` files that every process of a machine maps into its memory: one copy, however many env runners read it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ftray.errors import DataError, RunFolderError
from ftray.features.layout import ObservationLayout
from ftray.features.scaling import Scaler
from ftray.features.spec import FeatureSpec, reach_of
from ftray.features.table import FeatureTable, build_table
from ftray.files import create_folder, sha256
from ftray.market import Candles, FoldsSpec, MarketSpec, Segment, Window, Windows, load_market, pieces
from ftray.market import fold as split_into_folds
from ftray.outputs import check_output_folder
from ftray.spec import fingerprint, to_mapping

FORMAT = 2
"""Part of every fingerprint; to be raised with a change of an indicator's formula or of the folder's files."""

FOLDS_FORMAT = {"combinatorial": 2}
"""Part of the fingerprint of folds of this kind; raised where a kind cuts its train windows in another way."""

SCALING_FORMAT = {"winsorised": 2}
"""Part of the fingerprint of features that are scaled like this; raised where what the scaler is fitted on changes."""

WINDOWS = ("train", "validation", "test")
REACH = ("lookback", "warm_up")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Everything a trial reads of the market. Row t of the table belongs to bar t of the candles.

    candles: of all windows.
    table: the scaled features of every bar; `table.observation(bars, accounts)` makes full observations of both.
    windows: `train` and `validation`, each a tuple of windows in time order, and `test`.
    fingerprint: any change of candles, windows, fold, features or formulas changes it; 64 hex digits.
    """

    candles: Candles
    table: FeatureTable
    windows: Windows
    fingerprint: str

    @property
    def layout(self) -> ObservationLayout:
        """Where everything is in an observation."""
        return self.table.layout

    def times(self, window: Window) -> list[str]:
        """When the first and the last bar of a window open, UTC, as ISO 8601.

        window: one of `windows`.
        """
        return [str(self.candles.times[bar].astype("datetime64[s]")) for bar in (window.start, window.stop - 1)]

    def save(self, folder: Path | str) -> Path:
        """Writes the dataset into `folder`, all or nothing; a folder that holds it already is left as it is.

        Raises: RunFolderError if `folder` holds anything else; OutputError for a place that cannot be written.
        """
        folder = Path(folder)
        if folder.is_dir():
            return self._kept(folder)
        check_output_folder(folder)
        try:
            with create_folder(folder) as new:
                arrays = self._arrays()
                for name, array in arrays.items():
                    np.save(new / name, array, allow_pickle=False)
                meta = self._meta() | {"files": {name: sha256(new / name) for name in arrays}}
                (new / "meta.json").write_text(json.dumps(meta, indent=1, allow_nan=False))
        except FileExistsError:
            return self._kept(folder)  # another process was faster
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> "Dataset":
        """The dataset of a folder, its arrays read-only and mapped into memory.

        Raises: RunFolderError if the folder is missing, incomplete or damaged.
        """
        folder = Path(folder)
        try:
            return _loaded(folder)
        except FileNotFoundError as error:
            problem = f"{error.filename} is missing"
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            problem = str(error)
        raise RunFolderError(
            f"{folder} must hold a prepared dataset of format {FORMAT}, but {problem}: "
            "delete the folder and build it again"
        )

    def _kept(self, folder: Path) -> Path:
        if (found := Dataset.load(folder).fingerprint) != self.fingerprint:
            raise RunFolderError(
                f"{folder} must be free or hold dataset {self.fingerprint[:12]}, but holds dataset {found[:12]}: "
                "name another folder"
            )
        return folder

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "features.npy": self.table.values,
            "candles.npy": self.candles.values,
            "times.npy": self.candles.times.astype("datetime64[ns]").astype(np.int64),
        }
        return arrays if self.candles.regimes is None else arrays | {"regimes.npy": self.candles.regimes}

    def _meta(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "interval_ns": int(self.candles.interval.astype("timedelta64[ns]").astype(np.int64)),
            "layout": self.layout.to_mapping(),
            "scaler": self.table.scaler.to_mapping(),
            "segments": [[segment.start, segment.stop] for segment in self.table.segments],
            "lookback": self.table.lookback,
            "gaps": [self.windows.gap_before, self.windows.gap_after],
            "windows": {
                name: [[piece.start, piece.stop] for piece in pieces(getattr(self.windows, name))] for name in WINDOWS
            },
        }


def build_dataset(market: MarketSpec, windows: FoldsSpec, features: FeatureSpec, fold: int = 0) -> Dataset:
    """Loads the candles and builds one fold of them: windows, features, and a scaler fitted on the train windows alone.

    fold: which of the windows' folds, counted from 0.

    Warns: DataWarning for series that never, or hardly, move in the train windows.
    Raises: DataError for candles that cannot be used, or for a window without a bar at which a policy could decide;
    SpecError for a purge below lookback + holding, or a `windows.lookback` or `.warm_up` below what is observed.

    >>> import ftray
    >>> market = ftray.SimulatorSpec(n_assets=2, n_bars=3_000)
    >>> dataset = ftray.build_dataset(market, ftray.WindowsSpec(), ftray.FeatureSpec(indicators=("close", "rsi")))
    >>> dataset.layout.size  # cash, 2 holdings, 2 indicators × 2 assets × 60 bars
    243
    >>> print(*dataset.windows.train, *dataset.windows.validation, dataset.windows.test)
    [0, 1932) [2016, 2466) [2550, 3000)
    """
    return dataset_of(load_market(market), windows, features, fold)


def dataset_of(
    candles: Candles, windows: FoldsSpec, features: FeatureSpec, fold: int = 0, *, scaler: Scaler | None = None
) -> Dataset:
    """The windows of the fold with that index, and the features with a scaler of all its train windows.

    scaler: one that was fitted before, in place of a new one.

    Raises: DataError if the train windows, a validation window or the test window hold no bar at which a policy could
    decide.
    """
    reach = reach_of(windows, features)
    parts = split_into_folds(len(candles), windows, reach.lookback, reach.warm_up).windows[fold]
    table = build_table(candles, features, parts.train, reach, scaler=scaler)
    evaluated = [("validation", piece) for piece in parts.validation] + [("test", parts.test)] * bool(len(parts.test))
    for name, window in (("train", parts.train), *evaluated):
        if not len(table.decision_bars(window)):
            raise DataError(
                f"the {name} window {', '.join(map(str, pieces(window)))} must hold an unbroken run of "
                f"{reach.lookback} bars after {reach.warm_up} bars of warm-up, and has none: "
                "take more candles or a larger share"
            )
    return Dataset(candles, table, parts, dataset_fingerprint(candles, windows, features, fold))


def open_test_window(dataset: Dataset) -> tuple[Dataset, Window]:
    """The dataset with its test window open to backtests, which refuse it otherwise, and that window.

    Whoever calls this records the read for good, and shows nothing of the window before.
    """
    n_bars, windows = len(dataset.candles), dataset.windows
    return dataclasses.replace(dataset, windows=dataclasses.replace(windows, test=Window(n_bars, n_bars))), windows.test


def dataset_fingerprint(candles: Candles, windows: FoldsSpec, features: FeatureSpec, fold: int = 0) -> str:
    """A name that any change of candles, windows, fold, features or formulas changes: 64 hex digits.

    The source of a plug-in's indicators is part of it. That of its market is not: the candles themselves are.
    """
    # A reach that is not given is left out: earlier versions knew none, and what they prepared is still found.
    given = {key: value for key, value in to_mapping(windows).items() if key not in REACH or value is not None}
    plugins = [features.plugins] if features.plugins else []
    formats = ((FOLDS_FORMAT, windows.kind), (SCALING_FORMAT, features.scaling))
    changed = [known[kind] for known, kind in formats if kind in known]
    return fingerprint(FORMAT, candles.fingerprint, given, features, fold, *plugins, *changed)


def _loaded(folder: Path) -> Dataset:
    meta = json.loads((folder / "meta.json").read_text())
    if meta["format"] != FORMAT:
        raise ValueError(f"it has format {meta['format']}")
    for name, expected in meta["files"].items():
        if sha256(folder / name) != expected:
            raise ValueError(f"{name} is not what was written (its SHA-256 differs)")
    arrays = {name: _mapped(folder / name) for name in meta["files"]}
    layout = ObservationLayout.from_mapping(meta["layout"])
    candles = Candles(
        symbols=layout.symbols,
        times=arrays["times.npy"].view("datetime64[ns]"),
        values=arrays["candles.npy"],
        interval=np.timedelta64(meta["interval_ns"], "ns"),
        regimes=arrays.get("regimes.npy"),
    )
    segments = tuple(Segment(*edges) for edges in meta["segments"])
    scaler, lookback = Scaler.from_mapping(meta["scaler"]), meta.get("lookback")
    table = FeatureTable(layout, arrays["features.npy"], scaler, segments, lookback)
    train, validation, (test,) = (tuple(Window(*edges) for edges in meta["windows"][name]) for name in WINDOWS)
    gaps = meta.get("gaps") or _smallest_gap(train, (*validation, test))
    return Dataset(candles, table, Windows(train, validation, test, *gaps), meta["fingerprint"])


def _smallest_gap(train: tuple[Window, ...], evaluated: tuple[Window, ...]) -> tuple[int, int]:
    """The gaps of a dataset of an earlier version, which did not store them: the smallest that its windows have."""
    gaps = [max(b.start - a.stop, a.start - b.stop) for a in train for b in evaluated if len(b)]
    smallest = min(gaps, default=0)
    return smallest, smallest


def _mapped(file: Path) -> np.ndarray:
    """A read-only array on top of the file, without the slow indexing of the `np.memmap` class."""
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
