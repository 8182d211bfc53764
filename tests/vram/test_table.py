"""The VRAM table, and the formula for what it does not cover, held against what a real step allocates."""

import dataclasses
import json

import pytest
import torch

from ftray.errors import SpecError, TrainingError
from ftray.features import ObservationLayout
from ftray.nets import FTSpec, MLPSpec, actor_critic_parameters
from ftray.vram import measuring as measuring_room
from ftray.vram.gpus import MODELS, Gpu, Measured, canonical_name, local_gpu, measured_file, parse_gpu, read_measured
from ftray.vram.measuring import TrainingStep, describe_measured, keep, measure
from ftray.vram.table import (
    CONTEXT_GIB,
    FLOAT,
    GIB,
    NO_GRAD_CHUNK,
    REFERENCE,
    REFERENCE_BARS,
    TABLE,
    Worker,
    data_bytes,
    formula,
    no_grad_bytes,
    parameters,
    predicted,
    step_bytes,
)
from tests.vram.allocations import Allocations, saved_bytes

SMALL = ObservationLayout(("A", "B", "C"), ("w", "x", "y", "z"), 24)
FROZEN = {"pretrained": "weights.pth", "frozen": True}
BALANCED = Worker(FTSpec(), REFERENCE)

WORKERS = [
    Worker(FTSpec(), REFERENCE, 64),
    Worker(FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256), REFERENCE, 64),
    Worker(FTSpec(d_token=128, n_blocks=4, n_heads=8, encoding_dim=1024), REFERENCE, 16),
    Worker(FTSpec(patch_length=12), REFERENCE, 16),
    Worker(FTSpec(patch_length=7), SMALL, 64),
    Worker(FTSpec(patch_length=1, n_blocks=3), SMALL, 8),
    Worker(FTSpec(readout="forecasts"), REFERENCE, 32),
    Worker(FTSpec(fusion="early"), REFERENCE, 32),
    Worker(FTSpec(fusion="early", **FROZEN), REFERENCE, 32),
    Worker(FTSpec(activation_checkpointing=True, n_blocks=3), REFERENCE, 32),
    Worker(FTSpec(activation_checkpointing=True, n_blocks=1), REFERENCE, 32),
    Worker(FTSpec(readout="assets"), REFERENCE, 64),
    Worker(FTSpec(readout="assets", n_blocks=1, d_token=32, n_heads=2), SMALL, 64),
    Worker(FTSpec(readout="assets", fusion="early", patch_length=12), SMALL, 32),
    Worker(FTSpec(readout="assets", activation_checkpointing=True), REFERENCE, 32),
    Worker(FTSpec(readout="assets", **FROZEN), REFERENCE, 64),
    Worker(FTSpec(**FROZEN), REFERENCE, 64),
    Worker(MLPSpec(), REFERENCE, 256),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def step_of(worker: Worker) -> TrainingStep:
    return TrainingStep(dataclasses.replace(worker, n_bars=2_000, n_samples=256, no_grad=32), "cpu")


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.name)
def test_the_formula_bounds_what_a_real_step_holds_within_a_factor_of_two(worker):
    step = step_of(worker)
    fixed = [*step.encoder.parameters(), *step.heads.parameters(), step.table, step.bars, step.account]
    fixed += [step.vectors] if step.vectors is not None else []
    kept = saved_bytes(lambda: step._encode(step.worker.minibatch), but=fixed)
    step.train()  # moments are in place from here on
    step.optimiser.zero_grad(set_to_none=True)
    with Allocations() as allocations:
        step.train()
    bound = formula(step.worker)
    needed = bound.gradients + step_bytes(step.worker)
    assert 0 < kept <= step_bytes(step.worker)
    assert allocations.peak <= needed <= 2 * allocations.peak


