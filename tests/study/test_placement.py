"""Where jobs go: bundles with shares of a GPU, on the nodes that they fit on; and what commands print about it."""

import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from ftray.agent.spec import PPOSpec
from ftray.capacity.nodes import Node, nodes_of_file, nodes_of_ray
from ftray.capacity.placement import PIN, holds
from ftray.cli import main
from ftray.errors import SpecError, TrainingError
from ftray.nets import FTSpec, MLPSpec
from ftray.pretraining import PretrainingSpec
from ftray.runs import TrialFolder
from ftray.runs.records import JobKind
from ftray.spec import parse
from ftray.study import parse_study
from ftray.study.placing import capacity_of
from ftray.study.run import run_study
from ftray.study.vram import describe_vram, workers_of
from ftray.trial import TrialSpec, place_pretraining, place_trial
from ftray.trial.attempt import Attempt, run_attempt
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.resources import LEARNER_MEMORY
from ftray.vram.gpus import Gpu, parse_gpu
from ftray.vram.plan import GpuShares

from .tiny import TINY, tiny_file

CPUS = Node("cpus", 2, 8.0)
T4, A100 = (Node(name, 1, 16.0, 1, parse_gpu(name), name) for name in ("T4", "A100"))
BIG = Node("big", 2, 64.0, 4, parse_gpu("A100"), "A100")
AUTO = TrialSpec(encoder=FTSpec(pretrained="auto"))
SHARE = 0.89 * 14.56 // 1.8


@pytest.fixture(autouse=True)
def no_measurements(tmp_path, monkeypatch):
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))


def test_without_a_gpu_fractions_are_zero_and_the_learner_books_memory_alone():
    place = place_trial(TrialSpec(), [CPUS])
    assert place.bundles == [{"memory": LEARNER_MEMORY}, {"CPU": 1.0}, {"CPU": 1.0}]
    assert (place.strategy, place.plan, place.shares) == ("PACK", None, GpuShares())
    assert place_trial(TrialSpec(), []).bundles == place.bundles
    assert place_trial(TrialSpec(ppo=PPOSpec(n_env_runners=0)), [CPUS]).bundles == [{"CPU": 1.0}]
    assert place_pretraining(AUTO, [CPUS]).bundles == [{"CPU": 1.0}]


def test_the_learners_bundle_books_its_share_next_to_env_runners_on_the_cpu():
    place = place_trial(TrialSpec(), [CPUS, T4])
    assert place.bundles == [{"memory": LEARNER_MEMORY, "GPU": 1 / SHARE}, {"CPU": 1.0}, {"CPU": 1.0}]
    assert place.strategy == "STRICT_PACK" and place.hosts == (T4,)
    assert place.shares.learner == 1 / SHARE and place.shares.env_runner == 0.0
    alone = place_trial(TrialSpec(ppo=PPOSpec(n_env_runners=0, cpus_per_env_runner=2.0)), [T4])
    assert alone.bundles == [{"CPU": 2.0, "GPU": 1 / SHARE}]


def test_env_runners_on_the_gpu_book_shares_too():
    place = place_trial(TrialSpec(ppo=PPOSpec(env_runners_on_gpu=True)), [T4])
    assert place.plan is not None
    m = place.plan.env_runners_per_gpu
    assert place.bundles[1:] == [{"CPU": 1.0, "GPU": 1 / m}] * 2
    fewer = place_trial(TrialSpec(ppo=PPOSpec(env_runners_on_gpu=True)), [T4], MemoryPlan(n_env_runners=1))
    assert len(fewer.bundles) == 2


def test_a_process_that_evaluates_during_training_has_the_last_bundle_and_no_thread_of_the_trials():
    for nodes in ([CPUS], [T4]):
        place = place_trial(TrialSpec(ppo=PPOSpec(evaluation_cpus=2)), nodes)
        assert place.bundles[-1] == {"CPU": 2.0} and len(place.bundles) == 4
        assert place.threads == 2


