"""What stand-ins cannot show, on a real GPU; each test in a process of its own, which contexts and caps belong to."""

import subprocess
import sys
import textwrap

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def alone(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nvml_and_pytorch_agree_on_the_gpu_to_a_percent():
    alone("""
        import torch
        from ftray.vram.gpus import canonical_name, local_gpu
        gpu = local_gpu()
        assert not torch.cuda.is_initialized()
        found = torch.cuda.get_device_properties(0)
        gib = found.total_memory / 2**30
        print(gpu.gib, gib)
        assert gpu.name == canonical_name(found.name) and abs(gpu.gib / gib - 1) < 0.01, (gpu, found.name, gib)
        assert abs(local_gpu().gib - gib) < 1e-6  # once CUDA is initialised it is asked itself
    """)


def test_nvml_answers_and_no_other_process_has_to_be_asked():
    alone("""
        from ftray.vram.nvml import asked_elsewhere, first_visible
        here, there = first_visible(), asked_elsewhere()
        assert here[0] == there[0] and abs(here[1] / there[1] - 1) < 0.01, (here, there)
    """)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_hidden_gpu_is_none(visible):
    alone(f"""
        import os
        os.environ["CUDA_VISIBLE_DEVICES"] = {visible!r}
        from ftray.vram.gpus import local_gpu
        assert local_gpu() is None
    """)


def test_a_gpu_is_found_by_its_uuid():
    alone("""
        import os, pynvml
        pynvml.nvmlInit()
        uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        from ftray.vram.nvml import first_visible
        assert first_visible() is not None
    """)


@pytest.mark.parametrize("cap_gib", [0.5, 1.8])
def test_beyond_its_cap_a_process_runs_out_of_memory_itself(cap_gib):
    """To 2 %: all below the cap can be had, and nothing above it."""
    alone(f"""
        import torch
        from ftray.agent.devices import cap_gpu_memory
        cap, gib = {cap_gib}, torch.cuda.get_device_properties(0).total_memory / 2**30
        cap_gpu_memory(cap, gib)
        def take(share):
            return torch.empty(int(share * cap * 2**30), dtype=torch.uint8, device="cuda")
        held = take(0.98)
        del held
        torch.cuda.empty_cache()
        try:
            take(1.02)
        except torch.OutOfMemoryError:
            pass
        else:
            raise AssertionError("no cap")
        small = [torch.empty(2**24, dtype=torch.uint8, device="cuda") for _ in range(int(0.96 * cap * 64))]
        assert torch.cuda.memory_reserved() <= 1.001 * cap * 2**30
    """)


def test_a_gpu_smaller_than_planned_is_refused():
    alone("""
        import torch
        from ftray.agent.devices import cap_gpu_memory
        from ftray.errors import TrainingError
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        cap_gpu_memory(1.0, 1.01 * gib)
        try:
            cap_gpu_memory(1.0, 1.05 * gib)
        except TrainingError as error:
            assert f"{1.05 * gib:.2f} GiB" in str(error) and f"has {gib:.2f} GiB" in str(error)
        else:
            raise AssertionError("not refused")
    """)


def test_a_job_on_cpus_leaves_the_gpu_alone(tmp_path):
    """Pre-training, where it was placed on CPUs, and what a trial's folder keeps of its machine."""
    alone(f"""
        import dataclasses, torch
        from pathlib import Path
        from ftray.agent.devices import DevicePlacement
        from ftray.pretraining import pretrain
        from ftray.trial.attempt import host_info
        from tests.pretraining.conftest import ENCODER, SPEC, small_dataset
        assert host_info()["gpu"]
        spec = dataclasses.replace(SPEC, device="auto")
        pretrain(ENCODER, spec, small_dataset(), Path({str(tmp_path)!r}), device="cpu")
        assert DevicePlacement.of(torch.nn.Linear(1, 1)) == DevicePlacement("cpu", False)
        assert not torch._C._cuda_hasPrimaryContext(0)
    """)


def test_a_job_without_a_placement_takes_the_gpu(tmp_path):
    alone(f"""
        import dataclasses, torch
        from pathlib import Path
        from ftray.pretraining import pretrain
        from tests.pretraining.conftest import ENCODER, SPEC, small_dataset
        pretrain(ENCODER, dataclasses.replace(SPEC, device="auto"), small_dataset(), Path({str(tmp_path)!r}))
        assert torch.cuda.is_initialized()
    """)
