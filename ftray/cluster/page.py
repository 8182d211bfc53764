"""A study's live page, which the head of a cluster serves and this machine shows through a tunnel.

Takes: a run folder's place as the head sees it, a cluster's file. Gives: the page on a port of this machine.
"""

import shlex
from pathlib import Path

from ftray.boards.serving import PORT
from ftray.cluster.ray_cli import RayCli
from ftray.errors import ClusterError
from ftray.ports import free_port


def serve_on_head(ray: RayCli, cluster: Path, place: str, port: int | None = None) -> None:
    """Shows the page of a run folder until Ctrl-C, which ends it on the head as well.

    port: of both machines; by default the usual one if it is free here, else any other.

    Raises: ClusterError with the head's last line of output; FtrayError for a taken port.
    """
    port = free_port(port, PORT)
    words = shlex.join(["ftray", "dashboard", place, "--port", str(port)])
    last, serves = "nothing", False
    with ray.running("exec", "--port-forward", str(port), str(cluster), words) as process:
        assert process.stdout is not None
        try:
            for line in filter(None, map(str.strip, process.stdout)):
                last, serves = line, serves or f":{port}/" in line
                if serves:  # before it, Ray prints what it reads, and a traceback where it fails
                    ray.say(line)
            process.wait()
        except KeyboardInterrupt:
            ray.say("")
            return
    raise ClusterError(
        f"the page of {place} must be served by the head of {cluster}, but that ended with: {last} (is the cluster up, "
        f"`ray up {cluster}`, and the study in that place?)"
    )
