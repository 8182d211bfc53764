"""What a cluster file promises of a machine is what the machine has."""

import pytest

from ftray.cluster.machines import AZURE_GPUS, EC2_GPUS, GCP_GPUS, ec2_machine

instance_types = pytest.importorskip("moto.ec2.models.instance_types")


def test_ec2s_types_have_the_cores_and_gpus_that_ec2_says():
    compared = 0
    for name, facts in instance_types.INSTANCE_TYPES.items():
        found = ec2_machine(name)
        if found is None:
            continue
        own = facts.get("GpuInfo", {}).get("Gpus", [])
        n_gpus, model = (own[0]["Count"], own[0]["Name"].upper()) if own else (0, None)
        if own and own[0]["Manufacturer"] != "NVIDIA":
            continue
        assert (found.cpus, found.gpus, found.gpu) == (facts["VCpuInfo"]["DefaultVCpus"], n_gpus, model), name
        compared += 1
    assert compared > 900


@pytest.mark.parametrize("family", EC2_GPUS)
def test_every_family_with_gpus_is_one_of_ec2(family):
    known = {name.partition(".")[0] for name in instance_types.INSTANCE_TYPES} | {"p3"}  # older than moto's list
    assert family in known


def test_a_machine_with_gpus_has_a_model_and_more_cores_than_gpus():
    for machine in (*GCP_GPUS.values(), *AZURE_GPUS.values()):
        assert machine.gpu and 0 < machine.gpus < machine.cpus
