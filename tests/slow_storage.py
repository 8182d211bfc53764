"""A proxy in front of an S3 server that slows down writes of one object."""

import contextlib
import dataclasses
import http.client
import http.server
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Slow:
    """Seconds before the server gets a request, and before its answer is passed on. lost: the answer never is."""

    before: float = 0.0
    after: float = 0.0
    lost: bool = False


class SlowStorage:
    """What the proxy does with the object of that name. The first two readers wait for each other, so that both see it
    as it was before either wrote; each writer's first write is as slow as the next of `slow`."""

    def __init__(self, endpoint: str, name: str):
        self.endpoint, self.name = urllib.parse.urlsplit(endpoint).netloc, name
        self.slow: list[Slow] = []
        self._lock, self._writers = threading.Lock(), set[str]()
        self._one_write_at_a_time = threading.Lock()  # as S3 promises, and moto does not
        self._meeting = threading.Barrier(2)
        self._reads = 2  # no two meet before `expect`
        self.ignores_conditions = False
        self.keys: set[str] = set()
        """The access keys that requests were signed with."""

    def expect(self, *slow: Slow) -> None:
        self.slow, self._writers, self._reads = list(slow), set(), 0

    def forward(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = _body(request)
        ignored = {"expect"} | ({"if-none-match", "if-match"} if self.ignores_conditions else set())
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ignored}
        self.keys.update(re.findall(r"Credential=(\w+)/", request.headers.get("Authorization", "")))
        concerned = request.path.partition("?")[0].endswith(self.name)
        slow = self._next_of(body) if concerned and request.command == "PUT" else Slow()
        if concerned and request.command in ("GET", "HEAD"):
            self._meet()
        time.sleep(slow.before)
        with self._one_write_at_a_time if request.command == "PUT" else contextlib.nullcontext():
            connection = http.client.HTTPConnection(self.endpoint)
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        time.sleep(slow.after)
        if slow.lost:
            request.close_connection = True
            request.connection.close()
            return
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def _next_of(self, body: bytes) -> Slow:
        writer = re.search(rb'"id": "(\w+)"', body)
        with self._lock:
            if writer is None or writer[1].decode() in self._writers or not self.slow:
                return Slow()
            self._writers.add(writer[1].decode())
            return self.slow.pop(0)

    def _meet(self) -> None:
        with self._lock:
            self._reads += 1
            meets = self._reads <= 2
        if meets:
            self._meeting.wait(timeout=60)


def _body(request: http.server.BaseHTTPRequestHandler) -> bytes:
    """What follows a request's headers, as it came: pyarrow sends its content in chunks."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    body, size = b"", 1
    while size:
        line = request.rfile.readline()
        size = int(line, 16)
        body += line + request.rfile.read(size + 2)
    return body


@contextlib.contextmanager
def slow_storage(endpoint: str, name: str) -> Iterator[tuple[str, SlowStorage]]:
    """The proxy's own endpoint, and what it does."""
    storage = SlowStorage(endpoint, name)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            storage.forward(self)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", storage
        finally:
            server.shutdown()
            thread.join()
