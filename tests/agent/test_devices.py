"""A process uses the GPU that it booked, no other, and no more of it than its share."""

import pytest
import torch

from ftray.agent.devices import Footing, check_footing, claim
from ftray.errors import TrainingError


def test_a_share_caps_what_the_process_may_allocate_and_no_share_touches_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: calls.append(given))
    claim(0.0)
    assert calls == []
    claim(0.14)
    assert calls == [(0.14, 0)]


def test_a_gpu_used_without_a_booking_or_booked_without_use_stops_the_trial():
    cpu, gpu, touched = Footing("cpu", False), Footing("cuda", True), Footing("cpu", True)
    check_footing({"learner": (gpu, 0.2), "env runner 1": (cpu, 0.0)})
    with pytest.raises(TrainingError, match="env runner 1 uses a CUDA device and booked none"):
        check_footing({"learner": (gpu, 0.2), "env runner 1": (gpu, 0.0)})
    with pytest.raises(TrainingError, match="learner uses a CUDA device and booked none"):
        check_footing({"learner": (touched, 0.0)})
    with pytest.raises(TrainingError, match=r"learner booked 0.2 of a GPU and computes on the cpu"):
        check_footing({"learner": (cpu, 0.2)})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_beyond_its_share_a_process_runs_out_of_memory_itself():
    total = torch.cuda.get_device_properties(0).total_memory
    claim(0.05)
    try:
        torch.empty(int(0.04 * total), dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.1 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
