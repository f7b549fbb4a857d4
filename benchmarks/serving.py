"""Measure the servers: throughput and latency with 1, 4 and 16 clients, beside the model without a server.

`harmoniad serve-model` and `mlflow models serve` run one after the other on loopback, the clients in this process; so
on few cores they take some of the servers' time. The bare model is `predict_stream` over the same files in a process of
its own: decoding in threads, batches of 16. Each is measured in each round, so that a machine that slows down does so
for all; where other programs run, compare by the time of the processor. Then memory over many requests, and what
happens when there are too many: both on a model of 32 px, so that it takes a minute (`--memory-model champion` takes
the real one; `--memory-seconds` bounds it). With the defaults it takes ten minutes.

    python benchmarks/serving.py
"""

import argparse
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from common import environment_of_child, numbers, run_main
from serving_processes import Client, cpu_seconds, memory_of, mlflow_serve, serve_model, tiny_model

from harmoniad.data.layouts.record import is_image_name
from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes

OUT = Path("results/benchmarks/serving.md")
Send = Callable[[Client], Callable[[bytes], int]]
Server = tuple[str, psutil.Process]
BARE = """
import sys, time
from pathlib import Path
import harmoniad
model = harmoniad.load(sys.argv[1])
contents = [Path(line).read_bytes() for line in sys.stdin.read().splitlines()]
def run(seconds):
    count, start, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        count += sum(1 for found in model.predict_stream(contents, batch_size=16) if found.regions is not None)
    return count / (time.perf_counter() - start), count / (time.process_time() - busy)
run(2)
print(*run(float(sys.argv[2])))
"""


@dataclass
class Load:
    """What some clients saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    cpu_seconds: float = 0.0

    def add(self, other: "Load") -> None:
        """Take what was seen in another round."""
        self.seconds += other.seconds
        self.latencies += other.latencies
        self.statuses += other.statuses
        self.cpu_seconds += other.cpu_seconds

    @property
    def per_cpu(self) -> float:
        """Images that were answered in a second of the server's processor time."""
        return self.statuses[200] / max(1e-9, self.cpu_seconds)

    @property
    def rate(self) -> float:
        """Images a second that were answered."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def percentile(self, percent: int) -> float:
        """Milliseconds; of the answers with status 200."""
        return float(np.percentile(self.latencies, percent)) * 1000 if self.latencies else float("nan")


def load(
    send: Send,
    address: str,
    images: Sequence[bytes],
    clients: int,
    *,
    seconds: float = float("inf"),
    requests: int | None = None,
) -> Load:
    """Let clients send one image after the other, each as soon as it has its answer.

    Args:
        send: Gives the method of a client that sends an image.
        address: Of the server.
        images: The content of the files.
        clients: How many there are.
        seconds: How long.
        requests: How many in all.
    """
    found, lock, counter = Load(), threading.Lock(), itertools.count()
    start = time.perf_counter()

    def run() -> None:
        one = send(Client(address))
        while time.perf_counter() - start < seconds:
            with lock:
                number = next(counter)
            if requests is not None and number >= requests:
                return
            begin = time.perf_counter()
            status = one(images[number % len(images)])
            took = time.perf_counter() - begin
            with lock:
                found.statuses[status] += 1
                if status == 200:
                    found.latencies.append(took)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - start
    return found


def bare_model(model: str, files: Sequence[Path], seconds: float) -> tuple[float, float]:
    """Images a second without a server, and images a second of the processor's time."""
    command = [sys.executable, "-c", BARE, model, str(seconds)]
    text = "\n".join(str(file) for file in files)
    environment = environment_of_child()
    result = subprocess.run(command, input=text, env=environment, text=True, capture_output=True, check=False)
    if result.returncode:
        raise HarmoniadError(result.stderr.strip().splitlines()[-1])
    rate, per_cpu = map(float, result.stdout.split()[-2:])
    print(f"bare model: {rate:.2f} images/s, {per_cpu:.2f} a second of the processor", flush=True)
    return rate, per_cpu


Loads = dict[tuple[str, int], Load]


def measure(
    name: str, send: Send, server: Server, images: Sequence[bytes], options: argparse.Namespace, found: Loads
) -> None:
    """Add a round of one server, which is given with its address and process."""
    address, process = server
    for clients in options.clients:
        busy = cpu_seconds(process)
        seen = load(send, address, images, clients, seconds=options.seconds)
        seen.cpu_seconds = cpu_seconds(process) - busy
        found.setdefault((name, clients), Load()).add(seen)
        print(f"{name}, {clients} clients: {seen.rate:.2f} images/s", flush=True)


def rounds_of(
    files: Sequence[Path], images: Sequence[bytes], options: argparse.Namespace, kept: Sequence[str]
) -> tuple[list[tuple[float, float]], Loads]:
    """Measure the bare model and both servers in turn; only the one that is measured has work."""
    bare, found = [], Loads()
    with contextlib.ExitStack() as running:
        served = {"serve-model": (running.enter_context(serve_model(options.model, *kept)), by_form)}
        if options.mlflow:
            server = running.enter_context(mlflow_serve(options.mlflow))
            if server is None:
                raise HarmoniadError(f"`mlflow models serve --model-uri {options.mlflow}` did not start")
            served["mlflow models serve"] = (server, by_json)
        for server, send in served.values():
            load(send, server[0], images, 4, seconds=60, requests=20)  # warm
        for _ in range(options.rounds):
            bare.append(bare_model(options.model, files, options.seconds))
            for name, (server, send) in served.items():
                measure(name, send, server, images, options, found)
    return bare, found


