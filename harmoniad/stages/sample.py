"""Stage `sample`: make the built-in sample data set."""

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
