"""Fuzz a running `harmoniad serve-model`: mutated images, and requests made from its OpenAPI description.

The server is started here on a free port of loopback. It must never answer 500, never take longer than --seconds an
image, and its memory must not grow. Schemathesis, if it is installed (`--schemathesis COMMAND` where it lies in an
environment of its own), makes requests from the description.

    python benchmarks/fuzz_serving.py --model champion --images 2000
"""

import argparse
import io
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

KINDS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
WARM_UP = 200  # images after which memory is measured first
GROWTH = 1.1  # of memory, beyond which it counts as a leak


def seeds() -> list[bytes]:
    """Small images in all formats and some modes."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels)]
    pictures += [pictures[0].convert(mode) for mode in ("L", "P", "RGBA", "1", "CMYK", "I;16")]
    found = []
    for picture in pictures:
        for kind in KINDS:
            buffer = io.BytesIO()
            try:
                picture.save(buffer, kind, **({"progressive": True} if kind == "JPEG" and picture.mode == "L" else {}))
            except (OSError, ValueError):
                continue  # a mode that the format does not have
            found.append(buffer.getvalue())
    return found


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """Images with bytes changed, taken out, doubled, cut off or glued together; mostly in their headers."""
    chance, originals = random.Random(seed), seeds()
    for _ in range(count):
        content = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(max(1, min(len(content), chance.choice((64, 512, 10**6)))))
            how = chance.randrange(6)
            if how <= 1:
                content[place : place + 1] = bytes([chance.randrange(256)])
            elif how == 2:
                content[place : place + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\1\0\0")
                )
            elif how == 3:
                del content[place : place + chance.randint(1, 64)]
            elif how == 4:
                content[place:place] = content[place : place + chance.randint(1, 256)]
            elif chance.random() < 0.3:
                other = chance.choice(originals)
                content = content[:place] + bytearray(other[place:])
        yield bytes(content)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    from serving_processes import Client, memory_of, serve_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="what `harmoniad serve-model --model` takes")
    parser.add_argument("--images", type=int, default=2000, help="mutated images (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="for an answer, at most (default: %(default)s)")
    parser.add_argument(
        "--examples", type=int, default=50, help="of schemathesis for each route (default: %(default)s)"
    )
    parser.add_argument("--schemathesis", default="schemathesis", help="its command; empty leaves it out")
    options = parser.parse_args(arguments)
    problems, statuses, longest, first, last = [], Counter[int](), 0.0, 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="harmoniad-") as folder,
        serve_model(options.model, "--keep", "all", "--keep-images", "20", "--review-dir", folder) as (
            address,
            process,
        ),
    ):
        client = Client(address, options.seconds)
        for number, content in enumerate(mutations(options.images, seed=0)):
            started = time.monotonic()
            status = client.predict(content)
            longest = max(longest, time.monotonic() - started)
            statuses[status] += 1
            if status >= 500 or status == 0:
                problems.append(f"image {number}: {status or 'no answer'}")
            if number == min(WARM_UP, options.images - 1):
                first = memory_of(process)
        last = memory_of(process)
        told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        print(f"mutated images: {told}; longest {longest:.2f} s; memory {first / 1e6:.0f} -> {last / 1e6:.0f} MB")
        if last > GROWTH * first:
            problems.append("memory grew")
        if options.schemathesis:
            problems += _schemathesis(options.schemathesis, address, options.examples)
        if not Client(address).is_ready():
            problems.append("the server is not ready any more")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


def _schemathesis(command: str, address: str, examples: int) -> list[str]:
    run = ["run", f"{address}/openapi.json", "--checks", CHECKS, "--max-examples", str(examples), "--no-color"]
    try:
        result = subprocess.run(
            [*shlex.split(command), *run], check=False, timeout=1800, capture_output=True, text=True
        )
    except FileNotFoundError:
        return [f"{command}: not found. `pip install schemathesis` in an environment of its own, or --schemathesis ''"]
    print(result.stdout[-3000:] if result.returncode else "\n".join(result.stdout.splitlines()[-12:]))
    return ["schemathesis found something"] if result.returncode else []


if __name__ == "__main__":
    from common import run_main

    run_main(main)
