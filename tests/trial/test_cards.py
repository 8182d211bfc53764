"""The plan of the default encoder on cards that people rent and own, by every name that they go under."""

import pytest
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

from ftray.agent.devices import cap_gpu_memory
from ftray.capacity.nodes import nodes_of_ray
from ftray.errors import SpecError, TrainingError
from ftray.trial import TrialSpec
from ftray.trial.vram import plan_trial
from ftray.vram.gpus import Gpu, canonical_name, model, parse_gpu
from ftray.vram.probe import SMALLER
from tests.vram.stand_ins import Cuda

CARDS = [
    # as PyTorch and NVML name it, as Ray does, GiB that PyTorch reports, canonical name, workers of the default encoder
    ("NVIDIA A2", "A2", 14.54, "A2", 7),
    ("NVIDIA A10", "A10", 22.06, "A10", 10),
    ("NVIDIA A10G", "A10G", 21.99, "A10G", 10),
    ("NVIDIA A16", "A16", 14.54, "A16", 7),
    ("NVIDIA A30", "A30", 23.53, "A30", 11),
    ("NVIDIA A40", "A40", 44.35, "A40", 21),
    ("NVIDIA A100-SXM4-40GB", "A100", 39.39, "A100 40G", 19),
    ("NVIDIA A100-PCIE-40GB", "A100", 39.39, "A100 40G", 19),
    ("NVIDIA A100-SXM4-80GB", "A100", 79.15, "A100 80G", 39),
    ("NVIDIA A100 80GB PCIe", "A100", 79.15, "A100 80G", 39),
    ("NVIDIA A800-SXM4-80GB", "A800", 79.15, "A800 80G", 39),
    ("NVIDIA B200", "B200", 178.35, "B200", 88),
    ("NVIDIA GB200", "GB200", 184.3, "GB200", 91),
    ("NVIDIA GH200 480GB", "GH200", 94.5, "GH200", 46),
    ("NVIDIA H100 80GB HBM3", "H100", 79.11, "H100", 39),
    ("NVIDIA H100 PCIe", "H100", 79.19, "H100", 39),
    ("NVIDIA H100 NVL", "H100", 93.12, "H100 NVL", 46),
    ("NVIDIA H20", "H20", 95.0, "H20", 46),
    ("NVIDIA H200", "H200", 139.72, "H200", 69),
    ("NVIDIA H200 NVL", "H200", 139.81, "H200", 69),
    ("NVIDIA H800", "H800", 79.11, "H800", 39),
    ("NVIDIA L4", "L4", 22.03, "L4", 10),
    ("NVIDIA L40", "L40", 44.42, "L40", 21),
    ("NVIDIA L40S", "L40S", 44.42, "L40S", 21),
    ("NVIDIA RTX 6000 Ada Generation", "RTX-6000", 47.5, "RTX 6000 ADA", 23),
    ("NVIDIA RTX A4000", "RTX-A4000", 15.73, "RTX A4000", 7),
    ("NVIDIA RTX A5000", "RTX-A5000", 23.68, "RTX A5000", 11),
    ("NVIDIA RTX A6000", "RTX-A6000", 47.54, "RTX A6000", 23),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000", 94.97, "RTX PRO 6000", 46),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX-PRO-6000", 94.97, "RTX PRO 6000", 46),
    ("NVIDIA GeForce RTX 2080 Ti", "GeForce-RTX-2080-Ti", 10.75, "RTX 2080 TI", 5),
    ("NVIDIA GeForce RTX 3060", "GeForce-RTX-3060", 11.76, "RTX 3060", 5),
    ("NVIDIA GeForce RTX 3060 Ti", "GeForce-RTX-3060-Ti", 7.78, "RTX 3060 TI", 3),
    ("NVIDIA GeForce RTX 3080", "GeForce-RTX-3080", 9.75, "RTX 3080", 4),
    ("NVIDIA GeForce RTX 3090", "GeForce-RTX-3090", 23.69, "RTX 3090", 11),
    ("NVIDIA GeForce RTX 4060 Ti", "GeForce-RTX-4060-Ti", 7.63, "RTX 4060 TI", 3),
    ("NVIDIA GeForce RTX 4070 SUPER", "GeForce-RTX-4070-SUPER", 11.72, "RTX 4070 SUPER", 5),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", "GeForce-RTX-4070-Ti-SUPER", 15.70, "RTX 4070 TI SUPER", 7),
    ("NVIDIA GeForce RTX 4080", "GeForce-RTX-4080", 15.70, "RTX 4080", 7),
    ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090", 23.65, "RTX 4090", 11),
    ("NVIDIA GeForce RTX 5090", "GeForce-RTX-5090", 31.36, "RTX 5090", 15),
    ("NVIDIA TITAN RTX", "TITAN-RTX", 23.65, "TITAN RTX", 11),
    ("Quadro RTX 6000", "RTX-6000", 22.17, "RTX 6000", 10),
    ("Tesla T4", "T4", 14.58, "T4", 7),
    ("Tesla V100-SXM2-16GB", "V100", 15.77, "V100 16G", 7),
    ("Tesla V100-SXM2-32GB", "V100", 31.74, "V100 32G", 15),
]
PARTS = [
    # parts of a card, which Ray names after the whole: a plan needs the node's label
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100", 4.75, "A100 40G MIG 1g.5gb", 2),
    ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "A100", 9.5, "A100 80G MIG 1g.10gb", 4),
    ("NVIDIA A100 80GB PCIe MIG 3g.40gb", "A100", 39.25, "A100 80G MIG 3g.40gb", 19),
    ("NVIDIA A30 MIG 1g.6gb", "A30", 5.81, "A30 MIG 1g.6gb", 2),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100", 9.75, "H100 MIG 1g.10gb", 4),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", "H100", 9.75, "H100 MIG 1g.10gb+me", 4),
    ("NVIDIA H100 80GB HBM3 MIG 1g.20gb", "H100", 19.62, "H100 MIG 1g.20gb", 9),
    ("NVIDIA H100 80GB HBM3 MIG 2g.20gb", "H100", 19.62, "H100 MIG 2g.20gb", 9),
    ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "H100", 39.5, "H100 MIG 3g.40gb", 19),
    ("NVIDIA H100 80GB HBM3 MIG 4g.40gb", "H100", 39.5, "H100 MIG 4g.40gb", 19),
    ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "H100", 39.5, "H100 MIG 1c.3g.40gb", 19),
    ("NVIDIA H100 NVL MIG 1g.12gb", "H100", 10.75, "H100 NVL MIG 1g.12gb", 5),
    ("NVIDIA H200 MIG 1g.18gb", "H200", 16.0, "H200 MIG 1g.18gb", 7),
    ("NVIDIA B200 MIG 1g.23gb", "B200", 20.5, "B200 MIG 1g.23gb", 10),
    ("NVIDIA A10-4Q", "A10", 3.9, "A10 4Q", 1),
    ("NVIDIA A10-8Q", "A10", 7.8, "A10 8Q", 3),
    ("NVIDIA A10-24Q", "A10", 23.7, "A10 24Q", 11),
    ("GRID T4-8C", "T4", 7.8, "T4 8C", 3),
]