def by_form(client: Client) -> Callable[[bytes], int]:
    """How `harmoniad serve-model` is asked."""
    return client.predict


def by_json(client: Client) -> Callable[[bytes], int]:
    """How `mlflow models serve` is asked."""
    return client.invoke


def table(bare: Sequence[tuple[float, float]], found: Loads) -> list[str]:
    """Means over the rounds."""
    rates, per_cpu = ([row[place] for row in bare] for place in (0, 1))
    rate, work = statistics.fmean(rates), statistics.fmean(per_cpu)
    lines = [
        "| | clients | images/s | of the bare model | the same by processor time | p50, p95, p99 ms | not 200 |",
        "|---|---|---|---|---|---|---|",
        f"| bare model | | {rate:.2f} ({min(rates):.2f} to {max(rates):.2f}) | | {work:.1f} a second of it | | |",
    ]
    for (name, clients), seen in found.items():
        times = ", ".join(f"{seen.percentile(percent):.0f}" for percent in (50, 95, 99))
        shares = f"{seen.rate / rate:.2f} | {seen.per_cpu / work:.2f}"
        bad = seen.statuses.total() - seen.statuses[200]
        lines.append(f"| {name} | {clients} | {seen.rate:.2f} | {shares} | {times} | {bad} |")
    return lines


def memory(model: str, images: Sequence[bytes], requests: int, seconds: float, *options: str) -> str:
    """Memory of the server after a tenth of the requests, and after all, or as many as there was time for."""
    with serve_model(model, *options) as (address, process):
        early = load(by_form, address, images, 8, seconds=seconds, requests=requests // 10)
        first = memory_of(process)
        rest = requests - requests // 10
        found = load(by_form, address, images, 8, seconds=seconds - early.seconds, requests=rest)
        last = memory_of(process)
    statuses = early.statuses + found.statuses
    return (
        f"memory over {statuses.total()} requests of 8 clients: {first / 1e6:.0f} MB after {early.statuses.total()}, "
        f"{last / 1e6:.0f} MB at the end ({dict(statuses)}, {found.rate:.0f} images/s)"
    )


def overload(model: str, images: Sequence[bytes], seconds: float, *options: str) -> str:
    """More clients than places in the queue, and one client afterwards."""
    with serve_model(model, "--queue", "8", *options) as (address, _):
        found = load(by_form, address, images, 32, seconds=seconds)
        after = load(by_form, address, images, 1, seconds=60, requests=20)
    return (
        f"overload, 32 clients and 8 places: {dict(found.statuses)}, p99 of those answered "
        f"{found.percentile(99):.0f} ms; one client afterwards: {dict(after.statuses)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="an alias or a folder (default: %(default)s)")
    parser.add_argument("--mlflow", default="models:/harmoniad@champion", help="for `mlflow models serve`; empty: not")
    parser.add_argument("--data", type=Path, default=Path("data/sample"), help="a folder of images")
    parser.add_argument("--images", type=int, default=64, help="how many of them (default: %(default)s)")
    parser.add_argument("--clients", type=numbers, default=[1, 4, 16], help="default: 1,4,16")
    parser.add_argument("--seconds", type=float, default=10, help="for each row and round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--memory-requests", type=int, default=5000, help="0: not measured (default: %(default)s)")
    parser.add_argument("--memory-seconds", type=float, default=600, help="at most (default: %(default)s)")
    parser.add_argument("--memory-model", help="instead of the small one")
    parser.add_argument("--keep", default="flagged", help="of serve-model (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="default: %(default)s")
    options = parser.parse_args(arguments)
    files = sorted(path for path in options.data.rglob("*") if is_image_name(path.name) and "test" in path.parts)
    files = files[:: max(1, len(files) // options.images)][: options.images]
    if not files:
        raise HarmoniadError(f"{options.data}: no test images. Name a folder in the layout of MVTec with --data.")
    images = [file.read_bytes() for file in files]
    tail: list[str] = []
    with tempfile.TemporaryDirectory(prefix="harmoniad-") as temporary:
        kept = ("--keep", options.keep, "--review-dir", f"{temporary}/review")
        head = table(*rounds_of(files, images, options, kept))
        if options.memory_requests:
            model = options.memory_model
            if model is None:
                model = f"{temporary}/model"
                Path(model).mkdir()
                tiny_model(Path(model))
            tail.append(memory(model, images, options.memory_requests, options.memory_seconds, *kept))
            tail.append(overload(model, images, 10, *kept))
    text = "\n".join([*head, "", *tail])
    print(text)
    write_bytes(options.out, f"{text}\n".encode())


if __name__ == "__main__":
    run_main(main)
