"""A process uses the GPU that it booked, no other, and no more of it than its share."""

import pytest

from ftray.agent.devices import DevicePlacement, cap_gpu_memory, check_devices
from ftray.errors import TrainingError
from tests.vram.stand_ins import Cuda


def test_a_share_caps_what_the_process_may_allocate_and_no_share_touches_nothing():
    cuda = Cuda(10.0)
    cap_gpu_memory(0.0, 0.0, cuda)
    assert cuda.caps == [] and not cuda.initialized
    cap_gpu_memory(1.4, 10.0, cuda)
    assert cuda.caps == [(pytest.approx(0.14), 0)]


def test_a_cap_is_of_the_gpu_at_hand_and_not_of_the_one_that_was_planned_for():
    cuda = Cuda(40.0)
    cap_gpu_memory(1.4, 14.5, cuda)  # planned for the smallest GPU of a mixed cluster
    assert cuda.caps == [(pytest.approx(1.4 / 40.0), 0)]


def test_a_gpu_smaller_than_planned_is_refused_with_both_sizes_and_the_label_to_set():
    slice_of_h100 = Cuda(9.75)
    with pytest.raises(TrainingError, match=r"planned 79\.10 GiB, .* has 9\.75 GiB.*ftray/gpu-gib=9\.75"):
        cap_gpu_memory(1.3, 79.1, slice_of_h100)
    assert slice_of_h100.caps == []
    cap_gpu_memory(1.3, 79.1, Cuda(77.6))  # another driver
    with pytest.raises(TrainingError, match=r"has 77\.40 GiB"):
        cap_gpu_memory(1.3, 79.1, Cuda(77.4))


def test_a_gpu_used_without_a_booking_or_booked_without_use_stops_the_trial():
    cpu, gpu, touched = DevicePlacement("cpu", False), DevicePlacement("cuda", True), DevicePlacement("cpu", True)
    check_devices({"learner": (gpu, 0.2), "env runner 1": (cpu, 0.0)})
    with pytest.raises(TrainingError, match="env runner 1 uses a CUDA device and booked none"):
        check_devices({"learner": (gpu, 0.2), "env runner 1": (gpu, 0.0)})
    with pytest.raises(TrainingError, match="learner uses a CUDA device and booked none"):
        check_devices({"learner": (touched, 0.0)})
    with pytest.raises(TrainingError, match=r"learner booked 0.2 of a GPU and computes on the cpu"):
        check_devices({"learner": (cpu, 0.2)})
