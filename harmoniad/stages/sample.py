"""Stage `sample`: make the built-in sample data set. Beside the pipeline: add the sample of logical defects."""

import tempfile
from pathlib import Path

from harmoniad.params import Params

SAMPLE_DIR = Path("data/sample")


def run(params: Params) -> str:
    """Write the sample data set to `data/sample`."""
    from harmoniad.data.sample import CATEGORIES, generate

    sizes = params.sample
    generate(SAMPLE_DIR, seed=params.seed, train=sizes.train, good=sizes.good, defect=sizes.defect, size=sizes.size)
    each = sizes.train + sizes.good + sizes.defect
    return f"sample: {len(CATEGORIES)} categories of {each} images in {SAMPLE_DIR.as_posix()}"


def add_logical(params: Params, name: str, project: Path = Path()) -> str:
    """Make the logical sample and add it to the project as `harmoniad data add` does.

    Args:
        params: `seed`, and of `sample` the numbers of normal images and the size.
        name: Of the data set.
        project: The project folder.

    Returns:
        Lines for the user: what was added and what to do next.

    Raises:
        HarmoniadError: The name is taken or cannot be one, or DVC fails.
    """
    from harmoniad.data.logical_sample import generate
    from harmoniad.data.sets import add, check_name

    check_name(name, project)
    sizes = params.sample
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        generate(source, seed=params.seed, train=sizes.train, good=sizes.good, size=sizes.size)
        return add(source, "mvtec_loco", name, project)
