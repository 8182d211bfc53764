"""A Ray with GPU nodes: they are tried before the first trial, measured, and planned with what was measured there.

The nodes are real raylets; their GPUs are only numbers that Ray gets, and nothing touches them.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import yaml
from ray.cluster_utils import Cluster

from ftray.capacity.cluster_view import FTRAY_CLUSTER, cluster_view
from ftray.capacity.elastic import Capacity
from ftray.capacity.measuring import measure_on_cluster
from ftray.capacity.nodes import GIB as LABEL
from ftray.capacity.nodes import Node
from ftray.capacity.probing import check_gpu_nodes
from ftray.errors import ClusterError, TrainingError, UnusableGpuError
from ftray.runs import RunFolder
from ftray.study import StudySpec
from ftray.study.placing import capacity_of
from ftray.study.run import run_study
from ftray.study.vram import workers_of
from ftray.vram.gpus import Measured, parse_gpu
from ftray.vram.probe import GpuFacts
from ftray.vram.rows import read_rows
from ftray.vram.table import GIB, TABLE, Worker
from tests.cluster.waiting import until
from tests.conftest import small_ray
from tests.study.played import fine, play, study_of

pytestmark = [pytest.mark.ray, pytest.mark.long]

MODELS = ("H100", "L4")
H100, L4 = (Node(name, 1, 2.0, 2, parse_gpu(name), name) for name in MODELS)


@pytest.fixture(scope="module")
def gpus() -> Iterator[Cluster]:
    """An H100 and an L4 node, two GPUs each; a Ray that the process has already is started again afterwards."""
    before = ray.is_initialized()
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for model in MODELS:
            add_node(cluster, model)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        if before:
            small_ray()


def add_node(cluster: Cluster, model: str, **labels: str) -> Any:
    resources = {f"accelerator_type:{model}": 1}
    return cluster.add_node(num_cpus=2, num_gpus=2, resources=resources, labels=labels, object_store_memory=10**8)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "probed", {"name": "probed"})


def the_study() -> StudySpec:
    return study_of("planned", ["ends well"])


def room_on(*models: str) -> Capacity:
    nodes = [Node(model, 1, 2.0, 2, parse_gpu(model), model) for model in models]
    return capacity_of(the_study(), nodes)


def of_this_process() -> GpuFacts:
    return GpuFacts("2.13.0", "13.0", str(os.getpid()), "a GPU that is not there", 1000.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpus_that_torch_cannot_use_end_a_study_before_any_trial_is_wasted(gpus, tmp_path):
    lines: list[str] = []
    with pytest.raises(UnusableGpuError) as raised:
        run_study(study_of("refused", ["ends well"] * 2), tmp_path, say=lines.append, trial_fn=play)
    for word in ("H100: torch ", "L4: torch ", "No trial was spent", "--torch-backend=auto", "CUDA_VISIBLE_DEVICES="):
        assert word in str(raised.value)
    assert [line.split(",")[0] for line in lines if line.startswith("GPU nodes")] == [
        f"GPU nodes: {model}: not ready" for model in MODELS
    ]
    assert not (tmp_path / "refused").exists()  # nothing ran, so nothing is left


def test_a_study_on_gpus_that_torch_can_use_says_so_and_runs(gpus, tmp_path):
    lines: list[str] = []
    run = run_study(study_of("fine", ["ends well"]), tmp_path, say=lines.append, trial_fn=play, probe=fine)
    assert [record.state for record in run.records()] == ["COMPLETE"]
    for model in MODELS:
        assert f"GPU nodes: {model}, 1000.0 GiB, driver 580.65.06, torch 2.13.0+cu130: ready" in lines


def test_a_probe_gives_back_its_share_and_its_process_ends(gpus, run):
    check_gpu_nodes(room_on("H100"), run, print, of_this_process)
    (event,) = run.events()
    (node,) = event["nodes"]
    assert node["gpu"] == "H100", "the L4 is none of this study's nodes"
    end = time.monotonic() + 20
    while time.monotonic() < end and (Path(f"/proc/{node['driver']}").exists() or ray.available_resources()["GPU"] < 4):
        time.sleep(0.1)
    assert not Path(f"/proc/{node['driver']}").exists() and ray.available_resources()["GPU"] == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_job_that_fails_where_torch_sees_no_gpu_says_what_is_wrong_with_it(gpus, tmp_path):
    """As on a node that joined after the study began."""
    run = run_study(study_of("late", ["raises"]), tmp_path, say=lambda line: None, trial_fn=play, probe=fine)
    (record,) = run.records()
    first, *rest = (record.error or "").splitlines()
    assert first.startswith(f"torch must be able to use the GPU that this job booked, but torch {torch.__version__} is")
    assert "ValueError: as scripted" in rest[0]


def imports_nothing() -> GpuFacts:
    raise ModuleNotFoundError("No module named 'torch'")


def test_a_node_where_torch_cannot_be_imported_ends_a_study_too(gpus, run):
    with pytest.raises(UnusableGpuError, match="H100: the task that tries it fails with: No module named 'torch'"):
        check_gpu_nodes(room_on("H100"), run, print, imports_nothing)


def smaller() -> GpuFacts:
    return GpuFacts("2.13.0", "13.0", "580.65", "NVIDIA H100 MIG 1g.10gb", 9.75)


def hangs() -> GpuFacts:
    time.sleep(600)
    return fine()


def dies() -> GpuFacts:
    os._exit(1)


def test_a_gpu_smaller_than_planned_ends_a_study_with_both_numbers(gpus, run):
    with pytest.raises(UnusableGpuError, match=r"assumed 79\.10 GiB and NVIDIA H100 MIG 1g\.10gb has 9\.75.*gpu-gib"):
        check_gpu_nodes(room_on("H100"), run, print, smaller)


@pytest.mark.parametrize(
    ("probe", "patience", "why"), [(hangs, 3.0, "no answer came within 3 s"), (dies, 120.0, "its process or node went")]
)
def test_a_node_that_gives_no_answer_is_no_reason_to_stop(gpus, run, probe, patience, why):
    lines: list[str] = []
    check_gpu_nodes(room_on("H100"), run, lines.append, probe, patience=patience)
    assert len(lines) == 1 and why in lines[0]


def test_where_no_gpu_node_is_there_yet_the_first_one_that_comes_is_tried(gpus, run):
    lines: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        room = room_on("T4", "A100")
        checked = pool.submit(check_gpu_nodes, room, run, lines.append, smaller, pending_timeout=60)
        until(lambda: lines, 30, "the study waits for a node")
        node = add_node(gpus, "T4")
        with pytest.raises(UnusableGpuError, match=r"the plan assumed 14\.56 GiB and .* has 9\.75"):
            checked.result()
    gpus.remove_node(node)
    assert lines[0].startswith("no GPU node is there yet") and lines[1].startswith("GPU nodes: T4: not ready")
    assert len(lines) == 2, "the study does not wait for every type"


def test_nodes_that_report_more_gib_than_the_cluster_files_types_are_probed_type_by_type(
    gpus, run, tmp_path, monkeypatch
):
    labels, lines = {"A10G": "22.4", "T4": "14.75"}, []
    types = {model: {"resources": {"CPU": 2, "GPU": 2, f"accelerator_type:{model}": 1}} for model in labels}
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"max_workers": 2, "available_node_types": types}))
    monkeypatch.setenv(FTRAY_CLUSTER, str(file))
    added = [add_node(gpus, model, **{LABEL: gib}) for model, gib in labels.items()]
    try:
        nodes = [node for node in cluster_view().nodes if node.accelerator in labels]
        assert all(node.gpu == parse_gpu(node.accelerator) for node in nodes), "planned for as the file says"
        check_gpu_nodes(capacity_of(the_study(), nodes), run, lines.append, fine)
    finally:
        for node in added:
            gpus.remove_node(node)
    assert [line.split(",")[0] for line in lines] == ["GPU nodes: A10G", "GPU nodes: T4"]


def stand_in(workers: Iterable[Worker]) -> Iterator[tuple[Worker, Measured | None]]:
    """Measures nothing: 40 GiB where the task was led to an H100, 4 on an L4."""
    booked = ray.get_runtime_context().get_assigned_resources()
    assert booked["GPU"] == 1
    for worker in workers:
        yield worker, Measured(worker.key, (40 if "accelerator_type:H100" in booked else 4) * GIB, GIB // 2)


def breaks_on_l4(workers: Iterable[Worker]) -> Iterator[tuple[Worker, Measured | None]]:
    if "accelerator_type:L4" in ray.get_runtime_context().get_assigned_resources():
        raise TrainingError("measuring needs a CUDA device")
    yield from stand_in(workers)


def test_each_model_of_a_cluster_is_measured_on_a_whole_gpu_and_a_study_there_books_what_was_found(gpus, tmp_path):
    lines = list(measure_on_cluster([H100, L4], workers_of(the_study()), tmp_path, stand_in))
    assert lines[0] == "measuring 1 workers on H100, L4"
    assert f"stored in {tmp_path}/vram/H100.json, for every plan of a study in {tmp_path}" in lines
    (of_h100,), (of_l4,) = read_rows(tmp_path, "H100"), read_rows(tmp_path, "L4")
    assert (of_h100.reserved_bytes, of_l4.reserved_bytes) == (40 * GIB, 4 * GIB)

    run = run_study(the_study(), tmp_path, say=lambda line: None, trial_fn=play, probe=fine)
    (record,) = run.records()
    assert record.metrics["vram/planned_gib"] == pytest.approx(1.15 * 4.0 + 0.5), "of the L4, the smallest that fits"


def test_what_was_measured_stays_where_another_model_cannot_be_measured(gpus, tmp_path):
    with pytest.raises(ClusterError, match=r"L4: measuring needs a CUDA device\. What was measured is stored"):
        list(measure_on_cluster([H100, L4], [TABLE[0].worker], tmp_path, breaks_on_l4))
    assert read_rows(tmp_path, "H100") and not read_rows(tmp_path, "L4")
    nowhere = dataclasses.replace(L4, gpu=parse_gpu("T4"), accelerator="T4")
    with pytest.raises(ClusterError, match="T4: no whole GPU was free, or not done, within 3 s"):
        list(measure_on_cluster([nowhere, H100], [TABLE[0].worker], tmp_path, stand_in, patience=3.0))
