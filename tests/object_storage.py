"""A real S3 server on loopback, for tests: moto's, in a process of its own, gone with the block."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

SERVE = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The server's endpoint."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def s3_bucket(endpoint: str, bucket: str) -> Iterator[str]:
    """The URL of a new bucket; the environment names the server, as it would in a cluster."""
    names = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        _create(endpoint, bucket)
        yield f"s3://{bucket}"
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})


def _create(endpoint: str, bucket: str) -> None:
    request = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(request):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no S3 at {endpoint}")
