"""Loopback TCP ports: is one free, and a free one."""

import random
import socket
from collections.abc import Collection

RANGE = range(15_000, 32_000)
"""Below Linux' ephemeral ports (32768 up), so that no outgoing connection takes a server's port while it restarts."""

_random = random.SystemRandom()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now (connections that linger in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_free(exclude: Collection[int]) -> int:
    """A free port outside `exclude`, chosen at random so that stacks that start together rarely meet."""
    while True:
        port = _random.choice(RANGE)
        if port not in exclude and is_free(port):
            return port
