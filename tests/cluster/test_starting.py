"""What the start commands of `cluster/` do on a node: run in a shell, with stand-ins for `ray` and `nvidia-smi`."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from ftray.capacity.local_ray import WORKER_ENVIRONMENT
from ftray.capacity.nodes import GIB
from ftray.cluster.gpu_label import QUERY

from .shipped import ROOT

MACHINES = ("local", "aws-gpu", "gcp-gpu", "azure-gpu")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
L4 = "23034, 462, [N/A]\n"
SHELLS_OWN = {"PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "RAY_HEAD_IP", "PYTHONPATH"}


class Node:
    """A machine whose `ray` notes how it was started, and whose `nvidia-smi` says what it is given to say."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        self.command("ray", f'printf "%s\\n" "$@" > {folder}/words; env -0 > {folder}/environment')

    def command(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def has_gpu(self, *lines: str) -> None:
        asked = shlex.join(QUERY[1:])
        printed = shlex.quote("".join(lines))
        self.command("nvidia-smi", f'test "$*" = {shlex.quote(asked)} || exit 9\nprintf %s {printed}')

    def starts(self, line: str, **environment: str) -> tuple[list[str], dict[str, str]]:
        """The words that `ray` got, and its environment without what every shell has."""
        path = f"{self.bin}:{Path(sys.executable).parent}:/usr/bin:/bin"
        given = {"PATH": path, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), "RAY_HEAD_IP": "10.0.0.1"}
        words = ["bash", "--noprofile", "--norc", "-c", line]
        subprocess.run(words, env=given | environment, cwd=self.folder, check=True, timeout=60)
        lines = (self.folder / "environment").read_text().split("\0")
        found = dict(entry.split("=", 1) for entry in lines if entry)
        return (self.folder / "words").read_text().splitlines(), {
            name: value for name, value in found.items() if name not in SHELLS_OWN
        }


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def start_line(name: str, key: str) -> str:
    tree = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    (line,) = [line for line in tree[key] if "ray start" in line]
    return line


def pods(group: str) -> list[dict]:
    """The containers of KubeRay's heads or workers, of both manifests."""
    trees = list(yaml.safe_load_all((ROOT / "cluster" / "kuberay.yaml").read_text()))
    specs = [tree["spec"].get("rayClusterSpec", tree["spec"]) for tree in trees]
    groups = [spec["headGroupSpec"] if group == "head" else spec["workerGroupSpecs"][0] for spec in specs]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


@pytest.mark.parametrize("key", STARTS)
@pytest.mark.parametrize("name", MACHINES)
def test_ray_starts_with_what_all_processes_need_in_their_environment(node, name, key):
    words, environment = node.starts(start_line(name, key))
    assert words[0] == "start"
    assert {name: value for name, value in environment.items() if not name.startswith("RAY_")} == WORKER_ENVIRONMENT
    _, own = node.starts(start_line(name, key), OMP_WAIT_POLICY="ACTIVE")
    assert own["OMP_WAIT_POLICY"] == "ACTIVE", "what a user has set on a machine stays"


def test_pods_and_their_image_have_what_all_processes_need_in_their_environment():
    for container in (*pods("head"), *pods("worker")):
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        assert {name: value for name, value in given.items() if name != "FTRAY_CLUSTER"} == WORKER_ENVIRONMENT
    lines = (ROOT / "cluster" / "Dockerfile").read_text().splitlines()
    image = dict(line.removeprefix("ENV ").split("=", 1) for line in lines if line.startswith("ENV "))
    assert {name: value for name, value in image.items() if not name.startswith("NVIDIA_")} == WORKER_ENVIRONMENT


@pytest.mark.parametrize("name", MACHINES)
def test_a_worker_says_at_its_start_how_many_gib_its_gpu_has(node, name):
    line = start_line(name, "worker_start_ray_commands")
    node.has_gpu(L4)
    words, _ = node.starts(line)
    assert f"--labels={GIB}=22.04" in words and "--address=10.0.0.1:6379" in words


@pytest.mark.parametrize(
    ("printed", "label"),
    [
        (L4, "22.04"),
        ("15360, 455, [N/A]\n", "14.56"),  # a T4; ECC takes its part before
        ("40960, 634, Disabled\n" * 8, "39.38"),  # eight A100
        ("24576, 348, [N/A]\n12288, 248, [N/A]\n", "11.76"),  # an RTX 3090 and an RTX 3060: any of them may be it
        ("4096, 0, [N/A]\n", "4.0"),  # a quarter of an A10, as Azure rents it
        ("81559, 551, Enabled\n", None),  # MIG: no process gets the whole card
        ("[N/A], [N/A], [N/A]\n", None),  # memory shared with the CPU
        ("No devices were found\n", None),
        ('Field "memory.reserved" is not a valid field to query.\n', None),  # drivers before 510
    ],
)
def test_the_label_is_what_a_process_can_get_or_there_is_none(node, printed, label):
    node.has_gpu(printed)
    words, _ = node.starts(start_line("aws-gpu", "worker_start_ray_commands"))
    assert [word for word in words if "labels" in word] == ([f"--labels={GIB}={label}"] if label else [])


def test_a_machine_without_nvidia_smi_or_with_a_broken_one_starts_all_the_same(node):
    line = start_line("local", "worker_start_ray_commands")
    words, _ = node.starts(line)
    assert words == ["start", "--address=10.0.0.1:6379"]
    node.command("nvidia-smi", "echo NVIDIA-SMI has failed; exit 9")
    assert node.starts(line)[0] == words


def test_a_pod_says_it_too_before_kuberay_starts_ray(node):
    for container in pods("worker"):
        generated = "ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379 --block"
        line = f"{' '.join(container['args'])} && {generated}"  # as KubeRay joins them
        node.has_gpu(L4)
        words, environment = node.starts(line)
        assert words[0] == "start" and json.loads(environment["RAY_OVERRIDE_LABELS"]) == {GIB: "22.04"}
        node.command("nvidia-smi", "exit 9")
        words, environment = node.starts(line)
        assert words[0] == "start" and environment["RAY_OVERRIDE_LABELS"] == ""


def test_ray_joins_the_label_with_those_of_the_cluster_file_which_count_first(monkeypatch):
    kind = yaml.safe_load((ROOT / "cluster" / "aws-gpu.yaml").read_text())["available_node_types"]["gpu-spot"]
    assert labels_of_node({GIB: "22.04"}, kind["labels"], monkeypatch) >= {(GIB, "22.04"), *kind["labels"].items()}
    assert (GIB, "9.6") in labels_of_node({GIB: "22.04"}, {GIB: "9.6"}, monkeypatch), "what a user writes stays"
    assert labels_of_node({GIB: "22.04"}, None, monkeypatch) >= {(GIB, "22.04")}


def labels_of_node(given: dict[str, str], of_file: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> set:
    """What a node is labelled with. given: to `ray start --labels`; of_file: what `ray up` exports."""
    monkeypatch.setenv("RAY_OVERRIDE_LABELS", json.dumps(of_file) if of_file else "")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", "")
    spec = ResourceAndLabelSpec(num_cpus=1, num_gpus=0, memory=2**30, object_store_memory=2**28, labels=given)
    return set(spec.resolve(is_head=False, node_ip_address="10.0.0.2").labels.items())
