"""Connects this process to a Ray, after asking whether its head answers: `ray.init` waits minutes for a dead one.

Takes: the environment (RAY_ADDRESS, or the Ray that `ray start` left a note of on this machine). Gives: a connected
driver, or a ClusterError that names the address, the token and RAY_AUTH_MODE.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._common.utils import get_default_system_temp_dir, get_ray_address_file
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.gcs_utils import create_gcs_channel
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.services import canonicalize_bootstrap_address, find_node_ids
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest  # type: ignore[attr-defined]  # made by protoc
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from ftray.errors import ClusterError, OutputError
from ftray.families import registered, sources_of
from ftray.outputs import check_output_folder
from ftray.signals import keeping_sigterm

PATIENCE = 10.0
"""Seconds that a head may take to answer."""
REGISTERING = 5.0
"""Seconds that a node may take to be known to its head: on a busy machine, `ray start` returns before."""
ADDRESS, MODE, TOKEN, TOKEN_PATH = "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DEFAULT_TOKEN_PATH = "~/.ray/auth_token"

SOCKET = "/ray/session_2026-11-27_12-31-07_123456_{pid}/sockets/plasma_store"
"""The longest path that Ray adds to the folder of temporary files: with the time and the process of its start."""

LONGEST_SOCKET = 107 if sys.platform != "darwin" else 103
"""Bytes of a socket's path (sun_path of unix(7), without the byte that ends it)."""


def connect(environment: Mapping[str, str], **options: Any) -> None:
    """`ray.init` with these options: connects to the cluster that is there, else starts a Ray on this machine.

    environment: variables for the processes of the cluster, where the driver's own are not inherited. What the driver's
    environment says goes first, and the runtime environment that a job was submitted with before that. The sources of
    this process's plug-ins go with them.

    Raises: ClusterError within 20 seconds where the cluster does not answer or refuses the token.
    """
    address = check_head()
    if address is not None:
        options["runtime_env"] = {"env_vars": _for_processes(environment), **_plugins()}
    try:
        with keeping_sigterm():
            ray.init(**options)
    except Exception as error:  # of any type, and a bare Exception where a node takes too long to start
        why = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        if address is None:
            logs = Path(get_default_system_temp_dir(), "ray", "session_latest", "logs")
            raise ClusterError(f"Ray must start on this machine, but: {why}; what it logged is in {logs}") from error
        raise ClusterError(_describe(address, f"connecting failed: {why}")) from error


def check_head() -> str | None:
    """The address of the cluster that `connect` will connect to, once its head has answered; None where it will start
    a Ray of its own.

    Raises: ClusterError as `connect`, and for a folder of temporary files in which Ray cannot start.
    """
    address = _address()
    if address is None:
        _check_temporary_folder()
    elif "://" not in address:
        if os.environ.get(ADDRESS, "auto") in ("", "auto"):  # as Ray does where it found the cluster itself
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        _check_answer(address)
    return address


def _check_temporary_folder() -> None:
    """Ray stores its sockets there, whose paths the operating system limits, and raises long after the start."""
    folder = get_default_system_temp_dir()
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "the default")
    size, room = len(os.fsencode(folder)), LONGEST_SOCKET - len(SOCKET.format(pid=os.getpid()))
    if size > room:
        raise ClusterError(
            f"the folder in which Ray stores its sockets must have a path of at most {room} bytes, and {variable} has "
            f"{size}: {folder}; set RAY_TMPDIR to a shorter one, like RAY_TMPDIR=/tmp"
        )
    try:
        check_output_folder(folder)
    except OutputError as error:
        raise ClusterError(f"Ray must store its files in {variable}, but {error}, with RAY_TMPDIR") from None


