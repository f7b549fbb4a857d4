"""The tables of `throughput.py`."""

import argparse
import importlib.metadata
import json
import platform
import statistics
from typing import Any

from benchmarks.throughput_contender import Contender


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
        f" {arguments.workers} decoding threads at batches above 1;"
        f" {contenders[0].settings['backbone']} with {weights},"
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