def test_pretraining_books_a_share_unless_it_is_meant_for_the_cpu():
    place = place_pretraining(AUTO, [CPUS, T4])
    (bundle,) = place.bundles
    assert place.plan is not None and bundle == {"CPU": 1.0, "GPU": 1 / place.plan.workers_per_gpu}
    assert place.shares.learner_cap_gib > 0
    on_cpu = TrialSpec(encoder=AUTO.encoder, pretraining=PretrainingSpec(device="cpu"))
    assert place_pretraining(on_cpu, [T4]).bundles == [{"CPU": 1.0}]


@pytest.mark.parametrize(("nodes", "why"), [([CPUS], None), ([CPUS, T4], "booked a share of a GPU"), ([], None)])
def test_a_pretraining_job_computes_where_it_booked(nodes, why, tmp_path, monkeypatch):
    """On a machine whose GPU another job holds, and on a node whose GPU PyTorch cannot use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: why is None)
    monkeypatch.setattr("ftray.trial.attempt.cap_gpu_memory", lambda cap_gib, planned_gib: None)
    trial = TINY["trial"] | {"encoder": {**TINY["trial"]["encoder"]["choice"][1], "pretrained": "auto"}}
    trial["pretraining"] = TINY["trial"]["pretraining"] | {"device": "auto", "epochs": 1}
    spec, rows = parse(TrialSpec, trial | {"ppo": {}}), []
    folder = TrialFolder(tmp_path / "trials" / "encoder")
    attempt = Attempt(JobKind.PRETRAINING, spec, folder, tmp_path, place_pretraining(spec, nodes))
    result = run_attempt(attempt, lambda row, checkpoint=None: rows.append(row))
    if why is None:
        assert result.error is None and rows[-1]["best_epoch"] == 1
    else:
        assert isinstance(result.error, TrainingError) and why in str(result.error)


def test_a_trial_that_fits_everywhere_books_the_share_of_the_smallest_gpu_and_may_land_on_any():
    place = place_trial(TrialSpec(), [A100, CPUS, T4])
    assert place.bundles[0]["GPU"] == 1 / SHARE and set(place.hosts) == {A100, T4}
    assert not any(key.startswith("accelerator_type") for bundle in place.bundles for key in bundle)


def test_a_trial_that_does_not_fit_everywhere_is_pinned_to_where_it_fits():
    spec = TrialSpec(encoder=FTSpec(patch_length=1, n_blocks=4), ppo=PPOSpec(env_runners_on_gpu=True))
    place = place_trial(spec, [T4, A100, CPUS])
    assert place.plan is not None and place.plan.gpu.name == "A100" and place.hosts == (A100,)
    for bundle in place.bundles:
        assert bundle["accelerator_type:A100"] == PIN
    with pytest.raises(SpecError, match=r"a T4 has 12\.96 GiB to share out"):
        place_trial(spec, [T4, CPUS])
    nameless = Node("own", 1, 8.0, 1, parse_gpu("40"))
    with pytest.raises(SpecError, match="Ray knows no accelerator type of those nodes"):
        place_trial(spec, [T4, nameless])


def test_bundles_stay_on_one_node_where_one_can_hold_them_and_spread_where_none_can():
    spec = TrialSpec(ppo=PPOSpec(n_env_runners=20))
    assert place_trial(spec, [T4]).strategy == "PACK"  # 16 CPUs
    assert place_trial(spec, [T4, BIG]).strategy == "STRICT_PACK"
    assert holds(BIG, [{"GPU": 0.6}] * 4) and not holds(BIG, [{"GPU": 0.6}] * 5)  # a share lies on one GPU
    assert holds(BIG, [{"GPU": 1 / 7}] * 28) and not holds(BIG, [{"CPU": 65.0}])


def test_jobs_at_once_are_limited_by_gpu_or_by_cores():
    place = place_trial(TrialSpec(), [T4])
    assert place.jobs_per_node(T4) == 7
    assert place.jobs_per_node(Node("few cores", 1, 4.0, 1, T4.gpu, "T4")) == 0  # another node than it was planned for
    few = Node("few cores", 1, 4.0, 1, T4.gpu, "T4")
    assert place_trial(TrialSpec(), [few]).jobs_per_node(few) == 2
    assert place_trial(TrialSpec(), [CPUS]).jobs_per_node(CPUS) == 4


def study_of(**trial):
    return parse_study({"name": "tiny", "trial": TINY["trial"] | trial, "search": {"n_trials": 4}})


MLP = {"kind": "mlp", "hidden": 64, "encoding_dim": 64}


def test_a_study_runs_as_many_jobs_at_once_as_the_cluster_has_shares_or_cores():
    spec = study_of(encoder=MLP)
    assert capacity_of(spec, [Node("", 3, 2.0)]).max_concurrent == 6
    assert capacity_of(spec, [Node("", 2, 64.0, 1, parse_gpu("12"))]).max_concurrent == 2 * 12
    assert capacity_of(spec, [Node("", 2, 8.0, 1, parse_gpu("12"))]).max_concurrent == 2 * 8
    wide = study_of(encoder=MLP, ppo=TINY["trial"]["ppo"] | {"n_env_runners": 6})
    spread = capacity_of(wide, [Node("", 4, 3.0, 1, parse_gpu("12"))])
    assert spread.needs[0][1].strategy == "PACK" and spread.max_concurrent == 2


def test_a_job_that_could_never_be_placed_is_refused():
    spec = study_of(encoder=MLP, ppo=TINY["trial"]["ppo"] | {"n_env_runners": 3})
    with pytest.raises(SpecError, match=r"a trial of this study asks for 3 CPUs .* and the cluster has 2"):
        capacity_of(spec, [Node("", 1, 2.0)])
    runners = {"n_env_runners": 60, "env_runners_on_gpu": True, "cpus_per_env_runner": 0.1}
    with pytest.raises(SpecError, match=r"asks for \d\.\d\d GPUs .* and the cluster has 1 that it fits on"):
        capacity_of(study_of(encoder=MLP, ppo=TINY["trial"]["ppo"] | runners), [Node("", 1, 64.0, 1, parse_gpu("12"))])
    with pytest.raises(SpecError, match=r"needs 0\.85 GiB"):
        capacity_of(study_of(encoder=MLP), [Node("", 1, 64.0, 1, parse_gpu("0.9"))])


def test_a_job_comes_to_the_same_placement_in_its_own_process():
    nodes = [T4, CPUS, BIG]
    config = json.loads(json.dumps(capacity_of(study_of(encoder=MLP), nodes).config))
    assert [Node.from_mapping(node) for node in config["nodes"]] == nodes
    assert capacity_of(study_of(encoder=MLP), [CPUS]).config == {}


def entry(node_id="a", alive=True, labels=None, **resources):
    return {"NodeID": node_id, "Alive": alive, "Labels": labels or {}, "Resources": resources}


def test_rays_nodes_are_counted_by_kind():
    t4 = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0, "memory": 1e9}
    entries = [entry("a", CPU=2.0), entry("b", **t4), entry("c", **t4), entry("d", alive=False, **t4)]
    head, gpus = nodes_of_ray(entries)
    assert (head.n, head.cpus, head.n_gpus, head.gpu) == (1, 2.0, 0, None)
    assert (gpus.n, gpus.cpus, gpus.n_gpus, gpus.accelerator) == (2, 4.0, 1, "T4") and gpus.gpu == parse_gpu("T4")


def test_a_gpus_own_label_counts_before_what_is_seen_and_that_before_its_models_name():
    t4, seen = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0}, Gpu("T4", 14.5)
    assert nodes_of_ray([entry("here", **t4)], "here", seen)[0].gpu == seen
    assert nodes_of_ray([entry("there", **t4)], "here", seen)[0].gpu == parse_gpu("T4")
    (labelled,) = nodes_of_ray([entry("here", labels={"ftray/gpu-gib": "13.5"}, **t4)], "here", seen)
    assert labelled.gpu == Gpu("T4", 13.5)
    (unknown,) = nodes_of_ray([entry(labels={"ftray/gpu-gib": "9"}, GPU=2.0)])
    assert unknown.gpu == Gpu("GPU of 9 GiB", 9.0) and unknown.n_gpus == 2
    (node,) = nodes_of_ray([entry(labels={"ray.io/accelerator-type": "T4"}, GPU=1.0)])
    assert node.gpu == parse_gpu("T4") and node.accelerator == ""  # no resource that would lead a job there
    with pytest.raises(SpecError, match=r"memory is not known \(GeForce-RTX-9999\): give the node the label ftray/gpu"):
        nodes_of_ray([entry(GPU=1.0, **{"accelerator_type:GeForce-RTX-9999": 1.0})])


CLUSTER = {
    "head_node_type": "head",
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 2}, "max_workers": 0, "node_config": {"InstanceType": "m7i.large"}},
        "spot": {"resources": {"CPU": 4, "GPU": 1}, "labels": {"ray.io/accelerator-type": "T4"}, "max_workers": 4},
        "own": {"resources": {"CPU": 32, "GPU": 2}, "labels": {"ftray/gpu-gib": "39.4"}},
        "off": {"resources": {"CPU": 4}, "max_workers": 0},
    },
}


@pytest.fixture
def cluster_file(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(CLUSTER, sort_keys=False))
    return path


def test_a_cluster_file_names_its_node_types(cluster_file):
    head, spot, own = nodes_of_file(cluster_file)
    assert (head.name, head.n, head.gpu) == ("head", 1, None)
    assert (spot.name, spot.n, spot.cpus, spot.accelerator, spot.gpu) == ("spot", 4, 4.0, "T4", parse_gpu("T4"))
    assert (own.n, own.n_gpus, own.gpu) == (6, 2, Gpu("GPU of 39.4 GiB", 39.4))
    cluster_file.write_text("provider: {type: aws}")
    with pytest.raises(SpecError, match="must be a cluster file of `ray up` with available_node_types"):
        nodes_of_file(cluster_file)
    with pytest.raises(SpecError, match="must be a YAML file that can be read"):
        nodes_of_file(cluster_file.parent / "nowhere.yaml")


def test_a_file_of_ones_own_machines_says_what_a_worker_has(cluster_file):
    worker = {"resources": {"CPU": 12, "GPU": 1}, "labels": {"ray.io/accelerator-type": "RTX-3060"}}
    machines = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "10.0.0.3", "10.0.0.4"]}
    cluster_file.write_text(yaml.safe_dump({"provider": machines, "metadata": {"worker": worker}}))
    head, own = nodes_of_file(cluster_file)
    assert (head.n, head.cpus, head.n_gpus) == (1, 0.0, 0)
    assert (own.n, own.cpus, own.n_gpus, own.gpu) == (3, 12.0, 1, parse_gpu("RTX 3060"))
    cluster_file.write_text(yaml.safe_dump({"provider": machines}))
    with pytest.raises(SpecError, match=r"must say what a worker has.*metadata: {worker:"):
        nodes_of_file(cluster_file)


def test_the_plan_of_a_study_is_printed_for_every_kind_of_job_on_every_kind_of_node(cluster_file):
    lines = [" ".join(line.split()) for line in describe_vram(study_of(), nodes_of_file(cluster_file))]
    for line in (
        "head: no GPU, 2 CPUs",
        "spot: 1 × T4, 14.56 GiB, of which 12.96 to share out, 4 CPUs, up to 4 of them",
        "0.85 table 1/15 15 15 4 (CPUs) mlp 64/64, minibatch 64, 51 floats",
        "0.85 table 1/41 41 41 32 (CPUs) mlp 64/64, minibatch 64, 51 floats",
        "0 - 0 - - 4 pre-training ft 32/1/2 patch 8, 32 windows, on the CPU",
        "1/10 on any of them ft 32/1/2/256 patch 8, minibatch 64, 51 floats",
    ):
        assert line in lines, "\n".join(lines)


def test_env_runners_on_the_gpu_and_what_does_not_fit_are_printed():
    literal = {"kind": "ft", "patch_length": 1}
    reference = {"encoder": literal, "features": {}, "market": {"kind": "simulator"}, "ppo": {}}
    refused = "\n".join(describe_vram(study_of(**reference), [T4]))
    assert "1/1" in refused
    none = "\n".join(describe_vram(study_of(**reference), [Node("small", 1, 8.0, 1, parse_gpu("6"))]))
    assert "1 of 1 jobs do not fit; the learner of a trial needs" in none
    ppo = TINY["trial"]["ppo"] | {"n_env_runners": 2, "env_runners_on_gpu": True}
    text = "\n".join(describe_vram(study_of(encoder=MLP, ppo=ppo), [T4]))
    assert "1/15 + 2 × 1/" in text and "2 env runners on the GPU" in text


def test_a_studys_own_workers_are_those_that_would_run_on_a_gpu():
    ppo = TINY["trial"]["ppo"] | {"n_env_runners": 2, "env_runners_on_gpu": True}
    learner, env_runner = workers_of(study_of(encoder=MLP, ppo=ppo))
    assert (learner.minibatch, env_runner.minibatch, env_runner.no_grad) == (64, 0, 128)
    assert learner.encoder == env_runner.encoder == MLPSpec(hidden=64, encoding_dim=64)
    assert {worker.minibatch for worker in workers_of(study_of())} == {64}


def test_the_command_line_prints_plans_and_refuses_with_the_reason(tmp_path, cluster_file, capsys, monkeypatch):
    monkeypatch.setattr("ftray.vram.gpus.local_gpu", lambda: None)
    file = str(tiny_file(tmp_path))
    assert main(["vram", file, "--gpu", "rtx 3060"]) == 0
    assert "1 × RTX 3060, 11.76 GiB" in capsys.readouterr().out
    assert main(["vram", file, "--cluster", str(cluster_file)]) == 0
    assert "spot: 1 × T4" in capsys.readouterr().out
    mended = tmp_path / "mended.yaml"  # `check` refuses weights that are nowhere
    mended.write_text(Path(file).read_text().replace("        - /nowhere/weights.pth\n", ""))
    there = [str(mended), "--set", "search.points=[]"]
    assert main(["check", *there, "--gpu", "12"]) == 0
    assert "1/12 to 1/8 of a GPU of 12 GiB (12.00 GiB) per learner, 8 to 12 trials" in capsys.readouterr().out
    assert main(["check", *there]) == 0
    assert "GPU" not in capsys.readouterr().out
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["vram", file]) == 0
    assert "no GPU is at hand: this plan is for an L4" in (printed := capsys.readouterr().out)
    assert "1 × L4, 21.90 GiB" in printed
    for wrong, message in (
        (["vram"], "plans a FILE"),
        (["vram", file, "--gpu", "T5"], "no known GPU 'T5'; did you mean 'T4'"),
        (["vram", "--measure"], "measuring needs a CUDA device"),
        (["vram", "--measure", "--gpu", "12"], "--measure asks a real GPU"),
    ):
        assert main(wrong) == 1
        assert message in capsys.readouterr().err


def looks_for_gpus(spec, report, *, folder, **elsewhere):
    (folder / "visible").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    report({"iteration": 1, "env_steps": spec.env_steps, "validation/sharpe": 1.0})


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_job_that_booked_no_gpu_sees_none(tmp_path):
    trial = {"encoder": MLP, "ppo": TINY["trial"]["ppo"] | {"learning_rate": 1e-3}}
    spec = parse_study({"name": "blind", "trial": TINY["trial"] | trial, "search": {"n_trials": 1}})
    run = run_study(spec, tmp_path, trial_fn=looks_for_gpus, say=lambda line: None)
    assert (run.trial_folder("trial-0000").folder / "visible").read_text() == ""
