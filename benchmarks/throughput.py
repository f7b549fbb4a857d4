"""Images a second: the bare encoder, HarmoniAD from JPEG bytes to verdict, and anomalib beside it, in one run.

Every contender is a process of its own, and only one computes at a time. Warm-up is not counted, and the repetitions go
round robin, so that a machine that slows down does so for all.

    python benchmarks/throughput.py --output results/benchmarks

anomalib is installed into an environment of its own (`--anomalib-venv`), or left out (`--no-anomalib`).
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ANOMALIB = "anomalib[cpu]==2.7.0"
BACKBONE = "vit_small_patch14_dinov2"
TRAIN_IMAGES = 80  # enough patches for a memory of 5000 to be thinned out from, with a tenth of the images kept back


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


def photographs(arguments: argparse.Namespace, cache: Path) -> tuple[list[str], list[str]]:
    """JPEG files to score, and others to learn from."""
    if arguments.photographs:
        found = sorted(str(path) for path in arguments.photographs.rglob("*.jpg"))
        if len(found) < arguments.images + TRAIN_IMAGES:
            sys.exit(f"{arguments.photographs}: {arguments.images + TRAIN_IMAGES} JPEG files are wanted.")
        step = len(found) // (arguments.images + TRAIN_IMAGES)
        found = found[::step][: arguments.images + TRAIN_IMAGES]
        return found[: arguments.images], found[arguments.images :]
    folder = cache / f"photographs-{arguments.side}"
    count = arguments.images + TRAIN_IMAGES
    if not (folder / f"{count - 1:04}.jpg").is_file():
        make_photographs(folder, count, arguments.side)
    made = [str(folder / f"{number:04}.jpg") for number in range(count)]
    return made[TRAIN_IMAGES:], made[:TRAIN_IMAGES]


def make_photographs(folder: Path, count: int, side: int) -> None:
    """Cut squares at random from scikit-image's photographs."""
    import numpy as np
    from PIL import Image
    from skimage import data

    names = ("coffee", "astronaut", "chelsea", "rocket", "brick", "grass", "gravel")
    pictures = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        length = int(min(picture.size) * generator.uniform(0.6, 1.0))
        left = int(generator.integers(picture.width - length + 1))
        top = int(generator.integers(picture.height - length + 1))
        square = picture.crop((left, top, left + length, top + length)).resize((side, side), Image.Resampling.LANCZOS)
        square.save(folder / f"{number:04}.jpg", quality=90)


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


@dataclass
class Contender:
    """A process that waits until it is asked.

    Attributes:
        name: As the table says it.
        settings: What it is told at its start.
        script: What it runs, beside this file.
        python: With which Python.
        about: What it says of itself.
        runs: What was measured, for each batch size.
        profile: Seconds of each step, where it knows them.
        peak_mb: Known when it has stopped.
    """

    name: str
    settings: dict[str, Any]
    script: str
    python: Path = Path(sys.executable)
    about: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.settings["threads"]), "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(self.python), "-W", "ignore", str(HERE / self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.about = self.ask(self.settings)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name}: the process ended with {self._process.wait()}.")
        return json.loads(answer)

    def run(self, batch: int) -> None:
        self.runs.setdefault(batch, []).append(self.ask({"batch": batch}))

    def stop(self) -> None:
        self.peak_mb = json.loads(self._process.communicate()[0])["peak_mb"]

    def images_per_second(self, batch: int) -> float:
        """Median of the repetitions."""
        count = len(self.settings["images"])
        return statistics.median(count / run["seconds"] for run in self.runs[batch])

    def latency(self, batch: int, share: float) -> float:
        """Milliseconds a batch that this share of all batches did not exceed."""
        seconds = sorted(value for run in self.runs[batch] for value in run["batch_seconds"])
        return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]


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