@pytest.fixture(autouse=True)
def no_measurements(tmp_path, monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))


def workers(gpu: Gpu) -> int:
    return plan_trial(TrialSpec(), gpu).workers_per_gpu


def node(ray_name, **labels):
    (found,) = nodes_of_ray(
        [
            {
                "Alive": True,
                "NodeID": "there",
                "Resources": {"CPU": 8.0, "GPU": 1.0, f"accelerator_type:{ray_name}": 1.0},
                "Labels": {"ray.io/accelerator-type": ray_name, **labels},
            }
        ]
    )
    return found


@pytest.mark.parametrize(("name", "ray_name", "gib", "canonical", "n_workers"), [*CARDS, *PARTS])
def test_a_card_is_planned_right_by_the_name_that_pytorch_gives_and_by_its_nodes_label(
    name, ray_name, gib, canonical, n_workers
):
    assert NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(name) == ray_name
    assert workers(Gpu(name, gib)) == n_workers
    labelled = node(ray_name, **{"ftray/gpu-gib": f"{gib}"})
    assert labelled.gpu.gib == gib and workers(labelled.gpu) == n_workers
    named = parse_gpu(name)
    assert (named.name, canonical_name(named.name)) == (canonical.replace("V100 16G", "V100"), named.name)
    assert 0.89 * gib < named.gib < (2 - SMALLER) * gib
    assert n_workers - max(1, n_workers // 10) <= workers(Gpu("by name", max(named.gib, 2.1))) <= n_workers


@pytest.mark.parametrize(("name", "ray_name", "gib", "canonical", "n_workers"), CARDS)
def test_by_rays_name_alone_no_card_counts_for_more_than_it_has(name, ray_name, gib, canonical, n_workers):
    gpu = node(ray_name).gpu
    assert gpu.gib < (2 - SMALLER) * gib and workers(gpu) <= n_workers


def test_what_ray_calls_a100_has_40_gb_until_a_label_or_a_longer_name_says_80():
    assert node("A100").gpu == model("A100") and node("A100").gpu.gib == 39.38
    assert node("A100-80G").gpu.gib == 79.1
    assert node("A100", **{"ray.io/accelerator-type": "A100-80G"}).gpu.gib == 79.1
    assert node("A100", **{"ftray/gpu-gib": "79.15"}).gpu.gib == 79.15


NO_SMALLER = {"NVIDIA A10-24Q", "NVIDIA A100 80GB PCIe MIG 3g.40gb"}
"""Parts that have what Ray's name stands for."""


@pytest.mark.parametrize(
    ("name", "ray_name", "gib", "canonical", "n_workers"), [part for part in PARTS if part[0] not in NO_SMALLER]
)
def test_a_part_of_a_card_that_was_planned_as_the_whole_is_refused_with_both_sizes(
    name, ray_name, gib, canonical, n_workers
):
    shares = plan_trial(TrialSpec(), node(ray_name).gpu).shares
    with pytest.raises(TrainingError, match=rf"{shares.planned_gib:.2f} GiB, and this .* has {gib:.2f} GiB"):
        cap_gpu_memory(shares.learner_cap_gib, shares.planned_gib, Cuda(gib))


@pytest.mark.parametrize("label", ["23,6", "none", "0", "-1"])
def test_a_label_that_is_no_memory_is_refused(label):
    with pytest.raises(SpecError, match=rf"ftray/gpu-gib of node must be GiB .* got '{label}'"):
        node("A100", **{"ftray/gpu-gib": label})


def test_a_node_whose_label_is_empty_counts_by_its_name():
    assert node("A100", **{"ftray/gpu-gib": ""}).gpu.gib == 39.38  # nvidia-smi failed when the node started
