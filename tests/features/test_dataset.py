"""The dataset's folder: all or nothing, read-only, mapped into memory, damage noticed."""

import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

import ftray.features.dataset as dataset_module
from ftray.errors import DataError, RunFolderError
from ftray.features import Dataset, FeatureSpec, build_dataset, build_table, dataset_fingerprint, dataset_of
from ftray.market import CombinatorialSpec, Segment, SimulatorSpec, Window, Windows, WindowsSpec, n_folds
from ftray.trial import TrialSpec, prepare_dataset
from tests.features.markets import candles, with_values

SPEC = FeatureSpec(lookback=10)
WINDOWS = Windows(train=(Window(0, 700),), validation=(Window(740, 850),), test=Window(890, 1_000))
MARKET = candles(1_000, holes=(400,))


def dataset(market=MARKET, windows_spec: WindowsSpec | None = None) -> Dataset:
    table = build_table(market, SPEC, WINDOWS.train)
    return Dataset(market, table, WINDOWS, dataset_fingerprint(market, windows_spec or WindowsSpec(), SPEC))


@pytest.fixture(scope="module")
def made() -> Dataset:
    return dataset()


@pytest.fixture
def folder(made, tmp_path):
    return made.save(tmp_path / "data" / "abc")


def assert_equal(a: Dataset, b: Dataset) -> None:
    assert (a.layout, a.windows, a.fingerprint) == (b.layout, b.windows, b.fingerprint)
    assert a.candles.fingerprint == b.candles.fingerprint
    assert a.candles.segments == b.candles.segments
    assert a.table.segments == b.table.segments
    assert a.table.scaler.to_mapping() == b.table.scaler.to_mapping()
    np.testing.assert_array_equal(a.table.values, b.table.values)


def test_a_dataset_comes_back_from_its_folder_as_it_was(made, folder):
    assert_equal(Dataset.load(folder), made)


def test_regimes_and_a_path_as_text_survive(tmp_path):
    regimes = np.arange(len(MARKET), dtype=np.int8) % 3
    labelled = type(MARKET)(MARKET.symbols, MARKET.times, MARKET.values, MARKET.interval, regimes)
    dataset(labelled).save(str(tmp_path / "x"))
    np.testing.assert_array_equal(Dataset.load(str(tmp_path / "x")).candles.regimes, regimes)
    assert Dataset.load(dataset().save(tmp_path / "y")).candles.regimes is None


def test_loaded_arrays_are_read_only_and_mapped_from_the_file(folder):
    loaded = Dataset.load(folder)
    for array in (loaded.table.values, loaded.candles.values):
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_windows_of_a_loaded_table_are_ordinary_arrays_that_may_be_written(made, folder):
    windows = Dataset.load(folder).table.window(np.array([300, 999]))
    assert type(windows) is np.ndarray
    np.testing.assert_array_equal(windows, made.table.window(np.array([300, 999])))
    windows[:] = 0


def test_no_file_needs_pickle(folder):
    assert {file.suffix for file in folder.iterdir()} == {".npy", ".json"}
    for file in folder.glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_saving_twice_changes_nothing(made, folder):
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert made.save(folder) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_another_dataset_is_not_written_over(folder):
    other = dataset(with_values(MARKET, MARKET.values * 2))
    with pytest.raises(RunFolderError, match=r"but holds dataset.*name another folder"):
        other.save(folder)


def test_a_folder_of_other_files_is_left_alone(made, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"meta\.json is missing"):
        made.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_interrupted_save_leaves_nothing_behind(made, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(dataset_module.np, "save", fails)
    with pytest.raises(OSError, match="no space"):
        made.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def _save(path: str) -> None:
    dataset().save(path)


def test_several_processes_may_save_the_same_dataset_at_once(made, tmp_path):
    # Forked, a child may inherit a lock that a thread of Ray holds, and never end.
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_save, [str(tmp_path / "x")] * 6)
    assert_equal(Dataset.load(tmp_path / "x"), made)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_save_that_comes_second_keeps_the_first(made, tmp_path, monkeypatch):
    rename = Path.rename

    def overtaken(source, target):
        shutil.copytree(source, target)
        return rename(source, target)  # which the operating system refuses

    monkeypatch.setattr(Path, "rename", overtaken)
    made.save(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def _truncate(folder):
    content = (folder / "features.npy").read_bytes()
    (folder / "features.npy").write_bytes(content[: len(content) // 2])


def _flip_a_bit(folder):
    content = bytearray((folder / "features.npy").read_bytes())
    content[-5] ^= 1
    (folder / "features.npy").write_bytes(content)


def _change_meta(folder, **changes):
    meta = json.loads((folder / "meta.json").read_text()) | changes
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, r"features\.npy is not what was written"),
        (_flip_a_bit, r"features\.npy is not what was written"),
        (lambda folder: (folder / "candles.npy").unlink(), r"candles\.npy is missing"),
        (lambda folder: (folder / "meta.json").unlink(), r"meta\.json is missing"),
        (lambda folder: (folder / "meta.json").write_text('{"format": 1'), "delete the folder"),
        (lambda folder: (folder / "meta.json").write_text("[]"), "delete the folder"),
        (lambda folder: _change_meta(folder, format=0), "it has format 0"),
        (lambda folder: _change_meta(folder, windows={}), "delete the folder"),
        (lambda folder: _change_meta(folder, files={}), "delete the folder"),
        (shutil.rmtree, r"meta\.json is missing"),
    ],
    ids=[
        "truncated",
        "bit",
        "no candles",
        "no meta",
        "half meta",
        "no mapping",
        "format",
        "windows",
        "files",
        "nothing",
    ],
)
def test_a_missing_or_damaged_folder_is_refused_with_what_is_wrong(folder, damage, message):
    damage(folder)
    with pytest.raises(RunFolderError, match=message):
        Dataset.load(folder)


