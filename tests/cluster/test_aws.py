"""`aws-gpu.yaml` as `ray up` walks it, against moto's AWS in this process: no machine, no SSH, no wait."""

import copy
import json
import re
from types import SimpleNamespace

import boto3
import pytest
import yaml

from .shipped import ROOT, make_project

GPU, HEAD = "g6.4xlarge", "m7i.large"


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """`ray up` up to its first machine: the file, and what Ray made of it in an account that was empty before."""
    from moto import mock_aws
    from moto.ec2.models import instance_types
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.aws import config

    known = {name: instance_types.INSTANCE_TYPES[name] for name in (GPU, HEAD)}  # all of them: 5 s of XML a call
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        path = make_project(tmp_path_factory.mktemp("aws"), patch) / "cluster" / "aws-gpu.yaml"
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_DEFAULT_REGION", "us-west-2")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr(config, "time", SimpleNamespace(sleep=lambda seconds: None))  # for IAM to hear of a new role
        patch.setattr(instance_types, "INSTANCE_TYPES", known)
        yield path, commands._bootstrap_config(yaml.safe_load(path.read_text()), no_config_cache=True)


class Recorder:
    """Runs nothing, and keeps what was to be run."""

    def __init__(self):
        self.lines = []

    def check_call(self, words, *args, **kwargs):
        self.lines.append(words if isinstance(words, str) else " ".join(map(str, words)))
        return 0

    def check_output(self, words, *args, **kwargs):
        self.check_call(words)
        return b""


def instances():
    reservations = boto3.client("ec2").describe_instances()["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]


@pytest.mark.long
def test_a_head_comes_up_with_what_the_file_says_and_nothing_of_rays_own(aws):
    from ray.autoscaler._private import commands

    runner = Recorder()
    path, tree = aws
    commands.get_or_create_head_node(
        copy.deepcopy(tree),
        str(path),
        no_restart=False,
        restart_only=False,
        yes=True,
        override_cluster_name=None,
        _runner=runner,
    )
    (head,) = instances()
    assert head["InstanceType"] == HEAD and "InstanceLifecycle" not in head, "a head on spot would take the study along"
    assert head["MetadataOptions"]["HttpTokens"] == "required"
    text = "\n".join(runner.lines)
    for word in (
        "RAY_AUTH_MODE=token",
        ".ray/auth_token",
        "constraints.txt",
        "uv venv --python 3.11.7",
        "ray start --head",
    ):
        assert word in text, word
    for word in ("3.0.0.dev0", "pip install 'boto3", "pip install boto3", "0.0.0.0"):
        assert word not in text, word
    assert "0" * 64 not in text, "the token itself is in a command line"


def test_only_ssh_is_open_to_the_world(aws):
    groups = boto3.client("ec2").describe_security_groups()["SecurityGroups"]
    (group,) = [group for group in groups if group["GroupName"] == "ftray"]
    open_to_all = [rule for rule in group["IpPermissions"] if rule.get("IpRanges")]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in open_to_all] == [(22, 22)]
    inside = [rule for rule in group["IpPermissions"] if not rule.get("IpRanges")]
    assert all(pair["GroupId"] == group["GroupId"] for rule in inside for pair in rule["UserIdGroupPairs"])


def test_a_worker_is_a_spot_machine_with_the_heads_role_and_the_gpu_that_the_file_tells(aws):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    _, tree = aws
    kind = tree["available_node_types"]["gpu-spot"]
    provider = AWSNodeProvider(dict(tree["provider"]), tree["cluster_name"])
    tags = {"ray-node-type": "worker", "ray-node-name": "worker"}
    provider.create_node(copy.deepcopy(kind["node_config"]), tags, 1)
    (worker,) = [instance for instance in instances() if instance["InstanceType"] == GPU]
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["IamInstanceProfile"]["Arn"].endswith("/ray-autoscaler-v1"), "without a role it cannot write to S3"
    roles = boto3.client("iam").get_instance_profile(InstanceProfileName="ray-autoscaler-v1")["InstanceProfile"][
        "Roles"
    ]
    policies = boto3.client("iam").list_attached_role_policies(RoleName=roles[0]["RoleName"])["AttachedPolicies"]
    assert "AmazonS3FullAccess" in {policy["PolicyName"] for policy in policies}
    real = {
        row["InstanceType"]: row
        for row in boto3.client("ec2").describe_instance_types(InstanceTypes=[GPU])["InstanceTypes"]
    }
    assert kind["resources"]["CPU"] == real[GPU]["VCpuInfo"]["DefaultVCpus"]
    (gpu,) = real[GPU]["GpuInfo"]["Gpus"]
    assert gpu["Count"] == kind["resources"]["GPU"] and f"accelerator_type:{gpu['Name']}" in kind["resources"]


def test_the_command_of_the_page_lets_the_head_give_workers_its_role_and_look_up_images(aws):
    text = " ".join((ROOT / "docs" / "cluster.md").read_text().split())
    found = re.search(r"aws iam put-role-policy --role-name (\S+) --policy-name (\S+) .*?'({.*?]})'", text)
    assert found, "docs/cluster.md gives no command"
    role, name, policy = found.groups()
    boto3.client("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy)  # moto reads it strictly
    allowed = {
        rule["Action"]: rule["Resource"] for rule in json.loads(policy)["Statement"] if rule["Effect"] == "Allow"
    }
    assert allowed["iam:PassRole"].endswith(f":role/{role}"), "no other role may be given away"
    _, tree = aws
    for kind in tree["available_node_types"].values():
        assert kind["node_config"]["ImageId"].startswith("resolve:ssm:/aws/service/")
    assert allowed["ssm:GetParameters"].endswith(":parameter/aws/service/*")
