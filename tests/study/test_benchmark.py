"""The study benchmark judges by what it says, shown on made-up records."""

import datetime
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import study as benchmark

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change


def record(start: float, end: float) -> SimpleNamespace:
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    started, ended = (at + datetime.timedelta(seconds=second) for second in (start, end))
    return SimpleNamespace(started_at=started, ended_at=ended)


def test_what_a_trial_loses_counts_from_the_end_of_the_one_that_made_room_for_it():
    records = [record(0, 14), record(0, 11), record(11.5, 22), record(14.1, 24.5)]  # two at once, 10 s each
    assert benchmark.lost(records, at_once=2, seconds=10.0) == pytest.approx([1.0, 0.5])


def test_overhead_is_counted_when_all_processes_run():
    records = [record(0, end) for end in (30, 31, 33, 34, 36, 37)]  # two at once, 2 s each, and 1.5 s per trial
    assert benchmark.overhead(records, at_once=2, seconds=2.0) == pytest.approx(4 / 3 - 1)


def test_targets_are_checked_at_their_limits():
    def judged(lost: float, growth: float, seconds: float) -> list[bool]:
        row = {"lost_per_trial": lost, "memory": {"growth": growth}}
        rows = [{"name": name, **row} for name in benchmark.STUDIES]
        return [verdict["met"] for verdict in benchmark.verdicts(rows, {"records_seconds": seconds})]

    assert judged(1.19, 0.09, 0.99) == [True] * 4
    assert judged(1.21, 0.11, 1.01) == [False] * 4


def test_growth_compares_the_last_quarter_with_the_one_before():
    memory = benchmark.Memory()
    memory.samples = [(float(second), 2**20 * (100 if second < 30 else 120)) for second in range(40)]
    assert memory.growth()["growth"] == pytest.approx(0.2)


def test_optuna_is_asked_after_the_trials_that_it_is_said_to_know():
    asked = benchmark.asking(30)
    assert asked["n_trials"] == 30 and asked["ask_seconds"] > 0.0 and asked["continue_seconds"] > 0.0


def test_the_trials_that_are_read_are_whole():
    read = benchmark.read_many(30)
    assert read["n_trials"] == 30 and 0.0 < read["records_seconds"] <= read["leaderboard_seconds"]
