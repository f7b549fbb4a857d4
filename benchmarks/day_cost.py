"""What a day costs: `harmoniad retrain` with k new images among N, and where each second goes.

    python benchmarks/day_cost.py

Each N is a project of its own (see `benchmarks/plant/project.py`) with pictures of the sample factory and a small
detector, whose champion is there already; one Prefect server runs all the time. `views` are the pictures and copies
that were encoded, and `encoding` the seconds for these alone, without the start of a process or the encoder's loading.
A stage's seconds are those of its own process, from start to end. `DVC` is `dvc repro` without the stages, `Prefect`
the flow without both. The orchestration is both, the stages `version` and `results` (git, and DVC's add, diff and
push), `validate` (Great Expectations) and `register` (MLflow). New images are encoded in `drift`, where they are
compared, and their copies with made defects in `encode`; `encoding` is both. On a machine that does other things, too,
the seconds of the processor say more than those of the clock on the wall.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

import psutil

from benchmarks import common
from benchmarks.plant.images import SET, Camera, Ledger, kinds_of
from benchmarks.plant.project import Project, prefect_server
from benchmarks.plant.story import params_of
from benchmarks.plant.timing import STAGES, Seconds
from harmoniad.environment import keep_quiet
from harmoniad.files import write_bytes

CATEGORIES = ("brick", "label", "machined_part", "gravel")
ORCHESTRATION = ("version", "validate", "register", "results", "dvc", "flow")
ENCODED = re.compile(r"encode: (\d+) views in ([\d.]+) s")  # see `harmoniad.features.encode`
HEADS = {**{stage: stage for stage in STAGES}, "dvc": "DVC", "flow": "Prefect"}


@dataclass(frozen=True)
class Day:
    """A retraining.

    Attributes:
        images: That there were.
        new: Good images that came.
        views: How many pictures and copies of pictures were encoded.
        encoding: Wall seconds for these alone.
        seconds: Of the run.
        server: Processor seconds of the Prefect server.
    """

    images: int
    new: int
    views: int
    encoding: float
    seconds: Seconds
    server: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table.

    Raises:
        HarmoniadError: A retraining failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=common.numbers, default=[200, 400], help="N: images that there are")
    parser.add_argument("--new", type=common.numbers, default=[0, 8, 32], help="k: good images that come")
    parser.add_argument("--size", type=int, default=256, help="side of an image in pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/day_cost"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    keep_quiet()
    days: list[Day] = []
    with (
        tempfile.TemporaryDirectory(prefix="harmoniad-cost-") as temporary,
        prefect_server(Path(temporary) / "prefect") as server,
    ):
        for images in options.images:
            project = Project(Path(temporary) / f"{images} images", server)
            days += measure(project, images, options.new, options.size)
    text = table(days)
    write_bytes(options.out / "day_cost.md", text.encode())
    print(text, end="")


def measure(project: Project, images: int, new: Sequence[int], size: int) -> list[Day]:
    """Make a project with a champion, and retrain it with each number of new images."""
    small = params_of(size, width=16, memory=500, steps=20)
    project.folder.mkdir()
    project.create(common.merged(small, {"drift": {"stops": False}}), project.folder.with_name(f"{images} remote"))
    camera = Camera(project.folder, Ledger(), seed=0, size=size)
    each = images // len(CATEGORIES)
    for category in CATEGORIES:
        kinds = dict.fromkeys(kinds_of(category)[:4], each // 16)
        train = each - each // 8 - sum(kinds.values())
        camera.history(project.folder / "history", category, train=train, good=each // 8, kinds=kinds)
    project.run("harmoniad", "data", "add", "history", "--layout", "mvtec", "--name", SET)
    project.run("harmoniad", "retrain")
    rows = []
    for count in new:
        for number in range(count):
            camera.good(CATEGORIES[number % len(CATEGORIES)], 1, f"{count}")
        before = _server_seconds()
        ran = project.run("harmoniad", "retrain")
        encoded = ENCODED.findall(ran.output)
        views, took = sum(int(views) for views, _ in encoded), sum(float(took) for _, took in encoded)
        rows.append(Day(images, count, views, took, ran.seconds, _server_seconds() - before))
        images += count
    return rows


def _server_seconds() -> float:
    """Processor seconds of the Prefect server, which is the only child that runs now."""
    processes = psutil.Process().children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def table(days: Sequence[Day]) -> str:
    """Two lines a run: on the wall, and of the processor."""
    heads = ["N", "k", "views", "encoding", "seconds", *HEADS.values(), "all", "orchestration"]
    lines = [heads, ["---"] * len(heads)]
    for day in days:
        seconds, server = day.seconds, day.server
        on_the_wall = {**seconds.stages, "dvc": seconds.dvc, "flow": seconds.flow}
        of_processor = {**seconds.cpu_of, "flow": seconds.cpu_of["flow"] + server}
        what = [str(day.images), str(day.new), str(day.views), f"{day.encoding:.1f}"]
        lines.append([*what, "wall", *_cells(on_the_wall, seconds.wall)])
        lines.append([*[""] * len(what), "CPU", *_cells(of_processor, seconds.cpu + server)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(parts: dict[str, float], whole: float) -> list[str]:
    orchestration = sum(parts.get(name, 0.0) for name in ORCHESTRATION)
    return [*(f"{parts[key]:.1f}" if key in parts else "–" for key in HEADS), f"{whole:.1f}", f"{orchestration:.1f}"]


if __name__ == "__main__":
    common.run_main(main)
