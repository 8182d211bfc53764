"""The cluster files are right, and whatever can be wrong with one is reported before anything starts."""

import contextlib
import copy
import json
import re

import pytest
import yaml

from ftray.capacity.cluster_file import autoscaling_config, read_cluster_file
from ftray.capacity.nodes import nodes_of_file
from ftray.cli.terminal import runs_of
from ftray.cluster.check import check_cluster_file
from ftray.cluster.installing import COMMANDS, PARTS, pinned_versions
from ftray.errors import SpecError
from ftray.study.forecast import prices_of_file

from .mutants import MUTANTS
from .shipped import NAMES, ROOT, as_shipped
from .shipped import project as project

CLOUDS = ("aws-gpu", "gcp-gpu", "azure-gpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_file_is_right_once_it_is_filled_in(project, name):
    assert check_cluster_file(project / "cluster" / f"{name}.yaml") == []


@pytest.mark.parametrize("name", (*CLOUDS, "kuberay"))
def test_as_shipped_a_cluster_file_lacks_only_what_its_user_must_fill_in(project, name):
    problems = check_cluster_file(as_shipped(project, name))
    assert problems and all(re.search(r"YOUR-[A-Z]+ must be filled in", problem) for problem in problems)


@pytest.mark.parametrize(("name", "right", "wrong", "message"), MUTANTS, ids=[f"{m[0]}: {m[3][:50]}" for m in MUTANTS])
def test_what_is_wrong_in_a_cluster_file_is_reported_with_its_key(project, name, right, wrong, message):
    path = project / "cluster" / f"{name}.yaml"
    assert right in path.read_text(), "the mutant changes nothing"
    path.write_text(path.read_text().replace(right, wrong, 1))
    problems = check_cluster_file(path)
    assert any(re.search(message, problem) for problem in problems), problems


def test_there_are_mutants_of_every_file():
    assert len(MUTANTS) >= 30 and {mutant[0] for mutant in MUTANTS} == set(NAMES)


def test_a_missing_token_is_reported_with_the_command_that_creates_it(project, tmp_path):
    (tmp_path / "home" / ".ray" / "auth_token").unlink()
    (problem,) = check_cluster_file(project / "cluster" / "local.yaml")
    assert (
        problem.startswith("file_mounts.~/.ray/auth_token: must exist on this machine")
        and "ray get-auth-token --generate" in problem
    )


DEEP = "a: " + 5_000 * "[" + 5_000 * "]"


@pytest.mark.parametrize(
    "text", ["", "- a list", "a: [", "just words", "a: &b [*b]", pytest.param(DEEP, id="nested deeply")]
)
def test_what_is_no_cluster_file_is_reported_without_a_traceback(project, text):
    path = project / "cluster" / "other.yaml"
    path.write_text(text)
    (problem,) = check_cluster_file(path)
    assert str(path) in problem and "must" in problem
    (problem,) = check_cluster_file(path.with_name("nowhere.yaml"))
    assert "must be a YAML file that can be read" in problem


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [3, pytest.param("x", marks=pytest.mark.long)])
def test_no_value_of_another_type_makes_the_checks_raise(project, name, value):
    path = project / "cluster" / f"{name}.yaml"
    tree = read_cluster_file(path).documents[-1]
    n_refused = 0
    for place in places(tree):
        path.write_text(json.dumps(replaced(tree, place, value)))  # JSON is YAML, and written faster
        n_refused += bool(check_cluster_file(path))
    assert n_refused >= 20, "most of these are wrong and must be refused"


@pytest.mark.parametrize("name", ("local", "aws-gpu", "kuberay"))
@pytest.mark.parametrize("value", [3, "x", None, [], -1])
def test_what_plans_with_a_file_refuses_values_of_another_type_as_the_check_does(project, name, value):
    path = project / "cluster" / f"{name}.yaml"
    tree = read_cluster_file(path).documents[-1]
    for place in places(tree):
        path.write_text(json.dumps(replaced(tree, place, value)))
        for read in (nodes_of_file, prices_of_file, runs_of):
            with contextlib.suppress(SpecError):
                read(path)


def places(tree, above=()):
    """The paths of all that a tree holds."""
    for name, below in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*above, name)
        yield from places(below, (*above, name))


def replaced(tree, place, value):
    first, *rest = place
    new = copy.copy(tree)
    new[first] = replaced(tree[first], rest, value) if rest else value
    return new