def _address() -> str | None:
    """The address of the cluster that `ray.init` will connect to; None where it will start a Ray of its own."""
    given = os.environ.get(ADDRESS, "")
    if "://" in given:
        return given
    try:
        return canonicalize_bootstrap_address(None)  # type: ignore[arg-type]  # Ray's own callers pass None
    except (OSError, ValueError) as error:
        raise ClusterError(f"{ADDRESS} must be HOST:PORT of a running Ray, got {given}: {error}") from None


def _for_processes(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those of the job's own runtime environment: Ray refuses to be given one twice."""
    given = _jobs_own().get("env_vars") or {}
    return {name: os.environ.get(name, value) for name, value in environment.items() if name not in given}


def _jobs_own() -> dict[str, Any]:
    """The runtime environment that this job was submitted with, if it was."""
    return json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}").get("runtime_env") or {}


def _plugins() -> dict[str, list[str]]:
    """For a runtime environment, the plug-ins that other machines may not have: all but those in the working directory
    that a job was submitted with. A job that was submitted with modules of its own has to have them among those."""
    given = _jobs_own()
    carried = [] if "working_dir" not in given else [Path.cwd()]
    paths = [str(path) for path in sources_of(registered()) if not any(map(path.is_relative_to, carried))]
    return {"py_modules": paths} if paths and "py_modules" not in given else {}


def _check_answer(address: str) -> None:
    """Asks the head for its nodes. Raises: ClusterError if it does not answer, or has no node on this machine."""
    token = _token()
    if os.environ.get(MODE) == "token" and token is None:
        raise ClusterError(_describe(address, "there is no token to send"))
    channel = create_gcs_channel(address)
    latest = time.monotonic() + REGISTERING
    try:
        while not _has_node_here(channel):
            if time.monotonic() > latest:
                raise ClusterError(
                    _describe(
                        address,
                        "none of its nodes is on this machine, as a driver needs it: run the command on the head, or "
                        "send the study there with `ftray submit`",
                    )
                )
            time.sleep(0.2)
    except grpc.RpcError as error:
        raise ClusterError(_describe(address, _reason(error))) from None
    finally:
        channel.close()


def _has_node_here(channel: Any) -> bool:
    answer = NodeInfoGcsServiceStub(channel).GetAllNodeInfo(GetAllNodeInfoRequest(), timeout=PATIENCE)
    here = set(find_node_ids())
    return any(node.node_id.hex() in here for node in answer.node_info_list)


def _reason(error: grpc.RpcError) -> str:
    code, details = error.code(), str(error.details())  # type: ignore[attr-defined]  # grpc's stubs have neither
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return "it refuses the token" if os.environ.get(MODE) == "token" else "it asks for a token and got none"
    if code is grpc.StatusCode.UNAVAILABLE:
        return f"nothing answers there: {details.rpartition(': ')[2].strip('] ')}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"nothing answered within {PATIENCE:.0f} s"
    return f"what answers there is no head of Ray {ray.__version__}: {code.name}, {details}"


def _describe(address: str, why: str) -> str:
    """What must hold, what came instead, and what to look at: the address, the token's place, the mode."""
    given = os.environ.get(ADDRESS)
    source = f"{ADDRESS}={given}" if given else f"as `ray start` noted in {get_ray_address_file(None)}"
    mode, token = os.environ.get(MODE), _token()
    sent = f"{MODE}={mode}" if mode else f"{MODE} is not set, so Ray sends no token"
    path = os.environ.get(TOKEN_PATH) or DEFAULT_TOKEN_PATH
    found = f"the token is in {token}" if token else f"no token was found in {TOKEN} or {path}"
    return (
        f"a Ray cluster must answer at {address} ({source}), but {why}. Is it up (`ray status` on its head), and was "
        f"it started with this machine's mode and token? Here {sent}, and {found}"
    )


def _token() -> str | None:
    """Where Ray finds the token: a variable or a file, in Ray's own order; None where there is none."""
    if os.environ.get(TOKEN):
        return TOKEN
    path = os.environ.get(TOKEN_PATH) or DEFAULT_TOKEN_PATH
    return path if Path(path).expanduser().is_file() else None