@pytest.mark.parametrize("worker", [Worker(FTSpec(**FROZEN), REFERENCE, 64), Worker(MLPSpec(), REFERENCE, 256)])
def test_the_formula_leaves_room_for_dropout_of_what_the_heads_read(worker, monkeypatch):
    step = step_of(worker)
    encode = step._encode
    monkeypatch.setattr(step, "_encode", lambda n: torch.nn.functional.dropout(encode(n), 0.3))
    step.train()
    step.optimiser.zero_grad(set_to_none=True)
    with Allocations() as allocations:
        step.train()
    assert allocations.peak <= formula(step.worker).gradients + step_bytes(step.worker)


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.name)
def test_the_formula_bounds_a_pass_without_gradients(worker):
    step = step_of(worker)
    with Allocations() as allocations:
        step.infer()
    assert allocations.peak <= no_grad_bytes(step.worker) <= 4 * allocations.peak


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.name)
def test_weights_moments_and_data_are_those_of_a_real_learner(worker):
    step = step_of(worker)
    step.train()
    worker, (frozen, trained) = step.worker, parameters(worker)
    assert frozen + trained == actor_critic_parameters(worker.encoder, worker.layout)
    assert trained == sum(p.numel() for group in step.optimiser.param_groups for p in group["params"])
    moments = [state[name] for state in step.optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    # The last block's key bias gets no gradient: a softmax drops what it would add.
    unused = 2 * FLOAT * getattr(worker.encoder, "d_token", 0)
    assert formula(worker).moments - unused <= FLOAT * sum(m.numel() for m in moments) <= formula(worker).moments
    vectors = step.market_vectors() if step.vectors is None else step.vectors
    held = FLOAT * (step.table.numel() + (0 if vectors is None else vectors.numel()) + step.account.numel())
    assert held < data_bytes(worker) < held + 256 * 400


def test_a_frozen_encoder_carries_no_gradients_of_its_tower_and_a_cache_instead():
    frozen, tuned = (formula(dataclasses.replace(BALANCED, encoder=FTSpec(**more))) for more in (FROZEN, {}))
    assert frozen.weights == tuned.weights and frozen.data == tuned.data  # a backtest makes the same vectors
    assert frozen.gradients < tuned.gradients and frozen.activations < tuned.activations / 10


def test_smaller_parts_and_checkpointing_need_less_down_to_what_passes_without_gradients():
    needs = [step_bytes(dataclasses.replace(BALANCED, minibatch=n)) for n in (256, 128, 64, 32)]
    assert needs == sorted(needs, reverse=True) and needs[0] == 8 * needs[-1]
    deep, recomputed = (
        step_bytes(Worker(FTSpec(n_blocks=4, activation_checkpointing=way), REFERENCE)) for way in (False, True)
    )
    assert recomputed < 0.6 * deep


def test_an_attention_that_cuda_cannot_do_in_blocks_holds_its_maps():
    awkward, plain = (step_bytes(Worker(FTSpec(d_token=60, n_heads=n), REFERENCE)) for n in (6, 5))
    assert awkward - plain > 256 * 6 * 99 * 99 * FLOAT


def test_every_row_of_the_table_leaves_room_for_what_the_formula_finds():
    assert [row.gib for row in TABLE] == [0.85, 1.2, 1.8, 2.5, 3.5]
    for row in TABLE:
        assert formula(row.worker).gib() < row.gib
        assert predicted(row.worker) == (row.gib, "table")
        assert row.worker.layout.size == 5_888 and row.worker.minibatch == 256


@pytest.mark.parametrize(
    ("encoder", "gib"),
    [
        (FTSpec(d_token=128, n_blocks=3, n_heads=8, encoding_dim=1024), 3.5),  # the preset `large`
        (FTSpec(d_token=33, n_blocks=1, n_heads=3, encoding_dim=256), 1.8),
        (FTSpec(d_token=32, n_blocks=1, n_heads=8, encoding_dim=300), 1.8),
        (FTSpec(d_token=32, n_blocks=3, n_heads=8, encoding_dim=256), 2.5),
        (FTSpec(**FROZEN), 1.8),
        (MLPSpec(hidden=64, encoding_dim=64), 0.85),
    ],
)
def test_the_smallest_row_that_covers_a_worker_in_every_dimension_counts(encoder, gib):
    assert predicted(Worker(encoder, REFERENCE)) == (gib, "table")
    assert predicted(Worker(encoder, SMALL, minibatch=64)) == (gib, "table")


@pytest.mark.parametrize(
    "worker",
    [
        dataclasses.replace(BALANCED, minibatch=4_096),
        Worker(FTSpec(patch_length=1), REFERENCE),
        Worker(FTSpec(patch_length=2, fusion="early"), REFERENCE),
        Worker(MLPSpec(hidden=2_048), REFERENCE),
    ],
    ids=lambda worker: worker.name,
)
def test_what_no_row_covers_is_computed(worker):
    gib, source = predicted(worker)
    assert source == "formula" and gib == formula(worker).gib() > 0.85


@pytest.mark.parametrize(
    "larger",
    [
        {"minibatch": 257},
        {"encoder": FTSpec(patch_length=30)},
        {"encoder": FTSpec(fusion="early")},
        {"encoder": FTSpec(readout="assets")},
        {"layout": ObservationLayout(tuple("ABCDEFGH"), REFERENCE.indicators, 60)},
    ],
)
def test_a_larger_worker_never_gets_less_than_a_smaller_one_in_the_table(larger):
    assert predicted(dataclasses.replace(BALANCED, **larger))[0] >= 1.8


def test_an_env_runner_trains_nothing_and_takes_the_formula():
    gib, source = predicted(dataclasses.replace(BALANCED, minibatch=0, no_grad=16))
    need = formula(dataclasses.replace(BALANCED, minibatch=0, no_grad=16))
    assert source == "formula" and CONTEXT_GIB < gib < 1.0
    assert (need.gradients, need.moments) == (0, 0)


def test_a_market_longer_than_the_tables_is_added():
    longer = dataclasses.replace(BALANCED, n_bars=1_000_000)
    gib, source = predicted(longer)
    assert source == "table" and gib > 1.8 + (1_000_000 - REFERENCE_BARS) * (98 + 64) * FLOAT / GIB


def test_passes_without_gradients_are_no_larger_than_the_plan_counts_on():
    from ftray.agent.prefetch import BARS_PER_PASS

    assert BARS_PER_PASS <= NO_GRAD_CHUNK


def test_what_was_measured_is_kept_per_gpu_model_and_beats_the_table(cache):
    rtx = parse_gpu("RTX 3060")
    path = keep(rtx, [Measured(BALANCED.key, reserved_bytes=GIB // 2, context_bytes=GIB // 4)])
    assert path == cache / "vram" / "RTX 3060.json"
    keep(rtx, [Measured("another", 1, 1)])
    keep(rtx, [Measured(BALANCED.key, reserved_bytes=GIB, context_bytes=GIB // 4)])
    assert json.loads(path.read_text())["gpu"] == "RTX 3060" and list(path.parent.iterdir()) == [path]
    measured = parse_gpu("NVIDIA GeForce RTX 3060")
    assert sorted(row.key for row in measured.measured) == sorted([BALANCED.key, "another"])
    gib, source = measured.needs(BALANCED)
    assert source == "measured" and 1.25 < gib < 1.5  # what was measured, and a margin
    assert measured.context_gib == 0.25
    assert parse_gpu("T4").needs(BALANCED) == (1.8, "table")
    assert Gpu.from_mapping(json.loads(json.dumps(measured.to_mapping()))) == measured


@pytest.mark.parametrize(
    "other",
    [
        {"minibatch": 128},
        {"encoder": FTSpec(n_blocks=1)},
        {"encoder": FTSpec(**FROZEN)},
        {"encoder": FTSpec(activation_checkpointing=True)},
        {"encoder": FTSpec(fusion="early")},
        {"encoder": FTSpec(patch_length=30)},
        {"encoder": FTSpec(readout="assets")},
        {"layout": SMALL},
    ],
)
def test_a_measured_row_counts_for_exactly_what_was_measured(other):
    gpu = Gpu("X", 12.0, (Measured(BALANCED.key, GIB, 0),))
    assert gpu.needs(dataclasses.replace(BALANCED, **other))[1] != "measured"
    assert gpu.needs(dataclasses.replace(BALANCED, n_bars=10, n_samples=10))[1] == "measured"


def test_a_broken_file_of_measurements_is_reported():
    path = measured_file("T4")
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(SpecError, match=r"T4\.json must hold what was measured .* delete it and measure again"):
        read_measured("T4")


def test_known_models_are_found_under_every_name_and_unknown_ones_refused_with_the_nearest():
    assert all(canonical_name(name) == name for name in MODELS)
    assert parse_gpu("geforce-rtx-4090") == parse_gpu("NVIDIA GeForce RTX 4090")
    assert (parse_gpu("A100").gib, parse_gpu("A100-SXM4-80GB").gib, parse_gpu("24.0GiB").gib) == (39.38, 79.1, 24.0)
    with pytest.raises(SpecError, match="did you mean 'RTX 3060'"):
        parse_gpu("RTX 306")
    with pytest.raises(SpecError, match="a finite number of GiB above 0"):
        parse_gpu("0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_measuring_without_a_gpu_is_refused_with_the_reason():
    with pytest.raises(TrainingError, match="measuring needs a CUDA device"):
        next(measure([BALANCED]))


@pytest.mark.long
def test_a_measured_context_is_what_the_gpu_lost_beyond_what_pytorch_reserved(monkeypatch, cache):
    """The processes are real, and so is the pipe between them; the GPU's answers are not."""
    free = iter([10 * GIB, 10 * GIB - 700, 10 * GIB, 9 * GIB])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (next(free), 12 * GIB))
    monkeypatch.setattr(measuring_room, "_serve", fake_serve)
    monkeypatch.setattr(measuring_room, "local_gpu", lambda: Gpu("X", 12.0))
    small = dataclasses.replace(BALANCED, minibatch=8)
    (_, found), (_, nothing) = measure([small, dataclasses.replace(BALANCED, minibatch=9)])
    assert found == Measured(small.key, reserved_bytes=500, context_bytes=300)
    assert nothing is None
    assert read_measured("X") == (found,)


def test_predicted_and_measured_memory_are_printed_together():
    half, much = (Measured(BALANCED.key, gib * GIB // 4, GIB // 2) for gib in (2, 8))
    lines = list(describe_measured([(BALANCED, half), (BALANCED, much), (BALANCED, None)]))
    assert lines[1].split()[:5] == ["1.80", "table", "1.00", "0.50", "0.50"]
    assert lines[2].endswith("MORE THAN PREDICTED") and not lines[1].endswith("MORE THAN PREDICTED")
    assert "more than this GPU has" in lines[3] and len(lines) == 4


def fake_serve(pipe, worker):
    pipe.send((500, 400) if worker.minibatch == 8 else (None, None))
    pipe.recv()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_worker_stays_within_what_is_planned_for_it():
    """Contexts are measured by the GPU's free memory, which other tests change: the reserved bytes alone are held."""
    gpu = local_gpu()
    assert gpu is not None
    planned = dataclasses.replace(gpu, measured=())  # what is known before anything has been measured
    for worker, found in measure([row.worker for row in TABLE]):
        assert found is not None
        assert found.reserved_bytes < formula(worker).allocator
        assert found.reserved_bytes / GIB + planned.context_gib < planned.needs(worker)[0]


def test_a_context_that_takes_most_of_a_row_makes_the_row_give_way():
    """On an H100 a context takes 0.82 GiB: the MLP's row of 0.85 would book 82 learners, and 63 fit."""
    h100, rtx = parse_gpu("H100"), parse_gpu("RTX 3060")
    mlp, balanced = TABLE[0].worker, TABLE[2].worker
    assert rtx.needs(mlp) == (0.85, "table") and rtx.needs(balanced) == (1.8, "table")
    gib, source = h100.needs(mlp)
    assert source == "formula" and 1.07 < gib < 1.15  # 1.074 was measured
    assert h100.needs(balanced) == (1.8, "table")
