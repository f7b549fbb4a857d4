"""Python imports this by itself in every process that has its folder on PYTHONPATH: it notes what the process took."""

import atexit
import json
import os
import resource
import sys
import time

_START = time.time()


def _note() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    record = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "command": sys.orig_argv,
        "start": _START,
        "end": time.time(),
        "cpu": used.ru_utime + used.ru_stime,
    }
    with open(os.environ["PLANT_CLOCK"], "a", encoding="utf-8") as file:  # noqa: PTH123  # imports as little as it can
        file.write(json.dumps(record) + "\n")


if "PLANT_CLOCK" in os.environ:
    atexit.register(_note)
if "PLANT_LARGEST_FILE" in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["PLANT_LARGEST_FILE"]), resource.RLIM_INFINITY))
