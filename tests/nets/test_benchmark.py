"""The encoder benchmark measures what it says, judged on cases of a few milliseconds."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import encoder as benchmark
import vram
from measuring import Meter, in_processes, reference_layout, table

pytestmark = pytest.mark.long  # users do not install the benchmarks, and they seldom change

SMALL = benchmark.Case(benchmark.FT, 106, 4, 60)
SMALL_WORKER = vram.Worker(vram.FTSpec(), reference_layout(988), minibatch=128, no_grad=16)


@pytest.mark.parametrize(
    "case",
    [
        SMALL,
        benchmark.Case(benchmark.FT, 106, 4, 1, bars=2),
        benchmark.Case(benchmark.MLP, 106, 4),
        benchmark.Case(benchmark.RTDL, 106, 4),
    ],
    ids=lambda case: case.name,
)
def test_every_kind_of_case_has_a_row(case):
    row = benchmark.row_of(case, list(benchmark.timings(case, "cpu", quick=True)))
    assert row["repetitions"] == benchmark.ROUNDS[True]
    assert 0.0 < row["forward_seconds"] < row["both_seconds"]
    assert 2.0 < row["both_flops"] / row["forward_flops"] < 4.0
    assert row["samples_per_second"] == pytest.approx(1.0 / row["both_seconds"])
    assert 0.0 < row["both_share"] < 1.0
    assert row["parameters"] > 5_000
    assert json.loads(json.dumps(row)) == row


def test_operations_are_those_of_an_mlp_and_shared_bars_save_them():
    alone, shared = benchmark.Case(benchmark.MLP, 106, 8), benchmark.Case(benchmark.MLP, 106, 8, bars=2)
    market, rest = 2 * 98 * 512, 2 * (8 * 512 + 512 * 512)
    assert benchmark._flops(alone)["forward_flops"] == market + rest
    assert benchmark._flops(shared)["forward_flops"] == market / 4 + rest


def test_memory_is_the_peak_above_the_bare_process():
    meter = Meter("cpu")
    block = bytearray(b"1") * 200_000_000
    del block
    assert 190e6 < meter.peak() < 300e6
    assert meter.peak() < 100e6


@pytest.mark.parametrize("by_turns", [True, False])
def test_results_of_processes_stay_with_their_case(by_turns):
    assert in_processes(iter, [[1, 2, 3], [4]], by_turns=by_turns) == [[1, 2, 3], [4]]


def test_a_case_runs_in_a_process_of_its_own():
    ((needs, *repetitions),) = in_processes(benchmark.timings, [SMALL], "cpu", True)
    assert needs["parameters"] > 5_000 and len(repetitions) == benchmark.ROUNDS[True]


def test_a_workers_memory_is_measured_for_inference_and_training():
    # In a process of its own: this one may hold more free memory than so small a worker needs.
    ((needed,),) = in_processes(vram.worker_memory, [SMALL_WORKER], "cpu", by_turns=False)
    assert 0 < needed["inference_bytes"] < needed["training_bytes"]


def test_the_workers_are_the_rows_of_the_vram_table_at_5888_features():
    rows = [vram.worker_row(worker, {}) for worker in (*vram.WORKERS, vram.LITERAL)]
    assert [row["promised"] for row in rows] == [0.85, 1.2, 1.8, 2.5, 3.5, None]
    assert {(row["batch"], row["features"]) for row in rows} == {(256, reference_layout(5_888).size)}
    assert json.loads(json.dumps(rows)) == rows


def test_targets_are_checked_at_their_limits():
    def rows(**changes):
        seconds = {benchmark.KNOWN: 60.0, benchmark.OURS: 1.0, benchmark.BASELINE: 0.2}
        seconds |= {benchmark.OURS_SHARED: 0.3, benchmark.BASELINE_SHARED: 0.2, benchmark.LITERAL_CASE: 1.0}
        seconds |= {getattr(benchmark, name): value for name, value in changes.items()}
        return {case: {"both_seconds": value, "both_bytes": 0.5e9} for case, value in seconds.items()}

    assert all(target["met"] for target in benchmark.targets(rows()))
    assert [target["met"] for target in benchmark.targets(rows(KNOWN=59.9))] == [False, True, True, True, True]
    assert [target["met"] for target in benchmark.targets(rows(OURS_SHARED=0.4))] == [True, True, False, False, True]
    assert [target["met"] for target in benchmark.targets(rows(BASELINE=0.125))] == [True, False, False, True, True]


def test_every_case_of_a_target_is_in_the_quick_run():
    judged = {benchmark.OURS, benchmark.OURS_SHARED, benchmark.BASELINE, benchmark.BASELINE_SHARED}
    assert judged | {benchmark.LITERAL_CASE, benchmark.KNOWN} <= set(benchmark.QUICK)
    assert {case.features for case in (*benchmark.QUICK, *benchmark.REST)} == {106, 988, 5_888}


def test_a_table_is_aligned():
    rows = [{"name": "a", "n": 1}, {"name": "longer", "n": 1_000}]
    lines = table({"encoder": lambda row: row["name"], "n": lambda row: f"{row['n']:,}"}, rows).splitlines()
    assert lines == ["encoder      n", "a            1", "longer   1,000"]


def test_on_a_gpu_memory_is_what_was_reserved_and_seconds_are_wall_time(monkeypatch):
    calls, reserved = [], iter([0, 700, 900])
    for name in ("init", "synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: calls.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: next(reserved))
    meter = Meter("cuda")
    assert meter.seconds(lambda: time.sleep(0.02)) >= 0.02  # no processor time
    assert (meter.peak(), meter.peak()) == (700, 900)
    assert calls.count("synchronize") == 2 and calls.count("reset_peak_memory_stats") == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_case_and_a_worker_run_on_a_gpu():
    row = benchmark.row_of(SMALL, list(benchmark.timings(SMALL, "cuda", quick=True)))
    assert row["both_bytes"] > 0
    (needed,) = vram.worker_memory(SMALL_WORKER, "cuda")
    # Inference of so small a model may fit into memory that the process already holds.
    assert 0 <= needed["inference_bytes"] < needed["training_bytes"]


def test_a_gpu_too_small_is_said_and_no_crash(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Meter, "seconds", full)
    (needed,) = vram.worker_memory(SMALL_WORKER, "cpu")
    row = vram.worker_row(SMALL_WORKER, needed)
    assert vram.worker_table([row]).splitlines()[1].split("  ")[-1].strip() == "nothing"
    assert vram.worker_table([row]).count("out of memory") == 2