def test_the_fingerprint_changes_with_everything_a_dataset_is_made_of():
    changed = MARKET.values.copy()
    changed[-1, -1, -1] += 1e-9
    made_of = [
        (MARKET, WindowsSpec(), SPEC),
        (with_values(MARKET, changed), WindowsSpec(), SPEC),
        (MARKET, WindowsSpec(validation=0.2), SPEC),
        (MARKET, WindowsSpec(), FeatureSpec(lookback=11)),
        (MARKET, WindowsSpec(), FeatureSpec(lookback=10, clip=5.0)),
        (MARKET, WindowsSpec(), FeatureSpec(lookback=10, indicators=("rsi",))),
    ]
    prints = [dataset_fingerprint(*parts) for parts in made_of]
    assert len(set(prints)) == len(prints)
    assert dataset_fingerprint(candles(1_000, holes=(400,)), WindowsSpec(), FeatureSpec(lookback=10)) == prints[0]


def test_what_is_scaled_in_another_way_is_another_dataset(monkeypatch):
    moments = dataclasses.replace(SPEC, scaling="moments")
    ours, theirs = (dataset_fingerprint(MARKET, WindowsSpec(), spec) for spec in (SPEC, moments))
    monkeypatch.setitem(dataset_module.SCALING_FORMAT, "winsorised", 1)  # as an earlier version scaled
    earlier, same = (dataset_fingerprint(MARKET, WindowsSpec(), spec) for spec in (SPEC, moments))
    assert len({ours, theirs, earlier}) == 3 and same == theirs


def test_data_that_an_earlier_version_prepared_open_and_are_not_taken_for_those_of_this_one(tmp_path):
    """`version_0_1` was prepared by 0.1, of the market below."""
    (stored,) = (Path(__file__).parent / "version_0_1").iterdir()
    old = Dataset.load(shutil.copytree(stored, tmp_path / "data" / stored.name))
    trial = TrialSpec(
        market=SimulatorSpec(n_assets=1, n_bars=120, seed=3),
        windows=WindowsSpec(holding=2),
        features=FeatureSpec(lookback=4, indicators=("open", "high")),
    )
    folder, new = prepare_dataset(trial, tmp_path)
    assert old.fingerprint == stored.name and folder.name == new.fingerprint != old.fingerprint
    assert old.candles.fingerprint == new.candles.fingerprint and old.windows == new.windows
    by_moments = dataclasses.replace(trial, features=dataclasses.replace(trial.features, scaling="moments"))
    _, again = prepare_dataset(by_moments, tmp_path)
    np.testing.assert_allclose(old.table.values, again.table.values, rtol=1e-5)
    assert len({path.name for path in (tmp_path / "data").iterdir()}) == 3


def test_a_dataset_is_built_from_its_three_specs(monkeypatch):
    monkeypatch.setattr(dataset_module, "load_market", lambda market: MARKET)
    built = build_dataset(SimulatorSpec(), WindowsSpec(), SPEC)
    assert len(built.table) == len(MARKET)
    assert built.layout.symbols == MARKET.symbols
    assert built.fingerprint == dataset_fingerprint(MARKET, WindowsSpec(), SPEC)
    for window in (built.windows.train, built.windows.validation, built.windows.test):
        assert len(built.table.decision_bars(window))


def test_the_scaler_of_a_dataset_never_sees_validation_or_test(monkeypatch):
    def build(market):
        monkeypatch.setattr(dataset_module, "load_market", lambda _: market)
        return build_dataset(SimulatorSpec(), WindowsSpec(), SPEC)

    plain = build(MARKET)
    wild = MARKET.values.copy()
    wild[plain.windows.train[0].stop :] *= np.random.default_rng(0).lognormal(sigma=2, size=(1, 2, 1))
    wild[plain.windows.train[0].stop :, :, 4] *= 1e6
    assert build(with_values(MARKET, wild)).table.scaler.to_mapping() == plain.table.scaler.to_mapping()


def test_a_window_without_a_decision_bar_is_refused_by_name(monkeypatch):
    holed = candles(1_000, holes=(857,))  # the test window is [850, 1000): seven bars before the hole, warm-up after it
    monkeypatch.setattr(dataset_module, "load_market", lambda market: holed)
    with pytest.raises(DataError, match=r"the test window \[850, 1000\) .* 10 bars after 220 bars"):
        build_dataset(SimulatorSpec(), WindowsSpec(), SPEC)


def test_segments_come_back_as_segments(folder):
    assert all(isinstance(segment, Segment) for segment in Dataset.load(folder).table.segments)


def test_every_fold_is_a_dataset_of_its_own_and_comes_back_with_its_pieces(tmp_path):
    spec = CombinatorialSpec(n_groups=4, n_validation_groups=2)
    market = candles(2_400)
    folds = [dataset_of(market, spec, SPEC, fold) for fold in range(n_folds(spec))]
    assert len({fold.fingerprint for fold in folds}) == len(folds) == 6
    assert len({str(fold.table.scaler.to_mapping()) for fold in folds}) == 6
    assert any(len(fold.windows.train) == 2 for fold in folds)
    for fold in folds[:2]:
        assert_equal(Dataset.load(fold.save(tmp_path / fold.fingerprint)), fold)
