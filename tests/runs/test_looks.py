"""Looks are recognised whatever the candles' file is called, and no driver, deletion or damage loses one."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ftray.market import Window
from ftray.runs.looks import Ledger, Look, LookKind
from ftray.runs.seen_bars import MAX_DAYS, SeenBars

from .seen import candles, ran, seen, study_bars

SAME_MARKET = {
    "the very candles": {},
    "a file with a day appended": {"days": 101},
    "a file that begins later": {"start": "2023-02-01", "days": 80},
    "one of the assets": {"symbols": "ETH"},
    "more assets": {"symbols": "BTC ETH SOL"},
    "longer bars": {"every": 4},
    "days": {"every": 24},
}


@pytest.mark.parametrize("change", SAME_MARKET.values(), ids=SAME_MARKET)
def test_the_same_market_is_recognised_in_another_file(change):
    ours, theirs = seen(candles()), seen(candles(**change))
    assert ours.overlap(theirs) and theirs.overlap(ours)


def test_renamed_assets_and_repaired_bars_are_the_same_market():
    market = candles()
    renamed = dataclasses.replace(market, symbols=("XBT", "ETHER"))
    repaired = dataclasses.replace(
        market, values=np.where(np.arange(len(market))[:, None, None] % 500 < 100, 1.01, 1.0) * market.values
    )
    assert seen(market).overlap(seen(renamed)) and seen(market).overlap(seen(repaired))


def test_prices_in_another_unit_are_the_same_market_and_prices_that_stand_still_say_nothing():
    market = candles()
    cents = dataclasses.replace(market, symbols=("X", "Y"), values=100 * market.values)
    assert seen(market).overlap(seen(cents))
    still, other = (
        dataclasses.replace(market, symbols=(name, name * 2), values=np.full_like(market.values, price))
        for name, price in (("X", 3.0), ("Y", 7.0))
    )
    assert not seen(still).overlap(seen(other)) and not seen(still).overlap(seen(market))


def test_other_prices_under_the_same_names_are_another_market():
    assert seen(candles()).overlap(seen(candles(seed=1))) is None


def test_windows_that_share_no_bar_do_not_overlap_and_those_that_share_one_do():
    market = candles()
    n = len(market)
    before, after, one_bar_earlier = (
        SeenBars.of(market, [window]) for window in (Window(0, n // 2), Window(n // 2, n), Window(n // 2 - 1, n))
    )
    assert before.overlap(after) is None
    assert before.overlap(one_bar_earlier) == ("2023-02-19T23:00:00", "2023-02-20T00:00:00")


def test_where_no_day_is_shared_the_symbols_decide():
    market = candles()
    morning = SeenBars.of(market, [Window(0, 6)])
    assert morning.days == () and morning.overlap(SeenBars.of(market, [Window(3, 9)]))
    assert morning.overlap(SeenBars.of(candles(symbols="SOL"), [Window(3, 9)])) is None


@pytest.mark.parametrize("days", [1, 31, 33, 399])
def test_a_window_of_any_length_keeps_few_days_that_a_longer_one_keeps_too(days):
    short, long = seen(candles(days), 0.0), seen(candles(400), 0.0)
    assert 1 <= len(short.days) <= MAX_DAYS and len(short.closes["BTC"]) == len(short.days)
    assert days < 33 or set(short.days) & set(long.days)


def test_a_look_is_written_when_a_trial_ends_and_once_however_often_it_is_resumed(tmp_path: Path):
    run = ran(tmp_path / "first", study_bars(candles()), 2)
    run.add_trial("trial-0002", 2, "trial", {}, {})
    for state in ("INTERRUPTED", "FAILED", "COMPLETE"):
        run.trial_started("trial-0002")
        run.trial_ended("trial-0002", state, {"validation/sharpe": 1.0}, error="lost" if state == "FAILED" else None)
    looks = Ledger(tmp_path).read().looks
    assert [(look.kind, look.study, look.run, look.trial) for look in looks] == [
        ("trial", "first", run.id, f"trial-000{number}") for number in range(3)
    ]
    assert all(look.bars == study_bars(candles()).validation for look in looks)


def test_what_saw_no_validation_bar_and_what_saw_a_simulator_is_no_look(tmp_path: Path):
    run = ran(tmp_path / "first", study_bars(candles()), 0)
    run.add_trial("trial-0000", 0, "trial", {}, {})
    run.add_trial("encoder-0123", None, "pretraining", {}, {})
    for job, metrics in (("trial-0000", {"env_steps": 128}), ("encoder-0123", {"validation_loss": 0.1})):
        run.trial_started(job)
        run.trial_ended(job, "FAILED", metrics, error="broken")
    ran(tmp_path / "second", study_bars(candles(), simulated=True), 2)
    assert Ledger(tmp_path).read() == ((), {})


def test_a_trial_whose_ratio_is_undefined_has_looked(tmp_path: Path):
    run = ran(tmp_path / "first", study_bars(candles()), 0)
    run.add_trial("trial-0000", 0, "trial", {}, {})
    run.record_look("trial-0000", {"validation/sharpe": None})
    assert len(Ledger(tmp_path).read().looks) == 1


def test_the_looks_of_a_run_folder_that_is_deleted_and_run_again_are_those_of_two(tmp_path: Path):
    for _ in range(2):
        run = ran(tmp_path / "first", study_bars(candles()), 3)
        shutil.rmtree(run.path)
    looks = Ledger(tmp_path).read().looks
    assert len(looks) == 6 and len({look.run for look in looks}) == 2


def test_drivers_that_record_the_same_look_write_the_same_object(tmp_path: Path):
    look = Look(LookKind.TRIAL, "first", "0123456789ab", "trial-0000", seen(candles()))
    Ledger(tmp_path).record(look)
    before = {path: path.read_bytes() for path in (tmp_path / ".looks").rglob("*.json")}
    Ledger(tmp_path).record(look)
    assert {path: path.read_bytes() for path in (tmp_path / ".looks").rglob("*.json")} == before and len(before) == 1


def test_two_reads_of_a_test_window_are_two_looks(tmp_path: Path):
    ledger = Ledger(tmp_path)
    times = ("2026-11-27T08:15:41.123456+00:00", "2026-11-27T08:15:41+00:00")
    for at in times:
        ledger.record(Look(LookKind.TEST_WINDOW, "first", "0123456789ab", "trial-0003", seen(candles()), at))
    read = ledger.read().looks
    assert sorted(look.at or "" for look in read) == ["2026-11-27T08:15:41.000000+00:00", times[0]]
    assert str(read[1]) == (
        "first, trial-0003: read the test window 2023-02-20T00:00:00 to 2023-04-11T00:00:00, at 2026-11-27 08:15 UTC"
    )


def test_an_entry_that_is_damaged_still_counts_by_its_name(tmp_path: Path):
    ran(tmp_path / "first", study_bars(candles()), 3)
    first, *_ = sorted((tmp_path / ".looks").rglob("*.json"))
    first.write_bytes(first.read_bytes()[:100])
    assert len(Ledger(tmp_path).read().looks) == 3


def test_entries_that_are_all_damaged_are_named_and_none_is_deleted(tmp_path: Path):
    run = ran(tmp_path / "first", study_bars(candles()), 2)
    for number, path in enumerate(sorted((tmp_path / ".looks").rglob("*.json"))):
        path.write_bytes([b"", json.dumps({"bars": {"closes": 3}}).encode()][number])
    looks, damaged = Ledger(tmp_path).read()
    assert looks == () and {key[2] for key in damaged} == {"trial-0000", "trial-0001"}
    assert all(key[:2] == (run.id, "trial") and (tmp_path / ".looks" / name).exists() for key, name in damaged.items())


def test_a_ledger_that_cannot_be_written_ends_no_trial(tmp_path: Path):
    (tmp_path / ".looks").write_text("a file where the folder must be")
    run = ran(tmp_path / "first", study_bars(candles()))
    assert run.record("trial-0000").state == "COMPLETE"


def test_a_ledger_on_object_storage_is_shared_by_machines(bucket: str, machine):
    machine("one")
    ran(f"{bucket}/runs/first", study_bars(candles()), 2)
    machine("two")
    ran(f"{bucket}/runs/second", study_bars(candles()), 1)
    machine("three")
    looks = Ledger(f"{bucket}/runs").read().looks
    assert [(look.study, look.trial) for look in looks] == [
        ("first", "trial-0000"),
        ("first", "trial-0001"),
        ("second", "trial-0000"),
    ]
    assert all(look.bars == study_bars(candles()).validation for look in looks)
