"""Starting the service, and stopping it so that nothing that was taken is lost."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from harmoniad.errors import HarmoniadError
from harmoniad.serving.current_model import LOGGER
from harmoniad.serving.settings import Settings

STOP_SECONDS = 60  # for what is under way when the server is told to stop
CONNECTIONS = 256  # at once, or four for each place in the queue; more get 503
# How long a thread may hold the interpreter while another wants it. The model's thread wants it after each operation,
# and all cores wait with it: the usual 5 ms are longer than most of its operations.
SWITCH_SECONDS = 0.0005


def serve(settings: Settings, tell: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C; what is under way then is finished, and new connections are refused.

    Args:
        settings: The options.
        tell: Prints a line for the person who started the server.

    Raises:
        HarmoniadError: There is no such model, it cannot be loaded, or the port is taken.
    """
    from harmoniad.loading import wanted_version

    wanted_version(settings.model)  # without a champion, say so before anything else
    with _listen(settings) as listening:
        import uvicorn

        from harmoniad.serving.app import Service, create_app

        service = Service(settings)
        config = uvicorn.Config(
            create_app(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=max(CONNECTIONS, 4 * settings.queue),
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        problem: list[Exception] = []

        def load() -> None:
            try:
                service.model.load()
            except Exception as error:  # raised in the main thread, which must not serve without a model
                problem.append(error)
                server.should_exit = True
                return
            service.model.follow()
            tell(f"serving {service.model.label[0]} on {_address(listening)}")

        sys.setswitchinterval(SWITCH_SECONDS)
        warnings.filterwarnings("ignore", module="PIL")  # of damaged images, about which the sender is told
        with _logging(), _quiet_signals():
            loading = threading.Thread(target=load, name="first model", daemon=True)
            loading.start()
            server.run(sockets=[listening])
        if problem:
            raise problem[0]


@contextlib.contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        raise HarmoniadError(
            f"{settings.host}:{settings.port}: cannot listen there ({reason}). Choose another --port or --host."
        ) from error
    with listening:
        yield listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more when it has stopped; then it must end nothing."""
    stops = [signal.SIGINT, signal.SIGTERM] if os.name != "nt" else [signal.SIGINT]
    before = {number: signal.signal(number, lambda *_: None) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
