"""Vectors of a frozen encoder: one process computes them, on the device that its job holds, in passes that fit."""

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from ftray.agent import vectors
from ftray.agent.module import FTPolicy
from ftray.agent.vectors import MAX_BARS, bars_at_once, market_vectors, write_market_vectors
from ftray.features import Dataset
from ftray.nets import FTSpec, Policy, PolicyNetwork, build_encoder, load_policy, market_state_dict
from ftray.pretraining import PretrainingSpec, pretrain
from ftray.spec import to_mapping
from ftray.vram.plan import GpuShares
from ftray.vram.table import GIB, REFERENCE, TABLE

FT = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8, pretrained="auto", frozen=True)
HALF = GpuShares(learner=0.5, learner_cap_gib=0.25, planned_gib=1.0)


def random_weights(dataset: Dataset, path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"encoder_state_dict": market_state_dict(build_encoder(FT, dataset.layout))}, path)
    return path


@pytest.fixture
def weights(dataset, tmp_path) -> Path:
    return random_weights(dataset, tmp_path / "weights.pth")


def test_the_file_holds_every_decision_bar_of_train_and_validation_and_none_of_the_test_window(
    dataset, weights, tmp_path
):
    path = write_market_vectors(FT, weights, dataset, tmp_path)
    known = np.isfinite(np.load(path)).all(axis=1)
    windows = (*dataset.windows.train, *dataset.windows.validation)
    np.testing.assert_array_equal(np.flatnonzero(known), dataset.table.decision_bars(windows))
    assert not known[dataset.windows.test.start :].any()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, weights.name}


def test_queries_of_assets_go_from_pre_training_through_frozen_vectors_into_a_policy(dataset, tmp_path):
    encoder = dataclasses.replace(FT, readout="assets", pretrained="none", frozen=False)
    job = PretrainingSpec(epochs=1, windows_per_epoch=64, batch_size=32, horizon=6, device="cpu", return_weight=0.3)
    weights = pretrain(encoder, job, dataset, tmp_path / "job").path
    frozen = dataclasses.replace(encoder, pretrained=str(weights), frozen=True)
    path = write_market_vectors(frozen, weights, dataset, tmp_path)
    bars = dataset.table.decision_bars(dataset.windows.validation)[:20]
    module = RLModuleSpec(
        module_class=FTPolicy,
        observation_space=gymnasium.spaces.Box(0, 2**24, (dataset.layout.compact_size,), np.float32),
        action_space=gymnasium.spaces.Box(-1, 1, (dataset.layout.n_assets,), np.float32),
        model_config={"encoder": to_mapping(frozen), "dataset": str(dataset.save(tmp_path / "data")),
                      "weights": str(weights), "market_vectors": str(path)},
    ).build()  # fmt: skip
    assert module.market_vectors.shape == (len(dataset.candles), dataset.layout.n_assets * frozen.d_token)
    assert not any(parameter.requires_grad for parameter in module.encoder.tower.readout.parameters())
    assert module.encoder.projection.weight.requires_grad
    account = np.tile(np.eye(1, dataset.layout.n_account, dtype=np.float32), (len(bars), 1))
    torch.nn.init.normal_(module.policy_head[-1].weight)
    Policy(PolicyNetwork(module.encoder, module.policy_head), dataset.table.scaler, {}).save(tmp_path / "policy")
    expected = load_policy(tmp_path / "policy")(dataset.table.observation(bars, account))
    np.testing.assert_allclose(module.act(bars, account), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_a_job_with_a_gpu_share_sets_its_cap_before_anything_is_on_the_gpu(dataset, weights, tmp_path, monkeypatch):
    class ClaimedError(Exception):
        pass

    def cap_gpu_memory(*caps: float) -> None:
        raise ClaimedError(caps)

    monkeypatch.setattr(vectors, "cap_gpu_memory", cap_gpu_memory)
    with pytest.raises(ClaimedError) as claimed:
        write_market_vectors(FT, weights, dataset, tmp_path, HALF)
    assert claimed.value.args[0][0] == HALF.learner_cap_gib
    assert {file.name for file in tmp_path.iterdir()} == {weights.name}  # the next job is not blocked
    write_market_vectors(FT, weights, dataset, tmp_path)  # a job on the CPU claims nothing


class Full:
    """A market tower on a GPU that has room for so many bars."""

    d_market, layout, training = 1, REFERENCE, False

    def __init__(self, room: int):
        self.room, self.passes = room, []

    def market(self, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.passes.append(len(windows))
        return windows[:, :1, -1]

    def eval(self) -> None:
        pass

    def train(self, mode: bool) -> None:
        pass


def test_where_a_gpu_runs_out_of_memory_passes_halve_and_every_bar_has_its_vector():
    table = torch.arange(200.0)[:, None].expand(200, REFERENCE.n_series).contiguous()
    bars, tower = np.arange(100, 200), Full(room=20)
    found = market_vectors(tower, table, bars, at_once=64)  # type: ignore[arg-type]
    torch.testing.assert_close(found[100:, 0], table[100:, 0])
    assert found[:100].isnan().all() and tower.passes == [16] * 6 + [4]
    with pytest.raises(torch.OutOfMemoryError):
        market_vectors(Full(room=0), table, bars)  # type: ignore[arg-type]


def test_passes_are_larger_on_a_gpu_where_its_memory_allows_and_smaller_where_it_does_not():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    balanced = FTSpec(pretrained="auto", frozen=True)
    per_feature = FTSpec(pretrained="auto", frozen=True, patch_length=1)
    assert bars_at_once(balanced, REFERENCE, cpu) == bars_at_once(per_feature, REFERENCE, cpu) == 128
    assert 1_000 < bars_at_once(balanced, REFERENCE, gpu) <= MAX_BARS
    # A token per feature: 9 streams of 5,889 × 64 floats a bar; 128 bars would be 1.6 GiB.
    assert 30 <= bars_at_once(per_feature, REFERENCE, gpu) <= vectors.GPU_PASS_BYTES / (9 * 5_889 * 64 * 4)
    smallest = min(row.gib for row in TABLE if row.worker.encoder.kind == "ft")
    assert (smallest - 0.5) * GIB > vectors.GPU_PASS_BYTES


@pytest.fixture
def shared(tmp_path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def test_of_two_jobs_that_need_the_same_vectors_one_computes_and_the_other_waits_and_finds_them(
    dataset, weights, shared, monkeypatch
):
    both_ask, computed, compute = threading.Barrier(2), [], vectors.market_vectors

    def counted(*given):
        computed.append(threading.current_thread())
        time.sleep(0.5)  # the other has asked: it would compute by now, if nothing held it
        return compute(*given)

    def ask(_: int) -> str:
        both_ask.wait()
        return write_market_vectors(FT, weights, dataset, shared).name

    monkeypatch.setattr(vectors, "market_vectors", counted)
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(ask, range(2)))
    assert len(computed) == 1 and names[0] == names[1]
    assert [file.name for file in shared.iterdir()] == [names[0]]


def test_what_a_killed_process_left_blocks_no_process_and_is_removed(dataset, weights, shared):
    path = write_market_vectors(FT, weights, dataset, shared)
    whole = path.read_bytes()
    path.rename(shared / f".{path.name}-a1b2").write_bytes(b"half a file")
    (shared / f".{path.stem}.lock").write_text("killed:1")
    assert write_market_vectors(FT, weights, dataset, shared).read_bytes() == whole
    assert [file.name for file in shared.iterdir()] == [path.name]
