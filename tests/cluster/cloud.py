"""A cloud in a box: moto answers for EC2, IAM and S3, and a real host stands behind every instance's addresses.

Takes: `Hosts`. Gives: `Cloud`: what runs there, and the power to take a spot instance back.
"""

import concurrent.futures
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .hosts import Host, Hosts
from .waiting import until

PORT, REGION, BUCKET = 5000, "us-west-2", "ftray-lab"
CLONE_NEWNET = 0x40000000
SERVE = """
import sys
import moto.ec2.models.instance_types as types
# All instance types there are take moto 5 s to tell, every time that Ray asks.
types.INSTANCE_TYPES = {name: types.INSTANCE_TYPES[name] for name in sys.argv[3].split(",")}
from moto.ec2.responses.instances import InstanceResponse
# moto starts as many instances as are the least that one is content with; EC2 as many as it can.
ask = InstanceResponse._get_param
InstanceResponse._get_param = lambda self, name, *more, **how: ask(
    self, "MaxCount" if name == "MinCount" else name, *more, **how
)
from moto.server import main
main(["-H", sys.argv[1], "-p", sys.argv[2]])
"""
GONE = ("terminated", "shutting-down", "stopped", "stopping")


class Cloud:
    """EC2's, IAM's and S3's answers, and machines to be rented.

    types: the instance types that there are. users, environment, venv: of each machine, as for `Hosts.add`.
    """

    def __init__(self, hosts: Hosts, machines: int, types: list[str], environment: dict[str, str], **how: Any):
        self.hosts, self.types = hosts, types
        self.desk = hosts.add("cloud", 3)
        self.environment = environment | {
            "AWS_ENDPOINT_URL": f"http://{self.desk.address}:{PORT}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": REGION,
        }
        self.free = [hosts.add(f"machine-{i}", 20 + i, environment=self.environment, **how) for i in range(machines)]
        self.rented: dict[str, Host] = {}
        self.log: list[tuple[str, str, str]] = []
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keys: Callable[[], list[str]] = list
        self.problem: BaseException | None = None

    def open(self, keys: Callable[[], list[str]]) -> None:
        """Starts to answer. keys: the public keys that the cloud's customer has at hand when a machine is rented."""
        self._keys = keys
        self.desk.boot()
        words = [sys.executable, "-c", SERVE, "0.0.0.0", str(PORT), ",".join(self.types)]
        line = " ".join(f"'{word}'" for word in words)
        # Ray gives its nodes a role with Amazon's own policies, which moto brings only when asked to.
        self._server = subprocess.Popen(
            self.desk.command(f"exec {line}", MOTO_IAM_LOAD_MANAGED_POLICIES="true"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._thread.submit(self._enter).result()
        where = {"LocationConstraint": REGION}
        until(lambda: self._answers(), 60, "the cloud answers")
        self.ask("s3", "create_bucket", Bucket=BUCKET, CreateBucketConfiguration=where)
        self._keeper.start()

    def close(self) -> None:
        self._closing.set()
        self._keeper.join()
        self._thread.shutdown()

    def ask(self, service: str, what: str, **how: Any) -> Any:
        """What boto3's client of a service answers. Raises: also what kept the machines from being looked after."""
        if self.problem is not None:
            raise self.problem
        return self._thread.submit(self._ask, service, what, how).result()

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """The instances in these states, all of them if none is named."""
        answer = self.ask("ec2", "describe_instances")
        found = [instance for group in answer["Reservations"] for instance in group["Instances"]]
        return [instance for instance in found if not states or instance["State"]["Name"] in states]

    def running(self, kind: str) -> list[dict[str, Any]]:
        """What runs, or is about to, of an instance type."""
        return [i for i in self.instances("running", "pending") if i["InstanceType"] == kind]

    def objects(self, prefix: str) -> list[str]:
        """The names of objects in the bucket."""
        listed = self.ask("s3", "list_objects_v2", Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def read(self, key: str) -> bytes:
        """An object's content."""
        how = {"Bucket": BUCKET, "Key": key}
        return self._thread.submit(lambda: self._ask("s3", "get_object", how)["Body"].read()).result()

    def reclaim(self, instance: dict[str, Any]) -> None:
        """Takes an instance back, as a spot market does."""
        self.ask("ec2", "terminate_instances", InstanceIds=[instance["InstanceId"]])

    def host_of(self, instance: dict[str, Any]) -> Host | None:
        return self.rented.get(instance["InstanceId"])

    def _keep(self) -> None:
        """Powers machines on and off as the instances come and go."""
        try:
            while not self._closing.wait(0.5):
                for instance in self.instances():
                    self._see_to(instance)
        except BaseException as error:
            self.problem = error

    def _see_to(self, instance: dict[str, Any]) -> None:
        name, state = instance["InstanceId"], instance["State"]["Name"]
        if state == "running" and name not in self.rented and self.free:
            host = self.rented[name] = self.free.pop(0)
            host.boot()
            for key in self._keys():
                host.authorize(key)
            host.call_it(instance["PrivateIpAddress"], instance["PublicIpAddress"])
            self.log.append(("on", name, instance.get("InstanceLifecycle", "on-demand")))
        elif state in GONE and name in self.rented:
            host = self.rented.pop(name)
            host.power_off()
            host.wipe()
            self.free.append(host)
            self.log.append(("off", name, instance.get("InstanceLifecycle", "on-demand")))

    def _enter(self) -> None:
        """Moves the thread that asks, and no other, to where the cloud's desk is."""
        with Path(f"/proc/{self.desk.pid}/ns/net").open() as network:
            entered = ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET)
        assert entered == 0, os.strerror(ctypes.get_errno())

    def _ask(self, service: str, what: str, how: dict[str, Any]) -> Any:
        import boto3

        client = boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{PORT}",
            region_name=REGION,
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        return getattr(client, what)(**how)

    def _answers(self) -> bool:
        assert self._server.poll() is None, "moto ended"
        try:
            self.ask("s3", "list_buckets")
        except Exception:  # whatever a server says that is not there yet
            return False
        return True
