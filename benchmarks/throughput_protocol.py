"""How a contender of `throughput.py` talks to it: a request a line on stdin, an answer a line on stdout."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Run = Callable[[int], Iterator[list[float]]]


def settings() -> dict[str, Any]:
    """The first line: what the contender is to do."""
    return json.loads(sys.stdin.readline())


def serve(run: Run, about: dict[str, Any], extra: dict[str, Callable[[], Any]] | None = None) -> None:
    """Answer until stdin ends.

    Args:
        run: Takes a batch size, goes over all images, and gives the scores of each batch when its verdicts stand.
        about: What the first answer says.
        extra: Other requests, by name.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not belong among the answers
    send(answers, about)
    for line in sys.stdin:
        request = json.loads(line)
        if "batch" in request:
            send(answers, measured(run, request["batch"]))
        else:
            send(answers, (extra or {})[request["extra"]]())
    send(answers, {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def measured(run: Run, batch: int) -> dict[str, Any]:
    """Seconds of the whole run, seconds from each batch to the next, and all scores."""
    scores: list[float] = []
    seconds = []
    start = last = time.perf_counter()
    for found in run(batch):
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
        scores += found
    return {"seconds": last - start, "batch_seconds": seconds, "scores": scores}


def send(answers: Any, content: Any) -> None:
    """Write one answer."""
    answers.write(json.dumps(content) + "\n")
    answers.flush()
