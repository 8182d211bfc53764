"""What was measured on a cluster's GPUs reaches every plan of the studies there, and a plan names its sources."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from ftray.capacity.measured_rows import MeasuredRows
from ftray.capacity.measuring import gpu_models, measure_on_cluster
from ftray.capacity.nodes import Node
from ftray.cli import main
from ftray.errors import SpecError
from ftray.runs.location import runs_root
from ftray.study import StudySpec
from ftray.study.vram import describe_vram, workers_of
from ftray.vram.gpus import Gpu, Measured, parse_gpu
from ftray.vram.measuring import keep
from ftray.vram.rows import read_rows, rows_file, save_rows
from ftray.vram.table import GIB, TABLE, Worker
from tests.study.played import study_of
from tests.study.tiny import tiny_file

AT = "2026-11-26T12:00:00+00:00"
MLP = TABLE[0].worker
H100, L4 = (Node(name, 1, 8.0, 1, parse_gpu(name), name) for name in ("H100", "L4"))
ON_H100, ON_L4 = parse_gpu("H100"), parse_gpu("L4")
CPUS = Node("cpus", 1, 8.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))


def row_of(worker: Worker, gib: float, context: float = 0.5) -> Measured:
    return Measured(worker.key, int(gib * GIB), int(context * GIB), AT)


def gpu_of(node: Node) -> Gpu:
    assert node.gpu is not None
    return node.gpu


def study() -> StudySpec:
    return study_of("planned", ["ends well"])


def l4_cluster(folder: Path, runs: str | None = None) -> Path:
    """A cluster file with L4 nodes. runs: what its metadata says."""
    kind = {"resources": {"CPU": 8, "GPU": 1, "accelerator_type:L4": 1}, "max_workers": 2}
    types = {"head": {"resources": {"CPU": 1}}, "gpus": kind}
    tree: dict[str, object] = {"head_node_type": "head", "max_workers": 2, "available_node_types": types}
    place = folder / "cluster.yaml"
    place.write_text(yaml.safe_dump(tree | ({"metadata": {"runs": runs}} if runs else {})))
    return place


def test_rows_of_a_runs_root_beat_this_machines_cache_and_that_the_table(tmp_path):
    (node,) = MeasuredRows(tmp_path / "runs").nodes([H100])
    assert node == H100 and gpu_of(node).needs(TABLE[1].worker) == (1.2, "table")
    keep(ON_H100, [row_of(MLP, 2.0), row_of(TABLE[1].worker, 2.0)])
    cached = dataclasses.replace(H100, gpu=parse_gpu("H100"))
    save_rows(tmp_path / "runs", ON_H100, [row_of(MLP, 1.0)])
    (node, cpus) = MeasuredRows(tmp_path / "runs").nodes([cached, CPUS])
    assert cpus == CPUS
    assert gpu_of(node).needs(MLP) == (1.15 * 1.0 + 0.5, "measured")
    assert gpu_of(node).needs(TABLE[1].worker) == (1.15 * 2.0 + 0.5, "measured")
    assert gpu_of(node).needs(TABLE[2].worker) == (1.8, "table")


def test_rows_are_kept_per_model_and_a_later_row_replaces_one_of_its_key(tmp_path):
    place = save_rows(tmp_path, parse_gpu("NVIDIA H100 80GB HBM3"), [row_of(MLP, 1.0), row_of(TABLE[1].worker, 1.0)])
    assert place == tmp_path / "vram" / "H100.json"
    save_rows(tmp_path, ON_H100, [row_of(MLP, 3.0)])
    rows = {row.key: row for row in read_rows(tmp_path, "H100")}
    assert len(rows) == 2 and rows[MLP.key].reserved_bytes == 3 * GIB and rows[MLP.key].at == AT
    assert read_rows(tmp_path, "L4") == ()
    Path(place).write_text("{}")
    with pytest.raises(SpecError, match=r"H100\.json must hold what was measured .* measure again"):
        read_rows(tmp_path, "H100")


def test_rows_are_stored_on_object_storage_as_on_a_disk(bucket):
    runs = f"{bucket}/runs"
    assert read_rows(runs, "H100") == ()
    assert save_rows(runs, ON_H100, [row_of(MLP, 1.0)]) == rows_file(runs, "H100") == f"{runs}/vram/H100.json"
    save_rows(runs, ON_H100, [row_of(TABLE[1].worker, 1.0)])
    (node,) = MeasuredRows(runs_root(f"{runs}/a-study")).nodes([H100])
    assert [row.key for row in gpu_of(node).measured] == [MLP.key, TABLE[1].worker.key]


def test_a_plan_says_of_each_row_whether_it_was_measured_and_when(tmp_path):
    (worker,) = workers_of(study())
    save_rows(tmp_path, ON_H100, [row_of(worker, 2.0)])
    nodes = MeasuredRows(tmp_path).nodes([H100, L4])
    lines = [" ".join(line.split()) for line in describe_vram(study(), nodes)]
    assert any(line.startswith("2.80 measured on H100 at 2026-11-26 1/25 ") for line in lines), "\n".join(lines)
    assert any(line.startswith("0.85 table 1/") for line in lines), "\n".join(lines)


def test_the_command_line_plans_with_what_was_measured_in_runs(tmp_path, capsys):
    for worker in workers_of(study()):
        save_rows(tmp_path / "runs", ON_L4, [row_of(worker, 2.0)])
    file, cluster = tiny_file(tmp_path), l4_cluster(tmp_path)
    words = [str(file)]
    where = ["--cluster", str(cluster), "--runs", str(tmp_path / "runs")]
    assert main(["vram", *words, *where]) == 0
    assert "measured on L4 at 2026-11-26" in capsys.readouterr().out
    main(["check", *words, *where])
    assert "measured on L4 at 2026-11-26" in capsys.readouterr().out
    assert main(["vram", *words, "--cluster", str(cluster)]) == 0
    assert "measured" not in capsys.readouterr().out


def test_a_plan_for_a_cluster_file_uses_what_was_measured_where_its_metadata_stores_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for worker in workers_of(study()):
        save_rows(tmp_path / "shared", ON_L4, [row_of(worker, 2.0)])
    file, cluster = str(tiny_file(tmp_path)), l4_cluster(tmp_path, str(tmp_path / "shared"))
    for verb in ("vram", "check"):
        main([verb, file, "--cluster", str(cluster)])
        assert "measured on L4 at 2026-11-26" in capsys.readouterr().out
        main([verb, file, "--cluster", str(cluster), "--runs", str(tmp_path / "other")])
        assert "measured on L4" not in capsys.readouterr().out


@pytest.mark.parametrize(("runs", "unreached"), [("s3://YOUR-BUCKET/runs", False), ("https://somewhere/runs", True)])
def test_a_place_of_runs_that_cannot_be_reached_is_named_and_the_plan_is_made_without_it(
    tmp_path, capsys, monkeypatch, runs, unreached
):
    monkeypatch.chdir(tmp_path)
    file, cluster = str(tiny_file(tmp_path)), str(l4_cluster(tmp_path, runs))
    assert main(["vram", file, "--cluster", cluster]) == 0
    out = capsys.readouterr().out
    assert "table" in out and ("this machine does not reach it" in out) == unreached
    main(["check", file, "--cluster", cluster])
    out = capsys.readouterr().out
    assert "GiB are from  table" in out and ("this machine does not reach it" in out) == unreached
    if unreached:
        assert f"hours, cost   unknown: this machine does not reach {runs}" in out


def test_a_model_that_ray_does_not_know_is_measured_alone_and_refused_among_others():
    unknown = Node("own", 1, 8.0, 1, Gpu("GPU of 9 GiB", 9.0))
    assert gpu_models([CPUS, unknown]) == [(gpu_of(unknown), unknown)]
    with pytest.raises(SpecError, match="GPU of 9 GiB is not: give its nodes the resource accelerator_type:NAME"):
        gpu_models([H100, unknown])
    with pytest.raises(SpecError, match="this cluster has none"):
        next(measure_on_cluster([CPUS], [MLP], "runs"))
