"""Images a second: the bare encoder, HarmoniAD from JPEG bytes to verdict, and anomalib beside it, in one run.

Every contender is a process of its own, and only one computes at a time. Warm-up is not counted, and the repetitions go
round robin, so that a machine that slows down does so for all.

    python benchmarks/throughput.py --output results/benchmarks

anomalib is installed into an environment of its own (`--anomalib-venv`), or left out (`--no-anomalib`).
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

from benchmarks.throughput_contender import Contender
from benchmarks.throughput_photographs import photographs
from benchmarks.throughput_report import report

ANOMALIB = "anomalib[cpu]==2.7.0"
BACKBONE = "vit_small_patch14_dinov2"


def main() -> None:
    arguments = parse()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    work = settings(arguments, cache)
    python = None if arguments.no_anomalib else anomalib_python(arguments.anomalib_venv or cache / "anomalib")
    print(f"preparing the models in {cache}", flush=True)
    preparation = Contender("prepare", {**work, "role": "prepare"}, "throughput_harmoniad.py")
    preparation.start()
    preparation.stop()
    contenders = list_contenders(arguments, work, python)
    for contender in contenders:
        contender.start()
        for batch in arguments.batches:
            contender.run(batch)  # warm-up
        contender.runs.clear()
    for repetition in range(arguments.repeats):
        for batch in arguments.batches:
            for contender in contenders:
                contender.run(batch)
        print(f"repetition {repetition + 1} of {arguments.repeats}", flush=True)
    for contender in contenders:
        if contender.settings["role"] == "detector" and "models" in contender.settings:
            contender.profile = contender.ask({"extra": "profile"})
        contender.stop()
    report(arguments, work, contenders)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=Path("results/benchmarks"), help="where throughput.md and .json go")
    add("--cache", type=Path, default=Path(".harmoniad/throughput"), help="photographs, models, anomalib's environment")
    add("--params", type=Path, default=Path("params.yaml"), help="the design of the detectors")
    add("--weights", type=Path, help=f"of timm's {BACKBONE}; random ones by default")
    add("--photographs", type=Path, help="folder of JPEG files; made from scikit-image's own by default")
    add("--images", type=int, default=48, help="photographs a run")
    add("--side", type=int, default=800, help="of the made photographs, in pixels")
    add("--detectors", nargs="+", default=["harmoniad", "patchcore"])
    add("--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    add("--layers", nargs="+", type=int, default=[3, 5, 7], help="blocks that HarmoniAD and both PatchCores tap")
    add("--resolution", type=int, default=392)
    add("--bank", type=int, default=5000, help="patches in each memory")
    add("--batches", nargs="+", type=int, default=[1, 16])
    add("--repeats", type=int, default=5)
    add("--threads", type=int, default=os.cpu_count(), help="of the network")
    add("--workers", type=int, default=2, help="decoding threads at batches above 1")
    add("--anomalib-venv", type=Path, help="made if it is not there; inside the cache by default")
    add("--no-anomalib", action="store_true")
    return parser.parse_args()


def settings(arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """What all contenders are told."""
    images, train = photographs(arguments, cache)
    weights = arguments.weights or cache / f"{BACKBONE}.safetensors"
    return {
        "threads": arguments.threads,
        "workers": arguments.workers,
        "images": images,
        "train": train,
        "params": str(arguments.params.resolve()),
        "models": str(cache / "models"),
        "detectors": arguments.detectors,
        "backbone": BACKBONE,
        "resolution": arguments.resolution,
        "layers": arguments.layers,
        "bank": arguments.bank,
        "encoder": {
            "name": f"timm:{BACKBONE}",
            "weights": str(weights.resolve()),
            "resolution": arguments.resolution,
            "layers": arguments.layers,
        },
        "design": {
            # What head 2 learns does not change its speed: a few steps on defects made in the features do.
            "harmoniad": {"memory_patches": arguments.bank, "norm": "layer", "feature_defects": True, "head_steps": 5},
            "patchcore": {"coreset": 0.1, "max_patches": 10 * arguments.bank},
        },
    }


def anomalib_python(folder: Path) -> Path:
    """The Python of anomalib's environment, which is made if it is not there, with the torch of this one."""
    folder = folder.resolve()
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    whole = folder / "whole"
    if not whole.is_file():
        print(f"installing {ANOMALIB} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        same = [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "torchvision")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", ANOMALIB, *same], check=True)
        whole.touch()
    return python


def list_contenders(arguments: argparse.Namespace, work: dict[str, Any], python: Path | None) -> list[Contender]:
    found = []
    for precision in arguments.precisions:
        first = arguments.detectors[0]
        told = {**work, "role": "encoder", "precision": precision, "detector": first}
        found.append(Contender(f"bare encoder, {precision}", told, "throughput_harmoniad.py"))
        for name in arguments.detectors:
            told = {**work, "role": "detector", "precision": precision, "detector": name}
            found.append(Contender(f"HarmoniAD's {name}, {precision}", told, "throughput_harmoniad.py"))
    if python is None:
        return found
    theirs = {key: value for key, value in work.items() if key not in ("models", "params")}
    for name, precision in [("patchcore", "float32"), *(("dinomaly", precision) for precision in arguments.precisions)]:
        told = {**theirs, "role": "detector", "precision": precision, "detector": name}
        found.append(Contender(f"anomalib's {name}, {precision}", told, "throughput_anomalib.py", python))
    return found


if __name__ == "__main__":
    main()
