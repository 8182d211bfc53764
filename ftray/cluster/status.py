"""The status of a cluster: its nodes, the demand that waits for nodes, its jobs and the progress of their studies.

Takes: a dashboard. Gives: lines.
"""

import contextlib
import datetime
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.cluster.dashboard import ClusterJob, Dashboard
from ftray.errors import FtrayError
from ftray.runs import RunFolder
from ftray.storage import is_url


def describe_cluster(board: Dashboard) -> Iterator[str]:
    """The nodes, pending demand and jobs of a cluster, line by line."""
    nodes = board.nodes()
    yield f"{len(nodes)} nodes"
    for node in sorted(nodes, key=lambda node: not node.get("is_head_node")):
        yield f"  {node['node_ip']}  {describe_node(node)}"
    status = board.autoscaler()
    for title, lines in (("starting", pending_nodes(status)), ("waiting for nodes", demands(status))):
        if lines:
            yield title
            yield from (f"  {line}" for line in lines)
    jobs = board.jobs()
    yield f"{len(jobs)} jobs" if jobs else "no jobs: submit one with `ftray submit`"
    for job in jobs:
        yield f"  {job.id}  {job.state}{_since(job)}"
        yield from (f"    {line}" for line in _progress(board, job))


def describe_node(node: Mapping[str, Any]) -> str:
    """The type and the resources of one of the dashboard's nodes."""
    has = node.get("resources_total") or {}
    kind = "head" if node.get("is_head_node") else (node.get("labels") or {}).get("ray.io/node-group") or "worker"
    model = next((name.partition(":")[2] for name in has if name.startswith("accelerator_type:")), "")
    gpus = f", {has['GPU']:g} × {model or 'GPU'}" if has.get("GPU") else ""
    return f"{kind}: {has.get('CPU', 0):g} CPUs{gpus}"


def demands(status: str) -> list[str]:
    """The demands in the text of `ray status` that wait for nodes.

    >>> demands("Total Demands:\\n {'CPU': 1.0} * 1 (PACK): 3+ pending placement groups\\n")
    ["{'CPU': 1.0} * 1 (PACK): 3+ pending placement groups"]
    """
    return [line for line in _section(status, r"(?:Total|Pending) Demands:") if not line.startswith("(no ")]


def pending_nodes(status: str) -> list[str]:
    """The nodes in the text of `ray status` that are starting or have failed to."""
    found = _section(status, "Pending:") + [f"failed: {line}" for line in _section(status, "Recent failures:")]
    return [line for line in found if "(no " not in line]


def _section(status: str, title: str) -> list[str]:
    """The indented lines below a title."""
    found = re.search(rf"^{title}\n((?:[ \t]+.*\n?)*)", status, re.MULTILINE)
    return [line.strip() for line in found[1].splitlines()] if found else []


def _since(job: ClusterJob) -> str:
    if job.started_at is None:
        return ""
    return f" since {datetime.datetime.fromtimestamp(job.started_at):%a %H:%M}" if not job.has_ended else ""


def _progress(board: Dashboard, job: ClusterJob) -> Iterator[str]:
    """The progress of a job's study: from its run folder where this machine reaches it, else the log's last line."""
    if job.state == "FAILED" and job.message:
        yield job.message.partition(", last available logs")[0].strip().splitlines()[0]
    place = job.metadata.get("run")
    if place:
        run = _open_run(place)
        yield place if run is None else f"{place}: {_format_progress(run)}"
        if run is not None or job.has_ended:
            return
    with contextlib.suppress(FtrayError):
        lines = [line.strip() for line in board.log(job.id).splitlines() if line.strip()]
        yield from lines[-1:]


def _open_run(place: str) -> RunFolder | None:
    with contextlib.suppress(FtrayError, OSError):
        return RunFolder.open(place if is_url(place) else Path(place))
    return None


def _format_progress(run: RunFolder) -> str:
    states = Counter(record.state for record in run.records() if record.number is not None)
    counts = ", ".join(f"{n} {state}" for state, n in states.most_common()) or "no trial yet"
    return f"{counts}{'; done' if run.is_done else ''}"
