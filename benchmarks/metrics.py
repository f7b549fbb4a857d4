"""Pixel metrics: time and peak memory of the one-pass ones, of an exact sort, and of anomalib's and torchmetrics'.

Every contender has a process of its own for each set of maps, one after the other and round robin; the best of the
repetitions counts. Making the maps is not timed. With one thread the time is that of the processor, which other
processes on the machine disturb little; with more it is that of the clock.

    python benchmarks/metrics.py

anomalib and torchmetrics are installed into an environment of their own (`--anomalib-venv`), or left out
(`--no-anomalib`). A contender whose memory on the next smaller set tells that it would not fit is not run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

from benchmarks.metrics_contender import CONTENDERS
from benchmarks.throughput import ANOMALIB, anomalib_python

HERE = Path(__file__).resolve().parent
SETS = ["83x256", "83x512", "83x900", "1000x512"]
RIGHT = 1e-4
"""So close to the exact sort a figure must be to be called right."""

Results = dict[tuple[str, str], list[dict[str, Any]]]


def main() -> None:
    options = parse()
    ours = [name for name in CONTENDERS if name in ("harmoniad", "exact sort")]
    theirs = [] if options.no_anomalib else [name for name in CONTENDERS if name not in ours]
    python = None if options.no_anomalib else anomalib_python(options.anomalib_venv or options.cache / "anomalib")
    results: Results = {}
    for maps in options.sets:
        for repetition in range(options.repeats):
            for name in [*ours, *theirs]:
                if memory_of(results, name, maps) > options.memory or (repetition and is_slow(results, name, maps)):
                    continue
                interpreter = Path(sys.executable) if name in ours else python
                results.setdefault((name, maps), []).append(measure(name, maps, interpreter, options.threads))
                last = results[name, maps][-1]
                print(f"{maps} {name}: {last['processor']:.2f} s, {last['peak_mb']:.0f} MB", flush=True)
    report(options, results, [*ours, *theirs])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sets", nargs="+", default=SETS, metavar="COUNTxSIDE", help="default: %(default)s")
    add("--repeats", type=int, default=3, help="a contender that takes a minute runs once; default: %(default)s")
    add("--threads", type=int, default=1, help="default: %(default)s")
    add("--memory", type=float, default=12_000, help="MB that a contender may take; default: %(default)s")
    add("--cache", type=Path, default=Path(".harmoniad/throughput"), help="where anomalib's environment goes")
    add("--anomalib-venv", type=Path, help="made if it is not there; inside the cache by default")
    add("--no-anomalib", action="store_true")
    add("--output", type=Path, default=Path("results/benchmarks"), help="where metrics.md and .json go")
    return parser.parse_args()


def measure(name: str, maps: str, python: Path | None, threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    command = [str(python), "-W", "ignore", str(HERE / "metrics_contender.py"), name, *maps.split("x"), str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {name} on {maps} ended with {done.returncode}.")
    return json.loads(done.stdout)


def pixels(maps: str) -> int:
    count, side = (int(value) for value in maps.split("x"))
    return count * side * side


def memory_of(results: Results, name: str, maps: str) -> float:
    """MB that a contender will take on a set, from the largest set that it has run on."""
    known = [(pixels(other), runs[0]["peak_mb"]) for (who, other), runs in results.items() if who == name]
    if not known or name == "harmoniad":
        return 0.0
    count, peak = max(known)
    return peak * max(1.0, pixels(maps) / count)


def is_slow(results: Results, name: str, maps: str) -> bool:
    return results[name, maps][0]["seconds"] > 60


def report(options: argparse.Namespace, results: Results, names: list[str]) -> None:
    """Print the table, and write it as markdown and everything as JSON."""
    clock = "processor" if options.threads == 1 else "seconds"
    lines = [
        f"CPU ({platform.machine()}), threads: {options.threads}, best of {options.repeats};"
        f" {'seconds of the processor' if clock == 'processor' else 'seconds'}, peak memory of the process."
        + ("" if options.no_anomalib else f" {ANOMALIB} with its torchmetrics."),
        "",
        "| | " + " | ".join(f"{maps.replace('x', ' × ')}²" for maps in options.sets) + " | largest error |",
        "|---" * (2 + len(options.sets)) + "|",
    ]
    for name in names:
        cells = []
        for maps in options.sets:
            runs = results.get((name, maps))
            if runs:
                best = min(run[clock] for run in runs)
                cells.append(f"{best:.2f} s, {min(run['peak_mb'] for run in runs):.0f} MB")
            else:
                cells.append(f"would need {memory_of(results, name, maps) / 1000:.0f} GB")
        lines.append(f"| {name} | {' | '.join(cells)} | {error_of(results, name, options.sets):.1e} |")
    text = "\n".join([*lines, "", *ratios(results, names, options.sets, clock)])
    print(f"\n{text}")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "metrics.md").write_text(text + "\n", encoding="utf-8")
    content = [{"contender": name, "maps": maps, "runs": runs} for (name, maps), runs in results.items()]
    (options.output / "metrics.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def error_of(results: Results, name: str, sets: list[str]) -> float:
    """How far a figure lies from the exact sort's at most, over the sets that the exact sort could run on."""
    errors = [0.0]
    for maps in sets:
        exact, found = results.get(("exact sort", maps)), results.get((name, maps))
        if exact and found:
            truth = exact[0]["figures"]
            errors += [abs(value - truth[key]) for key, value in found[0]["figures"].items() if key in truth]
    return max(errors)


def ratios(results: Results, names: list[str], sets: list[str], clock: str) -> list[str]:
    """How many times as fast all our metrics together are as the exact sort and as the fastest single metric."""
    lines = []
    for maps in sets:
        time = {name: min(run[clock] for run in results[name, maps]) for name in names if (name, maps) in results}
        parts = [f"{time['exact sort'] / time['harmoniad']:.1f} × the exact sort"] if "exact sort" in time else []
        right = [name for name in list(time)[2:] if error_of(results, name, [maps]) <= RIGHT and "exact sort" in time]
        if right:
            fastest = min(right, key=time.__getitem__)
            parts.append(f"{time[fastest] / time['harmoniad']:.1f} × the fastest peer that is right ({fastest})")
        if parts:
            lines.append(f"{maps.replace('x', ' × ')}²: as fast as {', '.join(parts)}.")
    return lines


if __name__ == "__main__":
    main()
