"""What `ftray check --cluster` prints before anything costs money: nodes, hours and cost from measured trials."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ftray.metrics import CPU_SECONDS, GPU_SECONDS
from ftray.runs import RunFolder
from ftray.spec import to_mapping
from ftray.study import StudySpec, parse_study
from ftray.study.forecast import describe_on_cluster, prices_of_file
from ftray.study.pace import Paces, speed_shape

from .tiny import TINY

CLUSTER = {
    "max_workers": 4,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0, "labels": {"ftray/price-per-hour": "0.1"}},
        "spot": {
            "resources": {"CPU": 8, "GPU": 1, "accelerator_type:L4": 1},
            "max_workers": 3,
            "labels": {"ftray/price-per-hour": "1.5"},
        },
    },
}


def study_of(n_trials: int, env_steps: int = 1000, **search: object) -> StudySpec:
    trial = TINY["trial"] | {"encoder": TINY["trial"]["encoder"]["choice"][0]}
    trial |= {"ppo": TINY["trial"]["ppo"] | {"env_steps": env_steps}}
    return parse_study({"name": "planned", "trial": trial, "search": {"n_trials": n_trials, **search}})


def forecast(tmp_path: Path, spec: StudySpec, tree: object = CLUSTER) -> dict[str, str]:
    """The printed lines, by title."""
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(tree))
    lines = [line for line in describe_on_cluster(spec, file, tmp_path / "runs", "planned.yaml") if line[2:3] != " "]
    return {line[2:16].strip(): line[16:] for line in lines if line.startswith("  ")}


def measured(runs: Path, seconds: float, env_steps: int, on_gpu: bool, state: str = "COMPLETE") -> None:
    """A run folder with a trial that booked one CPU for so long."""
    spec, name = study_of(1, env_steps), f"run-{len(list(runs.glob('*')))}"
    run = RunFolder.create(runs / name, {"name": name})
    trial = spec.corner_trials[0]
    run.add_trial("trial-0000", 0, "trial", {}, to_mapping(trial))
    run.trial_started("trial-0000")
    gpu = {GPU_SECONDS: seconds / 5} if on_gpu else {}
    run.trial_ended("trial-0000", state, {"env_steps": env_steps, CPU_SECONDS: seconds, **gpu})  # type: ignore[arg-type]


def test_nodes_and_jobs_at_once_follow_from_the_shares_and_the_cores(tmp_path):
    few, many = forecast(tmp_path, study_of(10)), forecast(tmp_path, study_of(100))
    assert few["trials"].startswith("22 per GPU")
    assert few["per node"].startswith("8,")  # cores run out first
    assert few["at once"] == "24, of 10 in all" and few["nodes"].startswith("2,")
    assert many["nodes"].startswith("3,")
    assert forecast(tmp_path, study_of(100, max_concurrent=7))["nodes"].startswith("1,")


def test_without_a_measured_trial_hours_are_unknown_and_the_command_that_measures_is_printed(tmp_path):
    measured(tmp_path / "runs", 60.0, 500, on_gpu=False)  # the speed of a CPU says nothing about a GPU's
    measured(tmp_path / "runs", 60.0, 500, on_gpu=True, state="FAILED")
    lines = forecast(tmp_path, study_of(10))
    assert lines["hours, cost"].startswith("unknown: no trial of this shape has ended in")
    file = tmp_path / "cluster.yaml"
    lines = list(describe_on_cluster(study_of(10), file, tmp_path / "runs", "planned.yaml"))
    assert lines[-1].endswith(f"ftray tune planned.yaml --runs {tmp_path / 'runs'} --set search.n_trials=3")


def test_hours_and_cost_scale_with_the_env_steps_of_measured_trials(tmp_path):
    for seconds in (30.0, 36.0, 900.0):  # the median: 0.072 s a step
        measured(tmp_path / "runs", seconds, 500, on_gpu=True)
    lines = forecast(tmp_path, study_of(48, env_steps=100_000))  # 2 hours a trial, 24 at once
    assert lines["hours"].startswith("about 4, by 3 trials measured before")
    assert lines["cost"].startswith(f"about {4 * (3 * 1.5 + 0.1):.0f},")
    assert "scheduler" in forecast(tmp_path, study_of(48, scheduler="asha"))["hours"]


def test_measurements_of_some_shapes_are_printed_as_such(tmp_path):
    measured(tmp_path / "runs", 36.0, 500, on_gpu=True)
    trial = TINY["trial"] | {"ppo": TINY["trial"]["ppo"] | {"env_steps": 1000}}
    mlp = TINY["trial"]["encoder"]["choice"][0]
    trial |= {"encoder": {"choice": [mlp, mlp | {"hidden": 2048}]}}
    spec = parse_study({"name": "planned", "trial": trial, "search": {"n_trials": 10}})
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(CLUSTER))
    lines = list(describe_on_cluster(spec, file, tmp_path / "runs", "planned.yaml"))
    assert any("by 1 trials measured before" in line for line in lines)
    assert any("of 1 of 2 shapes; the others are unknown, like mlp 2048" in line for line in lines), lines


def test_a_cost_without_prices_is_unknown_and_a_price_must_be_a_number(tmp_path):
    measured(tmp_path / "runs", 36.0, 500, on_gpu=True)
    tree = yaml.safe_load(yaml.safe_dump(CLUSTER))
    del tree["available_node_types"]["spot"]["labels"]
    assert forecast(tmp_path, study_of(10), tree)["cost"].startswith("unknown: a node type has no label")
    tree["available_node_types"]["spot"]["labels"] = {"ftray/price-per-hour": "cheap"}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ValueError, match="must be a number in quotes"):
        prices_of_file(tmp_path / "cluster.yaml")


def test_what_never_fits_is_printed(tmp_path):
    tree = yaml.safe_load(yaml.safe_dump(CLUSTER))
    tree["available_node_types"]["spot"]["resources"]["CPU"] = 0
    assert "asks for 1 CPUs" in forecast(tmp_path, study_of(10), tree)["never fits"]


def test_a_shape_of_speed_is_what_costs_time(tmp_path):
    spec = study_of(1)
    ends = spec.corner_trials
    assert len(ends) > 1 and len({speed_shape(trial) for trial in ends}) == 1  # learning rates
    tree = next(spec.space.corners())
    other = spec.trial(tree | {"ppo": tree["ppo"] | {"minibatch_size": 32}})
    assert speed_shape(other) != speed_shape(ends[0])
    assert Paces(tmp_path / "nowhere").of(other, on_gpu=True) is None


def test_check_with_a_cluster_prints_its_files_problems_and_starts_no_ray(tmp_path):
    study, file = tmp_path / "planned.yaml", tmp_path / "cluster.yaml"
    study.write_text(yaml.safe_dump({"trial": study_of(2).space.tree}))
    file.write_text(yaml.safe_dump(CLUSTER | {"provder": {}}))
    code = (
        "import sys\nfrom ftray.cli import main\n"
        f"status = main(['check', {str(study)!r}, '--cluster', {str(file)!r}])\n"
        "import ray\nassert not ray.is_initialized()\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "problem       provder: no such key; did you mean 'provider'?" in done.stdout
    assert "at once       24, of 20 in all" in done.stdout
