"""Two registered versions side by side on the current images: a table, and the images whose verdict changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.params import Params
from harmoniad.tracking import evidence, judgement, model_files, promotion, scorecard
from harmoniad.tracking.gate import Figures
from harmoniad.tracking.scorecard import CurrentImages
from harmoniad.tracking.versions import aliases_of_model, aliases_of_version, find

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

    from harmoniad.metrics.intervals import Estimate
    from harmoniad.report.gallery import Panel

COMPARE_DIR = Path("results/compare")
FOUND, MISSED, ALARM, PASSED = "defect found now", "defect missed now", "new false alarm", "false alarm gone"
CHANGES = (MISSED, ALARM, FOUND, PASSED)
"""How a verdict can change from the first version to the second: what became worse comes first."""


@dataclass(frozen=True)
class Comparison:
    """What two versions do on the same images.

    Attributes:
        names: Of both, such as "version 2 (@champion)".
        figures: Of both, over the categories that both were trained on.
        difference: In mean image AUROC, second minus first.
        shared: The categories that both were trained on and that have images.
        alone: For each version, the categories that only it was trained on.
        changed: The test images whose verdict changed, worst first, with `change` besides the columns
            of `evidence.paired`.
        test_images: How many test images both scored.
        images: What the models were compared on.
    """

    names: tuple[str, str]
    figures: tuple[Figures, Figures]
    difference: "Estimate | None"
    shared: list[str]
    alone: tuple[list[str], list[str]]
    changed: "pd.DataFrame"
    test_images: int
    images: CurrentImages


def compare(params: Params, first: str, second: str, out: Path | None = None) -> str:
    """Compare two registered versions and write the page.

    Args:
        params: Names the model, the data and the rules.
        first: Number or alias of a version.
        second: The same.
        out: Where the page goes; `results/compare/FIRST-SECOND.html` by default.

    Returns:
        The table for the terminal, and where the page is.

    Raises:
        HarmoniadError: There is no such version, its files are missing or changed, or a model cannot be scored.
    """
    from harmoniad.report.compare_page import comparison_table, write_page

    with promotion.registry(params) as (client, name):
        versions = (find(client, name, first), find(client, name, second))
        if versions[0].version == versions[1].version:
            raise HarmoniadError(f"{first} and {second} are the same version. Name two different ones.")
        images = scorecard.current_images(params)
        comparison = _comparison(params, versions, images, aliases_of_model(client, name))
        panels = _draw(params, versions, comparison)
    path = out or COMPARE_DIR / f"{versions[0].version}-{versions[1].version}.html"
    write_page(path, comparison, panels, params)
    return f"{comparison_table(comparison, params.gate)}\n\npage: {path.as_posix()}"


def _comparison(
    params: Params,
    versions: tuple["ModelVersion", "ModelVersion"],
    images: CurrentImages,
    aliases: dict[str, int],
) -> Comparison:
    first, second = (judgement.card_of(version, images, params) for version in versions)
    compared = evidence.shared_categories(first, second)
    rate = params.evaluate.false_positive_rate
    pairs = evidence.paired(first, second)
    test = pairs[pairs["split"] == "test"]
    if test.empty:
        raise HarmoniadError("the two versions share no category that has test images: there is nothing to compare.")
    return Comparison(
        names=(_name(versions[0], aliases), _name(versions[1], aliases)),
        figures=(evidence.figures(first, compared, rate), evidence.figures(second, compared, rate)),
        difference=evidence.difference(first, second, params.gate),
        shared=sorted(set(test["category"])),
        alone=(sorted(set(first.trained_on) - compared), sorted(set(second.trained_on) - compared)),
        changed=changed_verdicts(test),
        test_images=len(test),
        images=images,
    )


def changed_verdicts(test: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of `evidence.paired` whose verdict changed, with `change`; what became worse, by most, comes first."""
    changed = test[test["is_anomalous_first"] != test["is_anomalous_second"]]
    kinds = {("defect", True): FOUND, ("defect", False): MISSED, ("good", True): ALARM, ("good", False): PASSED}
    pairs = zip(changed["label"], changed["is_anomalous_second"], strict=True)
    changed = changed.assign(change=[kinds[label, bool(flagged)] for label, flagged in pairs])
    changed = changed.assign(
        order=changed["change"].map(CHANGES.index),
        distance=-(changed["score_second"] - changed["threshold_second"]).abs()
        / changed["threshold_second"].abs().clip(lower=1e-12),
    )
    return changed.sort_values(["order", "distance", "category", "path"], ignore_index=True).drop(
        columns=["order", "distance"]
    )


def _draw(
    params: Params, versions: tuple["ModelVersion", "ModelVersion"], comparison: Comparison
) -> "dict[str, list[Panel]]":
    """The pictures of the images whose verdict changed: the part, both heat maps, the marked defect; by path."""
    from harmoniad.data.images import load_rgb
    from harmoniad.data.masks import read_mask
    from harmoniad.report import gallery, heatmap

    shown = comparison.changed["path"].tolist()[: params.evaluate.report_images]
    if not shown:
        return {}
    rows = comparison.images.rows.set_index("path", drop=False).loc[shown].reset_index(drop=True)
    longest_side = gallery.longest_side(len(rows) * 2)
    panels: dict[str, list[Panel]] = {path: [] for path in shown}
    for version in versions:
        model = model_files.load(version, params)
        for scored in model.score(rows, params, f"heat maps of version {version.version}"):
            row = rows.iloc[scored.position]
            scale = heatmap.Scale(model.threshold.normal_level, model.threshold.of(row["category"]))
            drawn = gallery.panels_of(
                load_rgb(Path(row["path"])),
                scored.pixel_map.cpu().numpy(),
                read_mask(row.to_dict()) if row["mask_area"] > 0 else None,
                scale=scale,
                longest_side=longest_side,
            )
            known = panels[row["path"]]
            panels[row["path"]] = [*known[:2], drawn[1], *known[2:]] if known else drawn
    return panels


def _name(version: "ModelVersion", aliases: dict[str, int]) -> str:
    named = ", ".join(f"@{alias}" for alias in aliases_of_version(aliases, int(version.version)))
    return f"version {version.version}" + (f" ({named})" if named else "")
