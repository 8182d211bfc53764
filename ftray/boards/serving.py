"""`ftray dashboard`: serves the live page of a study until Ctrl-C.

Takes: a run folder's location, an address. Gives: a page; it writes nothing to the run folder.
"""

import functools
import ipaddress
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftray.analysis.studies import open_study
from ftray.analysis.study import Study
from ftray.boards.sidecars import INSTALL, Sidecar, links, run_sidecars
from ftray.errors import MissingDependencyError
from ftray.ports import LOOPBACK, listener
from ftray.say import Say
from ftray.signals import like_ctrl_c
from ftray.storage import Location

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

PORT = 8050
LOCAL_NAMES = ("localhost", LOOPBACK, "[::1]")


def serve(
    location: Location,
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    optuna: bool = False,
    tensorboard: bool = False,
    storage: str | None = None,
    say: Say = print,
) -> None:
    """Serves the page of a run folder until the process ends.

    port: by default the usual one if it is free, else any other. optuna, tensorboard: whether to start them, too.
    storage: see `run_sidecars`.

    Raises: MissingDependencyError; RunFolderError for what is no run folder; FtrayError for a taken address.
    """
    study = open_study(location)
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the latter where the terminal or the tunnel goes away
        signal.signal(ending, like_ctrl_c)
    with run_sidecars(study.run, optuna=optuna, tensorboard=tensorboard, storage=storage) as sidecars:
        server = build_server(study, host, port, sidecars)
        say(f"{study.name}: http://{_in_url(host)}:{server.port}/    Ctrl-C ends it")
        if not is_loopback(host):
            say("anyone who reaches this machine can read this page: there is no password")
        for link in links(sidecars):
            say(f"{link.name}: {link.url}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
        finally:
            server.server_close()


def build_server(
    study: Study, host: str = LOOPBACK, port: int | None = None, sidecars: Sequence[Sidecar] = ()
) -> "BaseWSGIServer":
    """The page behind an address. Raises: MissingDependencyError; FtrayError for an address that is taken."""
    try:
        from ftray.boards.app import build_app
    except ImportError as error:
        raise MissingDependencyError(
            f"the dashboard needs Dash, and {error.name} is not installed: {INSTALL}"
        ) from None
    import logging

    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for every request
    app = build_app(study, sidecars).server
    if is_loopback(host):
        app.before_request(functools.partial(_refuse_other_names, (*LOCAL_NAMES, _in_url(host))))
    with listener(host, port, PORT) as bound:
        bound.listen()
        return make_server(host, bound.getsockname()[1], app, threaded=True, fd=bound.detach())


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_other_names(names: Sequence[str]) -> Any:
    """Refuses foreign names: another site could point its own name here and read all; browsers send that name."""
    from flask import abort, request

    name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    if name not in names:
        abort(403, f"this page is for this machine alone, under the names {', '.join(names)}")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
