"""The best of ten studies is the best of ten, wherever they lie, and a test window is new once."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftray.analysis.looks import bars_of, count_also, earlier_reads, looks_elsewhere, restore_looks
from ftray.analysis.luck import luck_of
from ftray.analysis.studies import open_studies
from ftray.analysis.test_window import record_read
from ftray.errors import RunFolderError
from ftray.features import FeatureSpec, dataset_of
from ftray.market import WalkForwardSpec, WindowsSpec
from ftray.runs import RunFolder
from ftray.runs.looks import Ledger, Look, LookKind
from ftray.runs.records import TrialRecord
from ftray.runs.seen_bars import StudyBars

from ..runs.seen import candles, ran, seen, study_bars

OURS = study_bars(candles())
FEATURES = FeatureSpec(lookback=8, indicators=("close",))


def n_elsewhere(run: RunFolder) -> float:
    return looks_elsewhere(run).n


def here(n: int, **metrics: Any) -> list[TrialRecord]:
    """Trials of the study itself."""
    return [TrialRecord(f"trial-{i}", i, "trial", "COMPLETE", {}, {}, metrics) for i in range(n)]


def test_ten_studies_of_one_trial_are_ten_looks_for_each_of_them(tmp_path: Path):
    runs = [ran(tmp_path / f"study-{i}", OURS) for i in range(10)]
    assert [n_elsewhere(run) for run in runs] == [9] * 10
    (line,) = looks_elsewhere(runs[9]).describe(here(1))
    assert line == (
        "looks at these validation bars: 1 trial here, 9 in 9 other studies "
        "(study-0, study-1, study-2, study-3, study-4, ...)"
    )


def passes(sharpes: np.ndarray, others: list[int]) -> float:
    """How often at least one of the studies is convincing. sharpes: (repeats, studies), annual, of a year of daily
    returns without skill. others: looks elsewhere that each study counts."""
    plain = {"skewness": 0.0, "kurtosis": 3.0, "n_bars": 365.0, "years": 1.0}
    convincing = np.zeros(len(sharpes), bool)
    for ratios, n in zip(sharpes.T, others, strict=True):
        for i, ratio in enumerate(ratios):
            metrics = {f"validation/{name}": value for name, value in {**plain, "sharpe": ratio}.items()}
            luck = luck_of(metrics, {}, 1, float(1 + n), n_elsewhere=n)
            convincing[i] |= luck is not None and luck.clears
    return convincing.mean()


def test_a_trial_that_selects_among_its_evaluations_is_as_many_looks_for_other_studies(tmp_path: Path):
    ours, theirs = ran(tmp_path / "ours", OURS), ran(tmp_path / "theirs", OURS, 0)
    for trial, evaluations, folds in (("trial-0000", 20, 1), ("trial-0001", 5, 3), ("trial-0002", 30, 20)):
        windows = {"kind": "walk_forward", "n_folds": folds}
        theirs.add_trial(trial, int(trial[-1]), "trial", {}, {"market": {"kind": "files"}, "windows": windows})
        theirs.trial_started(trial)
        theirs.record_look(trial, {"validation/sharpe": 1.0, "selected/evaluations": 1})  # on the way
        theirs.trial_ended(trial, "INTERRUPTED", {"validation/sharpe": 1.0, "selected/evaluations": 2})
        theirs.trial_started(trial)
        theirs.trial_ended(trial, "COMPLETE", {"validation/sharpe": 1.0, "selected/evaluations": evaluations})
    n = {look.trial: look.n for look in looks_elsewhere(ours).validation}
    assert n == {"trial-0000": 20, "trial-0001": 125, "trial-0002": 4e29}  # 30^20 = 3.49e29, rounded up
    (line,) = looks_elsewhere(ours).describe(here(2, **{"selected/evaluations": 7}))
    assert line == "looks at these validation bars: 2 trials (14 looks) here, 4e+29 in 1 other study (theirs)"
    shutil.rmtree(tmp_path / ".looks")
    assert {look.trial: look.n for look in looks_elsewhere(ours).validation} == {**n, "trial-0002": 30.0**20}
    restore_looks(ours)
    assert {look.trial: look.n for look in looks_elsewhere(ours).validation} == n


def test_ten_studies_without_skill_pass_once_in_a_hundred_where_each_knows_the_others():
    returns = np.random.default_rng(0).normal(0.0, 0.01, (1_000, 10, 365))
    sharpes = returns.mean(axis=-1) / returns.std(axis=-1, ddof=1) * np.sqrt(365)
    assert passes(sharpes, [0] * 10) == pytest.approx(1 - 0.95**10, abs=0.045)  # 3 standard errors: 40 %
    assert passes(sharpes, [9] * 10) <= 0.02
    assert passes(sharpes, list(range(10))) <= 0.12  # each promoted before the next one begins


def test_trials_and_reads_of_other_bars_are_not_counted(tmp_path: Path):
    run = ran(tmp_path / "ours", OURS)
    ran(tmp_path / "later", StudyBars(seen(candles(), 0.75, 0.9), seen(candles(), 0.9, 1.0), False), 2)
    ran(tmp_path / "another-market", study_bars(candles(seed=1)), 3)
    ran(tmp_path / "simulated", study_bars(candles(), simulated=True), 4)
    assert n_elsewhere(run) == 0 and n_elsewhere(RunFolder.open(tmp_path / "simulated")) == 0


def test_looks_of_deleted_run_folders_count_and_each_study_of_one_name_by_itself(tmp_path: Path):
    for _ in range(2):
        shutil.rmtree(ran(tmp_path / "ours", OURS, 3).path)
    run = ran(tmp_path / "ours", OURS, 1)
    found = looks_elsewhere(run)
    assert found.n == 6 and found.describe(here(1))[0].endswith("1 trial here, 6 in 2 other studies (ours)")


def test_a_copy_of_a_run_folder_adds_no_look(tmp_path: Path):
    run, other = ran(tmp_path / "ours", OURS, 3), ran(tmp_path / "other", OURS, 2)
    for name in ("ours", "other"):
        shutil.copytree(tmp_path / name, tmp_path / f"copy of {name}")
    assert n_elsewhere(run) == 2 and n_elsewhere(other) == 3


def test_a_read_through_a_copy_or_before_a_backup_was_restored_is_known(tmp_path: Path):
    run = ran(tmp_path / "ours", OURS, 3)
    for name in ("copy", "backup"):
        shutil.copytree(run.path, tmp_path / name)
    record_read(run, "trial-0001", (7,), ({"sharpe": 1.0, "total_return": 0.1},), forced=())
    assert earlier_reads(run) == []
    assert [look.trial for look in earlier_reads(RunFolder.open(tmp_path / "copy"))] == ["trial-0001"]
    shutil.rmtree(run.path)
    (tmp_path / "backup").rename(run.path)
    restored = RunFolder.open(run.path)
    assert [look.trial for look in earlier_reads(restored)] == ["trial-0001"] and n_elsewhere(restored) == 0


def test_studies_in_other_places_count_if_they_are_named_and_from_then_on(tmp_path: Path):
    run = ran(tmp_path / "here" / "ours", OURS)
    ran(tmp_path / "there" / "a", OURS, 2)
    ran(tmp_path / "there" / "b", OURS, 4)
    assert n_elsewhere(run) == 0
    count_also(run, [tmp_path / "there" / "a"])
    assert n_elsewhere(run) == 2
    count_also(run, [tmp_path / "there"])
    count_also(run, [])
    assert n_elsewhere(RunFolder.open(run.path)) == 6
    with pytest.raises(RunFolderError, match=r"search\.also_counts must name run folders"):
        count_also(run, [tmp_path / "nowhere"])
    shutil.rmtree(tmp_path / "there")
    assert set(looks_elsewhere(run).not_counted) == {
        f"looks in {tmp_path / name}, where this machine sees no run folders" for name in ("there", "there/a")
    }


def test_a_ledger_that_is_lost_is_counted_from_the_run_folders_and_written_again(tmp_path: Path):
    runs = [ran(tmp_path / name, OURS, 2) for name in ("ours", "other")]
    record_read(runs[1], "trial-0001", (7,), ({"sharpe": 1.0, "total_return": 0.1},), forced=())
    before = {path: path.read_bytes() for path in (tmp_path / ".looks").rglob("*.json")}
    shutil.rmtree(tmp_path / ".looks")
    assert n_elsewhere(runs[0]) == 2 and not (tmp_path / ".looks").exists()
    lines: list[str] = []
    restore_looks(runs[0], lines.append)
    assert {path: path.read_bytes() for path in (tmp_path / ".looks").rglob("*.json")} == before and len(before) == 5
    restore_looks(runs[0], lines.append)
    assert lines == [f"5 looks of run folders in {tmp_path} were missing in its ledger: now it has them"]


def test_damaged_entries_are_written_again_from_run_folders_and_otherwise_named(tmp_path: Path):
    run, other = ran(tmp_path / "ours", OURS), ran(tmp_path / "other", OURS, 2)
    before = {path: path.read_bytes() for path in (tmp_path / ".looks" / "other").glob("*.json")}
    for path in before:
        path.write_bytes(b"{")
    assert n_elsewhere(run) == 2
    restore_looks(run, lambda line: None)
    assert {path: path.read_bytes() for path in before} == before
    for path in before:
        path.write_bytes(b"{")
    shutil.rmtree(other.path)
    found = looks_elsewhere(run)
    (line,) = found.describe(here(1))
    assert found.n == 0 and line.startswith(
        f"not counted: 2 damaged entries of deleted run folders in {tmp_path}/.looks"
    )


def test_a_run_folder_that_cannot_be_read_is_named_and_counts_by_its_ledger(tmp_path: Path):
    run, other = ran(tmp_path / "ours", OURS), ran(tmp_path / "other", OURS, 2)
    (other.path / "study.json").write_text("{")
    assert looks_elsewhere(run).describe(here(1))[0].endswith("2 in 1 other study (other)")
    shutil.rmtree(tmp_path / ".looks")
    (line,) = looks_elsewhere(run).describe(here(1))
    assert line.startswith("not counted: ") and "as it cannot be read" in line


def test_a_second_read_of_a_test_window_through_another_study_is_known(tmp_path: Path):
    first, second = ran(tmp_path / "first", OURS), ran(tmp_path / "second", study_bars(candles(days=101)))
    assert earlier_reads(second) == []
    record_read(first, "trial-0000", (7,), ({"sharpe": 1.0, "total_return": 0.1},), forced=())
    (read,) = earlier_reads(second)
    assert (read.kind, read.study, read.run, read.trial) == ("test_window", "first", first.id, "trial-0000")
    assert read.at == first.events()[-1]["at"]
    assert earlier_reads(first) == []  # its own reads are in its own run folder
    shutil.rmtree(first.path)
    assert earlier_reads(second) == [read]


def test_a_validation_window_that_was_read_as_a_test_window_is_said_to_be_no_longer_new(tmp_path: Path):
    first = ran(tmp_path / "first", OURS)
    later = ran(tmp_path / "later", StudyBars(seen(candles(), 0.7, 0.9), None, False))
    record_read(first, "trial-0000", (7,), ({"sharpe": 1.0, "total_return": 0.1},), forced=())
    found = looks_elsewhere(later)
    assert found.n == 2  # its trial and its read
    head, among, read = found.describe(here(3))
    assert head == "looks at these validation bars: 3 trials here, 2 in 1 other study (first)"
    assert "not new to this search" in among and "first, trial-0000: read the test window" in read
    (line,) = looks_elsewhere(first).describe(here(1))[1:]
    assert line == "the test window shares bars with validation windows: 1 in 1 other study (later)"


def test_a_look_at_later_candles_is_a_read_of_the_test_window_that_has_them(tmp_path: Path):
    run = ran(tmp_path / "ours", OURS)
    Ledger(tmp_path).record(
        Look(LookKind.LATER, "old", "0123456789ab", "trial-0003", seen(candles(200), 0.4, 0.5), "2026-11-27T08:00:00")
    )
    assert [look.kind for look in earlier_reads(run)] == ["later"]


def test_a_look_at_later_candles_that_the_ledger_has_lost_is_counted_from_its_run_folder(tmp_path: Path):
    run, other = ran(tmp_path / "ours", OURS), ran(tmp_path / "other", OURS, 0)
    bars = dataclasses.asdict(seen(candles(200), 0.4, 0.5))
    for simulated in (False, True):
        other.append_event("later_candles_read", trial="trial-0003", bars=bars, simulated=simulated)
    (read,) = earlier_reads(run)
    assert (read.kind, read.study, read.trial) == ("later", "other", "trial-0003")
    restore_looks(run, lambda line: None)
    shutil.rmtree(other.path)
    assert earlier_reads(run) == [read]


def stored(run: RunFolder, windows: WindowsSpec | WalkForwardSpec, folds: int = 1) -> None:
    """Prepares the data of a study, as its driver does."""
    for fold in range(folds):
        dataset = dataset_of(candles(), windows, FEATURES, fold)
        dataset.save(run.path / "data" / dataset.fingerprint)


def test_a_study_of_an_earlier_version_counts_by_its_prepared_data(tmp_path: Path):
    old = ran(tmp_path / "old", None, 2)
    stored(old, WalkForwardSpec(n_folds=2), 2)
    assert not (tmp_path / ".looks").exists()
    bars = bars_of(old)
    assert bars is not None and len(bars.validation.windows) == 2 and bars.test_window is not None
    run = ran(tmp_path / "new", bars)
    assert n_elsewhere(run) == 2 and n_elsewhere(old) == 1
    restore_looks(run, lambda line: None)
    shutil.rmtree(old.path)
    assert n_elsewhere(run) == 2


def test_a_study_of_an_earlier_version_without_its_data_counts_if_it_had_the_same_candles(tmp_path: Path):
    old = ran(tmp_path / "old", None, 2)  # on the candles that `ran` gives to all studies
    run = ran(tmp_path / "new", OURS)
    assert n_elsewhere(run) == 2
    content = (old.path / "study.json").read_text()
    (old.path / "study.json").write_text(content.replace("0123456789abcdef", "f" * 16))
    found = looks_elsewhere(run)
    assert found.n == 0 and found.not_counted == (
        f"{old.where}, as it records no windows, and its prepared data are gone",
    )
    (problem,) = looks_elsewhere(old).not_counted
    assert problem.startswith(f"looks of other studies (1), as {old.where} records no windows")


def test_the_ledger_is_no_study(tmp_path: Path):
    ran(tmp_path / "ours", OURS)
    assert list(open_studies(tmp_path)) == ["ours"]


def test_looks_on_object_storage_count_for_every_machine(bucket: str, machine):
    machine("one")
    for name in ("first", "second"):
        run = ran(f"{bucket}/counted/{name}", OURS, 2)
        run.sync("study.json", "events.jsonl")
    machine("two")
    run = RunFolder.open(f"{bucket}/counted/first")
    assert n_elsewhere(run) == 2 and list(open_studies(f"{bucket}/counted")) == ["first", "second"]
    assert run.mirror is not None
    run.mirror.parent.delete("second")
    assert n_elsewhere(run) == 2
    run.mirror.parent.delete(".looks")
    assert n_elsewhere(run) == 0
