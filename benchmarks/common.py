"""What the benchmarks share: options, params from overrides, and the memory of a process."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.params import PARAMS_FILE, Params, check_params

BENCHMARKS = Path(__file__).parent
WORK_DIR = STATE_DIR / "benchmarks"

Overrides = Mapping[str, Any]
"""Sections and keys of `params.yaml` that are to have other values."""


def run_main(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a script: an error that the user can mend is one line, and an interrupted run says how it goes on."""
    try:
        main(None)
    except HarmoniadError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def parser_of(description: str | None, config: Path, out: str) -> argparse.ArgumentParser:
    """The options that the accuracy and the ablation benchmark have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        action="append",
        metavar="FOLDER",
        help="a folder in a layout of the package, or NAME=FOLDER; `sample:SEED` and `varied:SEED` are generated "
        "(varied: any angle, changing material). May be given more than once",
    )
    parser.add_argument("--config", type=Path, default=config, help="what is compared (default: %(default)s)")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE, help="everything else (default: %(default)s)")
    parser.add_argument("--seeds", type=numbers, help="such as 0,1,2; instead of those in the config")
    parser.add_argument("--encoders", type=names, help="some of those in the config, with commas")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="ENCODER=FILE",
        help="where the weights of an encoder of the config lie",
    )
    parser.add_argument("--cache", help="the feature cache (default: as in the params)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks") / out, help="default: %(default)s")
    parser.add_argument(
        "--cells", type=Path, default=WORK_DIR / "cells", help="where finished cells are kept (default: %(default)s)"
    )
    return parser


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def numbers(text: str) -> list[int]:
    return [int(name) for name in names(text)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        HarmoniadError: It is missing or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HarmoniadError(f"{path}: no such file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HarmoniadError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise HarmoniadError(f"{path}: must hold sections.")
    return content


def named_overrides(config: Mapping[str, Any], section: str, source: Path) -> dict[str, Overrides]:
    """A section of a benchmark's config: overrides of `params.yaml` by name.

    Raises:
        HarmoniadError: It is missing or has another form.
    """
    found = config.get(section)
    if not isinstance(found, dict) or not all(isinstance(value or {}, dict) for value in found.values()) or not found:
        raise HarmoniadError(f"{source}: `{section}` must hold names, and below each the params that it changes.")
    return {str(name): value or {} for name, value in found.items()}


def choose(found: Mapping[str, Overrides], names: Sequence[str] | None, source: Path) -> dict[str, Overrides]:
    """Some of the named overrides, or all.

    Raises:
        HarmoniadError: A name is not among them.
    """
    for name in names or ():
        if name not in found:
            raise HarmoniadError(f"{source}: no `{name}`. Known: {', '.join(found)}.")
    return dict(found) if names is None else {name: found[name] for name in names}


def base_params(options: argparse.Namespace) -> Overrides:
    """What the params hold before an encoder or a detector changes them."""
    cache = {"encode": {"cache": options.cache}} if options.cache else {}
    return merged(read_yaml(options.params), cache)


def encoders_of(config: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Overrides]:
    """The encoders that the options choose, with the weights that they name.

    Raises:
        HarmoniadError: The config or an option is wrong.
    """
    known = named_overrides(config, "encoders", options.config)
    for place in options.weights:
        name, _, file = place.partition("=")
        if not file or name not in known:
            raise HarmoniadError(f"--weights {place}: must be ENCODER=FILE. Known: {', '.join(known)}.")
        known[name] = merged(known[name], {"encoder": {"weights": file}})
    return choose(known, options.encoders, options.config)


def seeds_of(config: Mapping[str, Any], source: Path) -> list[int]:
    """The seeds of a config.

    Raises:
        HarmoniadError: They are no list of numbers.
    """
    seeds = config.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise HarmoniadError(f"{source}: `seeds` must be a list of numbers such as [0, 1, 2].")
    return seeds


def check_all(
    base: Overrides, encoders: Mapping[str, Overrides], detectors: Mapping[str, Overrides], source: Path
) -> None:
    """Check every combination before anything slow begins.

    Raises:
        HarmoniadError: A key is unknown or has a wrong value.
    """
    for encoder, of_encoder in encoders.items():
        for detector, of_detector in detectors.items():
            params_of(f"{source}, {encoder}, {detector}", base, of_encoder, of_detector)


def merged(*layers: Overrides) -> dict[str, Any]:
    """Merge mappings key by key; a later one wins."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def params_of(source: str, *layers: Overrides) -> Params:
    """Params from layers of overrides, of which a later one wins.

    Raises:
        HarmoniadError: A key is unknown or has a wrong value; the message begins with `source`.
    """
    return check_params(merged(*layers), source)


def environment_of_child() -> dict[str, str]:
    """The environment for a script in a child process: it finds the package beside the benchmarks first."""
    path = os.pathsep.join(filter(None, [str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
