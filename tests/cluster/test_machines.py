"""What a cluster file promises of a machine is what the machine has."""

from pathlib import Path

import pytest

from ftray.capacity.cluster_file import ClusterFile, read_cluster_file
from ftray.capacity.machines import (
    AZURE_GPUS,
    EC2_GPUS,
    GCP_GPUS,
    azure_machine,
    ec2_machine,
    gcp_machine,
    machine_problems,
    unknown_machines,
)
from ftray.capacity.nodes import nodes_of_file
from ftray.cli import main
from ftray.cluster.check import check_cluster_file
from ftray.errors import SpecError
from ftray.vram.gpu_models import MODELS, canonical_name

from .shipped import project as project

instance_types = pytest.importorskip("moto.ec2.models.instance_types")


def test_ec2s_types_have_the_cores_and_gpus_that_ec2_says():
    compared = 0
    for name, facts in instance_types.INSTANCE_TYPES.items():
        found = ec2_machine(name)
        if found is None:
            continue
        own = facts.get("GpuInfo", {}).get("Gpus", [])
        n_gpus, model = (own[0]["Count"], canonical_name(own[0]["Name"])) if own else (0, None)
        if own and own[0]["Manufacturer"] != "NVIDIA":
            continue
        ours = found.gpu if model not in ("A100", "V100") else str(found.gpu).split()[0]  # EC2 leaves out GiB
        assert (found.cpus, found.gpus, ours) == (facts["VCpuInfo"]["DefaultVCpus"], n_gpus, model), name
        compared += 1
    assert compared > 1200


@pytest.mark.parametrize("family", EC2_GPUS)
def test_every_family_with_gpus_is_one_of_ec2(family):
    known = {name.partition(".")[0] for name in instance_types.INSTANCE_TYPES} | {"p3"}  # older than moto's list
    assert family in known


def test_a_machine_with_gpus_has_a_model_and_more_cores_than_gpus():
    for machine in (*GCP_GPUS.values(), *AZURE_GPUS.values()):
        assert machine.gpu in MODELS and 0 < machine.gpus < machine.cpus


@pytest.mark.parametrize(
    ("machine", "cpus"),
    [
        (azure_machine("Standard_D16s_v5"), 16),
        (azure_machine("Standard_D2_v3"), 2),
        (azure_machine("Standard_F8s_v2"), 8),
        (azure_machine("standard_nc16as_t4_v3"), 16),  # Azure takes any case
        (gcp_machine("n2-standard-8"), 8),
        (gcp_machine("c3-standard-22-lssd"), 22),
        (gcp_machine("m1-ultramem-40"), 40),
        (gcp_machine("e2-medium"), 2),
        (gcp_machine("custom-6-23040"), 6),
        (gcp_machine("a3-ultragpu-8g-nolssd"), 224),
        (ec2_machine("t3.micro"), 2),
        (ec2_machine("m7i.metal-24xl"), 96),
    ],
)
def test_cores_are_those_of_the_providers_tables(machine, cpus):
    assert machine is not None and machine.cpus == cpus


@pytest.mark.parametrize(
    "machine",
    [
        azure_machine("Standard_D3_v2"),  # four cores, D11_v2 two: the number is no number of cores
        azure_machine("Standard_E4-2s_v3"),
        azure_machine("Standard_NV6ads_A10_v5"),  # a sixth of a GPU
        gcp_machine("g2-standard-5"),
        gcp_machine("a9-highgpu-1g"),
        ec2_machine("g6f.xlarge"),  # a part of a GPU
        ec2_machine("p9.48xlarge"),
        ec2_machine("g2-standard-16"),
    ],
)
def test_a_type_whose_name_does_not_say_what_it_has_is_unknown(machine):
    assert machine is None


def cloud(provider: str, config: dict[str, object], resources: dict[str, int], **labels: str) -> ClusterFile:
    """A cluster file with one type."""
    kind = {"node_config": config, "resources": resources, "labels": labels}
    return ClusterFile(Path("x.yaml"), ({"provider": {"type": provider}, "available_node_types": {"gpus": kind}},))


@pytest.mark.parametrize(
    "file",
    [
        cloud("aws", {"InstanceType": "g6.12xlarge"}, {"CPU": 48, "GPU": 4, "accelerator_type:L4": 1}),
        cloud("aws", {"InstanceType": "g6.12xlarge"}, {"CPU": 8}),  # Ray asks EC2 for the GPUs
        cloud("aws", {"InstanceType": "p4de.24xlarge"}, {"CPU": 96, "GPU": 8, "accelerator_type:A100": 1}),
        cloud("aws", {"InstanceType": "p4de.24xlarge"}, {"CPU": 96, "GPU": 8, "accelerator_type:A100-80G": 1}),
        cloud("gcp", {"machineType": "zones/us-central1-a/machineTypes/g2-standard-24"}, {"CPU": 24, "GPU": 2}),
        cloud("gcp", {"machineType": "a2-highgpu-1g"}, {"CPU": 12, "GPU": 1, "accelerator_type:A100-40G": 1}),
        cloud("azure", {"azure_arm_parameters": {"vmSize": "Standard_D16s_v5"}}, {"CPU": 16}),
    ],
)
def test_resources_that_the_machine_has_are_accepted(file):
    assert list(machine_problems(file)) == [] and list(unknown_machines(file)) == []


@pytest.mark.parametrize(
    ("file", "model"),
    [
        (cloud("aws", {"InstanceType": "p4d.24xlarge"}, {"GPU": 8, "accelerator_type:A100-80G": 1}), "A100-40G"),
        (
            cloud(
                "azure",
                {"azure_arm_parameters": {"vmSize": "Standard_NV36ads_A10_v5"}},
                {"GPU": 1, "accelerator_type:A100": 1},
            ),
            "A10",
        ),
    ],
)
def test_a_model_whose_name_begins_alike_is_another_one(file, model):
    (problem,) = machine_problems(file)
    assert f"must be accelerator_type:{model}, the GPU of" in problem


def test_a_type_that_is_not_known_is_named_and_not_refused(project, capsys):
    path = project / "cluster" / "azure-gpu.yaml"
    path.write_text(path.read_text().replace("Standard_NC16as_T4_v3", "Standard_NC99as_T9_v9"))
    assert check_cluster_file(path) == [] and nodes_of_file(path)
    assert list(unknown_machines(read_cluster_file(path))) == [
        "available_node_types.gpu-spot: ftray does not know the machine type Standard_NC99as_T9_v9: check that it has "
        "CPU: 16, GPU: 1, accelerator_type:T4: 1"
    ]


def test_a_kubernetes_pod_may_have_a_part_of_a_node(project):
    path = project / "cluster" / "kuberay.yaml"
    asked = "nodeSelector: {node.kubernetes.io/instance-type: g6.12xlarge, x:"
    path.write_text(path.read_text().replace("# nodeSelector: {cloud.google.com/gke-spot:", asked))
    assert check_cluster_file(path) == []


def test_no_plan_is_made_of_resources_that_a_machine_does_not_have(project, capsys):
    path = project / "cluster" / "aws-gpu.yaml"
    path.write_text(path.read_text().replace("GPU: 1", "GPU: 4"))
    with pytest.raises(SpecError, match=r"aws-gpu\.yaml: .*GPU: must be 1, those of g6\.4xlarge, got 4"):
        nodes_of_file(path)
    assert main(["vram", "demo", "--cluster", str(path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "GPU: must be 1, those of g6.4xlarge, got 4" in line
