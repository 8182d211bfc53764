"""A trial with a frozen encoder hands what it booked on a GPU to what computes the encoder's vectors."""

import dataclasses

import pytest
import torch

from ftray.agent import vectors
from ftray.errors import OutOfMemoryError
from ftray.features import FeatureSpec
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import FTSpec, build_encoder, market_state_dict
from ftray.trial import TrialSpec, prepare_dataset
from ftray.trial import run as running
from ftray.trial.run import starting_weights
from ftray.vram.plan import GpuShares

HALF = GpuShares(learner=0.5, learner_cap_gib=0.25, planned_gib=1.0)


@pytest.fixture
def trial(tmp_path):
    spec = TrialSpec(
        market=SimulatorSpec(n_assets=2, n_bars=800),
        windows=WindowsSpec(holding=6),
        features=FeatureSpec(lookback=8, indicators=("close", "volume", "rsi")),
    )
    _, dataset = prepare_dataset(spec, tmp_path)
    encoder = FTSpec(d_token=32, n_blocks=1, n_heads=2, encoding_dim=256, patch_length=8)
    state = market_state_dict(build_encoder(encoder, dataset.layout))
    trained = [dataset.times(window) for window in dataset.windows.train]
    torch.save({"encoder_state_dict": state, "train_windows": trained}, tmp_path / "weights.pth")
    frozen = dataclasses.replace(encoder, pretrained=str(tmp_path / "weights.pth"), frozen=True)
    return dataclasses.replace(spec, encoder=frozen), dataset


def test_the_vectors_are_computed_within_the_share_of_its_learner(trial, tmp_path, monkeypatch):
    claimed = []
    monkeypatch.setattr(vectors, "_capped_device", lambda gpus: claimed.append(gpus) or torch.device("cpu"))
    _, path = starting_weights(*trial, tmp_path, HALF)
    assert claimed == [HALF] and path is not None
    starting_weights(*trial, tmp_path, HALF)  # the file is there
    assert claimed == [HALF]


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_share_without_room_for_them_is_out_of_memory_like_any_step_of_the_trial(trial, tmp_path, monkeypatch):
    def full(gpus: GpuShares) -> torch.device:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vectors, "_capped_device", full)
    with pytest.raises(OutOfMemoryError, match="learner did not"):
        running.run_trial(trial[0], lambda *row, **more: None, folder=tmp_path / "trial", shared=tmp_path)