def test_every_file_installs_the_same_in_the_same_way():
    trees = [yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text()) for name in ("local", *CLOUDS)]
    setups = [
        [re.sub(r'"?(?:~|\$HOME)/ftray(\[\w+\])?"?$', "ftray", line) for line in tree["setup_commands"]]
        for tree in trees
    ]
    assert all(setup == setups[0] for setup in setups)
    assert all(tree["file_mounts"] == trees[0]["file_mounts"] for tree in trees)
    assert all(set(COMMANDS) <= set(tree) for tree in trees)


def test_nodes_are_planned_for_as_ray_will_see_them(project):
    for name in NAMES:
        head, worker = nodes_of_file(project / "cluster" / f"{name}.yaml")
        assert (head.n, head.cpus, head.n_gpus) == (1, 0.0, 0), "the head runs no trial"
        assert worker.n_gpus == 1 and worker.gpu is not None and worker.cpus >= 14
        assert worker.n == (2 if name == "local" else 4)


def test_kuberay_brings_the_same_cluster_for_a_study_as_for_a_user(project):
    cluster, job = yaml.safe_load_all((project / "cluster" / "kuberay.yaml").read_text())
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert {cluster["metadata"]["labels"]["ftray"], job["metadata"]["labels"]["ftray"]} == {"cluster", "study"}


def test_rays_autoscaler_reads_from_kuberay_what_is_meant(project):
    path = project / "cluster" / "kuberay.yaml"
    for manifest in read_cluster_file(path).documents:
        derived = autoscaling_config(manifest, path)
        assert derived["idle_timeout_minutes"] == 5.0
        worker = derived["available_node_types"]["gpu-spot"]
        assert (worker["min_workers"], worker["max_workers"]) == (0, 4)
        assert {**worker["resources"], "memory": 48} == {"CPU": 14, "GPU": 1, "accelerator_type:L4": 1, "memory": 48}
        assert worker["labels"]["ftray/price-per-hour"] == "1.32"
        assert derived["available_node_types"][derived["head_node_type"]]["resources"]["CPU"] == 0


def test_the_image_holds_what_an_installation_needs_at_the_versions_that_were_tested():
    lines = (ROOT / "cluster" / "Dockerfile").read_text().splitlines()
    ray = pinned_versions(ROOT)["ray"]
    assert f"FROM rayproject/ray:{ray}-py311" in lines
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]}
    assert copied == {*PARTS, "ftray/version.py", "cluster/kuberay.yaml"}
    assert any("pip install" in line and "-c constraints.txt" in line for line in lines)


def test_the_image_can_be_built_with_a_torch_for_older_drivers_and_both_pages_name_the_drivers():
    text, page = ((ROOT / name).read_text() for name in ("cluster/Dockerfile", "docs/cluster.md"))
    before, _, after = text.partition("ARG TORCH_INDEX=https://pypi.org/simple\n")
    assert re.search(r'pip install [^\n]*--extra-index-url "\$TORCH_INDEX" [^\n]*-c constraints\.txt', after)
    index = re.search(r"--build-arg TORCH_INDEX=(\S+)", before)
    assert index and re.fullmatch(r"https://download\.pytorch\.org/whl/cu12\d", index[1])
    torch = pinned_versions(ROOT)["torch"]
    for text in (before, page):
        assert index[0] in text and f"torch {torch}" in text and "driver 580" in text and "525" in text


def test_plans_and_verbs_refuse_what_the_check_cannot_read(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("cluster_name: one\ncluster_name: two\n")
    (problem,) = check_cluster_file(path)
    for read in (nodes_of_file, runs_of):
        with pytest.raises(SpecError) as raised:
            read(path)
        assert str(raised.value) == problem and "given twice, the second time in line 2" in problem


def test_a_cluster_file_that_does_not_exist_is_refused_with_where_to_find_some(tmp_path):
    (problem,) = check_cluster_file(tmp_path / "aws-gpu.yaml")
    assert (
        "aws-gpu.yaml must be a YAML file that can be read, but does not exist" in problem
        and "source distribution" in problem
    )


def test_a_kuberay_manifest_has_nodes_and_no_place_that_a_ray_command_reaches(project):
    path = project / "cluster" / "kuberay.yaml"
    assert [node.name for node in nodes_of_file(path)][1:] == ["gpu-spot"]
    with pytest.raises(SpecError, match="kubectl port-forward"):
        runs_of(path)
