"""A cluster's dashboard, through a tunnel: it takes jobs and answers questions about them.

Takes: a cluster file, to whose head it opens a tunnel, or the address of an open tunnel. Gives: `Dashboard`.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.cluster.ray_cli import RayCli, last_line
from ftray.errors import ClusterError
from ftray.ports import LOOPBACK, RAY_PORT, free_port, listens

if TYPE_CHECKING:
    import subprocess

    from ray.job_submission import JobSubmissionClient

API_SERVER = "RAY_API_SERVER_ADDRESS"
PATIENCE = 180.0
"""Seconds that opening a tunnel may take."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""States of a job that has ended; before, it is PENDING or RUNNING."""


@dataclasses.dataclass(frozen=True)
class ClusterJob:
    """A job that was submitted to a cluster. metadata: its study and its run folder, as `ftray submit` noted them."""

    id: str
    state: str
    entrypoint: str = ""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    started_at: float | None = None
    message: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclasses.dataclass(frozen=True)
class Dashboard:
    """address: where it listens on this machine."""

    address: str
    client: "JobSubmissionClient"

    def jobs(self) -> list[ClusterJob]:
        """The submitted jobs, oldest first."""
        with _translate_ray_errors(self.address):
            found = [job for job in self.client.list_jobs() if job.submission_id]
        found.sort(key=lambda job: job.start_time or 0)
        return [
            ClusterJob(
                job.submission_id or "",
                str(job.status.value),
                job.entrypoint,
                dict(job.metadata or {}),
                job.start_time / 1000 if job.start_time else None,
                job.message or "",
            )
            for job in found
        ]

    def job(self, name: str) -> ClusterJob | None:
        return next((job for job in self.jobs() if job.id == name), None)

    def log(self, name: str) -> str:
        with _translate_ray_errors(self.address):
            return self.client.get_job_logs(name)

    def follow(self, name: str) -> None:
        """Prints a job's log as it is written, until the job ends.

        Raises: ClusterError if the connection is lost before.
        """

        async def tail() -> None:
            async for lines in self.client.tail_job_logs(name):
                print(lines, end="", flush=True)

        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        with _translate_ray_errors(self.address):
            asyncio.run(tail())

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive, as Ray describes them: `node_ip`, `resources_total`, `labels` and more."""
        answer = self._ask("/api/v0/nodes?detail=1&limit=10000")
        return [row for row in answer["data"]["result"]["result"] if row["state"] == "ALIVE"]

    def autoscaler(self) -> str:
        """The text of `ray status`; empty for a cluster without an autoscaler."""
        text = self._ask("/api/cluster_status?format=1")["data"].get("clusterStatus") or ""
        return text if "Node status" in text else ""

    def _ask(self, path: str) -> dict[str, Any]:
        with _translate_ray_errors(self.address):
            answer = self.client._do_request("GET", path)
            answer.raise_for_status()
            return json.loads(answer.text)


@contextlib.contextmanager
def dashboard(ray: RayCli, cluster: Path | None, address: str | None) -> Iterator[Dashboard]:
    """The dashboard at an address, or of the head of a cluster file for as long as the block lasts.

    Raises: ClusterError where nobody answers.
    """
    if address is not None:
        with _api_server_at(address):
            yield _connected(ray, address)
        return
    assert cluster is not None
    port = free_port(usual=RAY_PORT)
    address = f"http://{LOOPBACK}:{port}"
    with ray.running("dashboard", str(cluster), "--port", str(port)) as tunnel, _api_server_at(address):
        _wait_until_open(tunnel, port, cluster)
        yield _connected(ray, address)


@contextlib.contextmanager
def _api_server_at(address: str) -> Iterator[None]:
    """Makes Ray's client and `ray job` ask this address, whatever the shell exports: Ray prefers RAY_ADDRESS to an
    address that it is given, and this variable alone to both."""
    before = os.environ.get(API_SERVER)
    os.environ[API_SERVER] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[API_SERVER]
        else:
            os.environ[API_SERVER] = before


def _wait_until_open(tunnel: "subprocess.Popen[str]", port: int, cluster: Path) -> None:
    """Waits for the dashboard behind a tunnel that is just opening. Raises: ClusterError if it does not answer."""
    end = time.monotonic() + PATIENCE
    while tunnel.poll() is None and time.monotonic() < end:
        if listens(port):
            return
        time.sleep(0.25)
    why = "no answer" if tunnel.poll() is None else f"the tunnel ended with: {last_line(tunnel.communicate()[0])}"
    raise ClusterError(
        f"the head of {cluster} must be up and its dashboard within reach, but: {why}. Start it with `ray up {cluster}`"
    )


def _connected(ray: RayCli, address: str) -> Dashboard:
    from ray.job_submission import JobSubmissionClient

    with _translate_ray_errors(address):
        return Dashboard(address, JobSubmissionClient(address, headers=ray.headers))


@contextlib.contextmanager
def _translate_ray_errors(address: str) -> Iterator[None]:
    """Turns whatever Ray's client raises into a ClusterError in plain words."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, RuntimeError, OSError, ValueError, LookupError, ImportError) as error:
        why = str(error).strip().rstrip(".").splitlines() or [type(error).__name__]
        raise ClusterError(
            f"a Ray dashboard must answer at {address}, but: {why[0]}. Is the cluster up, its tunnel open, and the "
            "token the one that the cluster was started with?"
        ) from None
