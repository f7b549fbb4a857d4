"""Ports for the servers that tests start."""

import os
import random
import socket

FIRST, EACH = 20_000, 1_000  # below the ports that Linux gives to clients and to whoever asks for any


def free_port() -> int:
    """A port that stays free until a server has started: the workers of pytest-xdist have ports of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + EACH * (worker % 10)
    for port in random.sample(range(first, first + EACH), EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free from {first} on")
