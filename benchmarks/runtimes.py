"""One model in its runtimes: torch, ONNX Runtime and OpenVINO, in float32, bfloat16 and int8, in one table.

    python benchmarks/runtimes.py --model champion
    python benchmarks/runtimes.py --model results/model --images photographs/ --threads 1

Each runtime has a process of its own and scores the same decoded images, from the array to the verdict. The exports are
made first and kept in the benchmark's folder. `CPU ms` is the processor's time an image, which a busy machine changes
less than images/s. Score differences are those from torch in float32.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import WORK_DIR, run_main

from harmoniad.environment import keep_quiet

CONTENDERS = ["torch float32", "torch bfloat16", "onnx float32", "openvino float32", "onnx int8", "openvino int8"]
WARM_UP = 3  # calls that are not counted


def main(arguments: list[str] | None) -> None:
    options = parse(arguments)
    keep_quiet()
    if options.child:
        print(json.dumps(measure(options)))
        return
    chosen = options.runtimes
    folders = {name: export_for(name, options) for name in chosen}
    results = {}
    for name in chosen:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        results[name] = ask(name, folders[name], options)
    text = table(results, options)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "runtimes.md").write_text(f"{text}\n", encoding="utf-8")
    (options.output / "runtimes.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="champion", help="as for `harmoniad export`")
    add("--images", type=Path, help="a folder; the project's test images without it")
    add("--count", type=int, default=64, help="images, evenly spread")
    add("--batches", nargs="+", type=int, default=[1, 16])
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=os.cpu_count())
    add("--runtimes", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    add("--output", type=Path, default=WORK_DIR / "runtimes")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def project() -> Any:
    from harmoniad.params import PARAMS_FILE, Params, load_params

    return load_params() if PARAMS_FILE.is_file() else Params()


def export_for(name: str, options: argparse.Namespace) -> str:
    """The model itself for torch, and else its export, which is made if it is not there."""
    runtime, precision = name.split()
    if runtime == "torch":
        return str(options.model)
    from harmoniad.export.folder import is_export
    from harmoniad.export.run import export
    from harmoniad.loading import located

    with located(options.model) as (_, origin):
        folder = options.output / f"{origin.digest[:16]}-{runtime}-{precision}"
    if not is_export(folder):
        print(f"exporting {name}", file=sys.stderr, flush=True)
        is_int8 = precision == "int8"
        images = None if is_int8 else options.images
        export(options.model, runtime, folder, project(), int8=is_int8, images=images)  # type: ignore[arg-type]
    return str(folder)


def ask(name: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--child", name, "--model", folder]
    command += ["--count", str(options.count), "--repeats", str(options.repeats), "--threads", str(options.threads)]
    command += ["--batches", *map(str, options.batches)]
    if options.images:
        command += ["--images", str(options.images)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if answer.returncode:
        sys.exit(f"{name}: the process ended with {answer.returncode}.")
    return json.loads(answer.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """In the child: speed at each batch size, scores and peak memory."""
    import psutil
    import torch

    from harmoniad.data.images import load_rgb
    from harmoniad.loading import load

    torch.set_num_threads(options.threads)
    precision = "bfloat16" if options.child.endswith("bfloat16") else "float32"
    inspector = load(options.model, "cpu", precision)  # type: ignore[arg-type]
    images = [load_rgb(path) for path in image_paths(options)]
    found: dict[str, Any] = {"batches": {}}
    for batch in options.batches:
        parts = [images[start : start + batch] for start in range(0, len(images), batch)]
        for part in parts[:WARM_UP]:
            inspector.predict(part)
        seconds, rates, processor = [], [], time.process_time()
        for _ in range(options.repeats):
            started, scores = time.perf_counter(), []
            for part in parts:
                before = time.perf_counter()
                scores += [prediction.score for prediction in inspector.predict(part)]
                seconds.append(time.perf_counter() - before)
            rates.append(len(images) / (time.perf_counter() - started))
        found["batches"][str(batch)] = {
            "images_per_second": float(np.median(rates)),
            "p50_ms": 1000 * float(np.percentile(seconds, 50)),
            "p95_ms": 1000 * float(np.percentile(seconds, 95)),
            "cpu_ms_an_image": 1000 * (time.process_time() - processor) / (options.repeats * len(images)),
        }
        found["scores"] = scores
    memory = psutil.Process().memory_info()
    peak = getattr(memory, "peak_wset", None)
    if peak is None:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {**found, "peak_mb": peak / 2**20}


def image_paths(options: argparse.Namespace) -> list[Path]:
    from harmoniad.export.parity import SUFFIXES, read_project, spread

    if options.images:
        paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    else:
        manifest = read_project(project())
        paths = [Path(path) for path in manifest.loc[manifest["split"] == "test", "path"]]
    return spread(paths, options.count)


def table(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    lines = [
        f"CPU ({platform.machine()}), {options.threads} threads, {versions}; {options.count} images,"
        f" {options.repeats} repetitions after a warm-up; p50 and p95 of a batch.",
        "",
    ]
    heads = [f"images/s at {batch} | p50 ms | p95 ms | CPU ms an image" for batch in options.batches]
    lines.append("| runtime | " + " | ".join(heads) + " | peak MB | largest score difference |")
    lines.append("|---" * (3 + 4 * len(heads)) + "|")
    exact = results.get("torch float32", {}).get("scores")
    for name, found in results.items():
        cells = []
        for batch in options.batches:
            speed = found["batches"][str(batch)]
            cells.append(
                f"{speed['images_per_second']:.1f} | {speed['p50_ms']:.0f} | {speed['p95_ms']:.0f}"
                f" | {speed['cpu_ms_an_image']:.0f}"
            )
        apart = f"{np.abs(np.subtract(found['scores'], exact)).max():.2g}" if exact else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {found['peak_mb']:.0f} | {apart} |")
    if exact:
        lines += ["", f"torch's scores have a standard deviation of {np.std(exact):.3g} over the images."]
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)  # type: ignore[arg-type]
