"""Ports of this machine: which are free, which answer, sockets to serve from.

Takes: an address, ports. Gives: sockets and numbers of ports.
"""

import contextlib
import socket

from ftray.errors import FtrayError

LOOPBACK = "127.0.0.1"
RAY_PORT = 8265
"""The usual port of Ray's dashboard."""


def listener(host: str, port: int | None, usual: int) -> socket.socket:
    """A socket to serve from. port: None for the usual one, or any other that is free.

    Raises: FtrayError for an address that is taken, or is not this machine's.
    """
    why: object = None
    for wanted in [port] if port is not None else [usual, 0]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier server may have just ended
        try:
            listening.bind((host, wanted))
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            why = getattr(error, "strerror", None) or error
    raise FtrayError(f"--host and --port must name a free address of this machine, but {host}:{port or usual}: {why}")


def free_port(port: int | None = None, usual: int = 0) -> int:
    """A free port on loopback, for another program to listen at; see `listener`."""
    with listener(LOOPBACK, port, usual) as free:
        return free.getsockname()[1]


def listens(port: int) -> bool:
    """Whether anything answers at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True
    return False
