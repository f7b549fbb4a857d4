"""Servers in processes of their own on free ports of loopback, and a client for them, for `serving.py`."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from common import environment_of_child

from harmoniad.errors import HarmoniadError

START_SECONDS = 300
BOUNDARY = b"----harmoniad-benchmark"


class Client:
    """One connection that is kept open."""

    def __init__(self, address: str, seconds: float = 60) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)

    def predict(self, content: bytes) -> int:
        """Send an image to `harmoniad serve-model`; the status, or 0 where there is no answer."""
        start = b'--%s\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' % BOUNDARY
        body = start + content + b"\r\n--%s--\r\n" % BOUNDARY
        return self._post("/predict", body, f"multipart/form-data; boundary={BOUNDARY.decode()}")

    def invoke(self, content: bytes) -> int:
        """Send an image to `mlflow models serve`, without asking for the map."""
        body = {"inputs": [base64.b64encode(content).decode()], "params": {"anomaly_map": False}}
        return self._post("/invocations", json.dumps(body).encode(), "application/json")

    def is_ready(self, path: str = "/health") -> bool:
        """Whether the server says that it is."""
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False
        return answer.status == 200

    def _post(self, path: str, body: bytes, kind: str) -> int:
        try:
            self._connection.request("POST", path, body, {"Content-Type": kind})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return answer.status


@contextlib.contextmanager
def serve_model(model: str, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run `harmoniad serve-model`, and give its address and process when it is ready."""
    command = [sys.executable, "-m", "harmoniad", "serve-model", "--model", model, "--port", "0", *options]
    with _running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        late = threading.Timer(START_SECONDS, process.kill)
        late.start()
        for line in process.stdout:
            if line.startswith("serving "):
                break
        else:
            late.cancel()
            raise HarmoniadError(f"`harmoniad serve-model --model {model}` did not start")
        late.cancel()
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.split()[-1], psutil.Process(process.pid)


@contextlib.contextmanager
def mlflow_serve(model: str) -> Iterator[tuple[str, psutil.Process] | None]:
    """Run `mlflow models serve`, and give its address and process when it is ready; None if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    with _running([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL) as process:
        client, until = Client(f"http://127.0.0.1:{port}"), time.monotonic() + START_SECONDS
        while not client.is_ready("/ping"):
            if process.poll() is not None or time.monotonic() > until:
                yield None
                return
            time.sleep(1)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)


@contextlib.contextmanager
def _running(command: list[str], stdout: int) -> Iterator[subprocess.Popen[str]]:
    from harmoniad.tracking.store import tracking_uri

    environment = environment_of_child() | {"PYTHONUNBUFFERED": "1", "MLFLOW_TRACKING_URI": tracking_uri()}
    process = subprocess.Popen(
        command, stdout=stdout, stderr=sys.stderr, text=True, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process has in memory."""
    return int(process.memory_info().rss)


def cpu_seconds(process: psutil.Process) -> float:
    """What a process and those that it started have had of the processor."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def tiny_model(folder: Path) -> None:
    """A real but small model: PatchCore over one stage of EfficientNet-lite0 at 32 px, fitted to noise."""
    import torch

    from harmoniad.features.encoders import Encoder, EncoderSpec
    from harmoniad.files import write_json
    from harmoniad.models.patchcore.detector import PatchcoreDetector
    from harmoniad.models.storage import TrainedModel, save_model
    from harmoniad.params import Encoder as EncoderParams
    from harmoniad.params import Params
    from harmoniad.scoring import ImageScore, Threshold

    device, spec = torch.device("cpu"), EncoderSpec.from_params(EncoderParams(resolution=32, layers=[2]))
    layers = Encoder(spec, device)(list(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)))

    class Features:
        shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
        categories = ("noise",) * 4

        def __len__(self) -> int:
            return 4

        def batch(self, indices: range) -> list[torch.Tensor]:
            return [layer[list(indices)] for layer in layers]

    detector = PatchcoreDetector.create(Features.shapes, Params())
    detector.fit(Features(), device=device, checkpoint=folder / "checkpoint")
    save_model(folder, TrainedModel("patchcore", detector, spec, ["noise"], "noise", seed=0))
    threshold = Threshold(0.05, 500.0, {"noise": 0.0}, {"noise": 4}, 0.1, ImageScore(0.01, 1, 1.0))
    write_json(folder / "threshold.json", threshold.to_dict())