def report(arguments: argparse.Namespace, work: dict[str, Any], contenders: list[Contender]) -> None:
    """Print the tables, and write them as markdown and as JSON."""
    text = "\n".join([*conditions(arguments, contenders), "", *speed_table(arguments, contenders), ""])
    text += "\n".join(
        [*ratios(arguments, contenders), "", *profile_table(contenders), "", *drift(arguments, contenders)]
    )
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "throughput.md").write_text(text + "\n", encoding="utf-8")
    content = {
        "settings": {key: value for key, value in work.items() if key not in ("images", "train")},
        "contenders": [
            {
                "name": contender.name,
                "about": contender.about,
                "images_per_second": {batch: contender.images_per_second(batch) for batch in arguments.batches},
                "seconds": {batch: [run["seconds"] for run in contender.runs[batch]] for batch in arguments.batches},
                "peak_mb": contender.peak_mb,
                "profile": contender.profile,
            }
            for contender in contenders
        ],
    }
    (arguments.output / "throughput.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def conditions(arguments: argparse.Namespace, contenders: list[Contender]) -> list[str]:
    weights = "given weights" if arguments.weights else "random weights"
    size = "JPEG files as given" if arguments.photographs else f"JPEG files of {arguments.side} × {arguments.side}"
    versions = {key: value for contender in contenders for key, value in contender.about.items() if key == "anomalib"}
    at_once = "; ".join(
        f"{contender.name}: {contender.about['images_at_once']} at once is fastest"
        for contender in contenders
        if "images_at_once" in contender.about
    )
    lines = [
        f"CPU ({platform.machine()}), {arguments.threads} threads, torch {importlib.metadata.version('torch')},"
        f" {arguments.workers} decoding threads at batches above 1; {BACKBONE} with {weights},"
        f" {arguments.resolution} px, blocks {arguments.layers}; memories of {arguments.bank} patches;"
        f" {arguments.images} {size}, {arguments.repeats} repetitions round robin after one of warm-up. {at_once}.",
    ]
    if versions:
        lines.append(
            f"anomalib {versions['anomalib']}: the same backbone with random weights (timm is told `pretrained=False`),"
            " in inference mode, with the same decoding threads; it runs all 12 blocks, PatchCore taps the blocks"
            " above, Dinomaly its own eight (2 to 9); its bfloat16 is what it calls float16."
        )
    return lines


def speed_table(arguments: argparse.Namespace, contenders: list[Contender]) -> list[str]:
    heads = [f"images/s at {batch} | p50 ms | p95 ms" for batch in arguments.batches]
    lines = ["| from JPEG bytes to verdict | " + " | ".join(heads) + " | peak MB |"]
    lines.append("|---" * (2 + 3 * len(heads)) + "|")
    for contender in contenders:
        cells = [
            f"{contender.images_per_second(batch):.2f} | {contender.latency(batch, 0.5):.0f}"
            f" | {contender.latency(batch, 0.95):.0f}"
            for batch in arguments.batches
        ]
        lines.append(f"| {contender.name} | {' | '.join(cells)} | {contender.peak_mb:.0f} |")
    return [*lines, "", "p50 and p95 are those of a batch, not of an image. The bare encoder gets decoded images."]


def ratios(arguments: argparse.Namespace, contenders: list[Contender]) -> list[str]:
    """Each detector against the encoder of the same precision, and against the fastest of anomalib's."""
    batch = max(arguments.batches)
    speed = {contender.name: contender.images_per_second(batch) for contender in contenders}
    theirs = {name: value for name, value in speed.items() if name.startswith("anomalib")}
    heads = [f"/ {name}" for name in theirs]
    lines = ["", f"At batch {batch}, times as fast:", "", "| | / bare encoder | " + " | ".join(heads) + " |"]
    lines.append("|---" * (2 + len(heads)) + "|")
    for name, value in speed.items():
        if not name.startswith("HarmoniAD"):
            continue
        bare = speed[f"bare encoder, {name.rpartition(', ')[2]}"]
        lines.append(
            f"| {name} | {value / bare:.2f} | " + " | ".join(f"{value / x:.2f}" for x in theirs.values()) + " |"
        )
    return lines


def profile_table(contenders: list[Contender]) -> list[str]:
    """Where the time of HarmoniAD goes, one step after the other."""
    profiled = [contender for contender in contenders if contender.profile]
    lines = ["Milliseconds an image at batch 16, one step after the other, without decoding threads:", ""]
    lines.append("| step | " + " | ".join(contender.name for contender in profiled) + " |")
    lines.append("|---" * (1 + len(profiled)) + "|")
    steps = profiled[0].profile if profiled else ()
    rows = ([f"{1000 * contender.profile[step]:.1f}" for contender in profiled] for step in steps)
    return [*lines, *(f"| {step} | {' | '.join(row)} |" for step, row in zip(steps, rows, strict=True))]


def drift(arguments: argparse.Namespace, contenders: list[Contender]) -> list[str]:
    """How far scores in bfloat16 lie from those in float32."""
    if len(arguments.precisions) < 2:
        return []
    batch = max(arguments.batches)
    scores = {c.name: c.runs[batch][-1]["scores"] for c in contenders if c.name.startswith("HarmoniAD")}
    lines = []
    for name in arguments.detectors:
        exact, fast = (scores[f"HarmoniAD's {name}, {precision}"] for precision in ("float32", "bfloat16"))
        largest = max(abs(one - two) for one, two in zip(exact, fast, strict=True))
        spread = statistics.stdev(exact)
        lines.append(
            f"{name}: a score in bfloat16 differs by at most {largest:.2g} from that in float32,"
            f" {largest / spread:.1%} of the standard deviation over the photographs."
        )
    return lines


if __name__ == "__main__":
    main()
