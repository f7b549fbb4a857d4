"""Are the new images like those that the champion knows? Asked before anything is trained on them.

The reference of a category are the good images that the champion was measured on and did not learn from. Where a
person has accepted images of the category after a finding, these are the reference from then on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import as_table, manifest_file, read_table
from harmoniad.data.measure import measure_all
from harmoniad.errors import HarmoniadError
from harmoniad.factory.drift_files import DECISION, Pictures, log, write_files
from harmoniad.factory.news import News, news_of
from harmoniad.files import read_json, write_json
from harmoniad.params import Params
from harmoniad.stages.prepare import row_of

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.factory.champion import Champion
    from harmoniad.factory.two_samples import Comparison, Samples

FOLDER = Path("results/drift")
ACCEPTED = FOLDER / "accepted.json"

NOTHING_NEW, RETRAIN, LOOK = "nothing new", "retrain", "drift: a person should look"


@dataclass
class Outcome:
    """What the comparison led to.

    Attributes:
        decision: `NOTHING_NEW`, `RETRAIN` or `LOOK`.
        reasons: Why, in sentences.
        new_images: How many new images there are, defects included.
        champion: The version that scored them; None where the comparison was skipped.
        skipped: Why there was no comparison; empty if there was one.
        table: A row a category and measure, see `drift_files.COLUMNS`.
    """

    decision: str
    reasons: list[str]
    new_images: int = 0
    champion: int | None = None
    skipped: str = ""
    table: list[dict[str, Any]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For the user."""
        decision = self.decision if self.decision == LOOK else f"drift: {self.decision}"
        lines = [f"{decision}: {reason}" for reason in self.reasons]
        if self.skipped:
            lines.append(f"note: no comparison: {self.skipped}")
        where = FOLDER.as_posix()
        return [*lines, f"table: {where}/drift.csv, plot: {where}/drift.png"] if self.table else lines


def run(params: Params) -> Outcome:
    """Compare the new images with the reference and decide; leaves table, plot and decision in `results/drift`.

    Raises:
        HarmoniadError: A new image cannot be read at all, weights are missing, or the disk is full.
    """
    news = news_of(params.data.sets)
    if len(news) < params.drift.retrain_from:
        few = f"{len(news)} new images, fewer than drift.retrain_from" if news else "no image has come in"
        outcome = Outcome(NOTHING_NEW, [few], len(news))
        write_files(FOLDER, outcome)
        return outcome
    from harmoniad.factory.champion import champion

    try:
        with champion(params) as found:
            outcome, pictures = _compare(news, found, params)
    except HarmoniadError as error:  # the gate will look at the model all the same
        outcome, pictures = Outcome(RETRAIN, [_count(news)], len(news), skipped=str(error)), None
    write_files(FOLDER, outcome, pictures)
    if pictures is not None:
        log(FOLDER, outcome, params)
    return outcome


def accept(params: Params) -> str:
    """Say for a person that the images that were found to differ are as they should be: they become the reference."""
    last = read_json(FOLDER / DECISION) if (FOLDER / DECISION).is_file() else {"categories": []}
    categories = {row["category"] for row in last["categories"] if row["drift"]}
    rows = _measured(news_of(params.data.sets))
    good = rows[(rows["label"] == "good") & rows["category"].isin(categories)]
    if good.empty:
        return "drift: there is no finding to accept"
    accepted = _accepted()
    for category, of_category in good.groupby("category"):
        accepted[str(category)] = {"images": sorted(of_category["path"]), "champion": last["champion"]}
    write_json(ACCEPTED, accepted)
    names = ", ".join(sorted(set(good["category"])))
    return f"drift: {len(good)} new good images of {names} are accepted; `harmoniad retrain` goes on with them"


def _accepted() -> dict[str, Any]:
    """The paths of the `images` that a person has accepted last, and who was `champion` then, by category."""
    return dict(read_json(ACCEPTED)) if ACCEPTED.is_file() else {}


def _compare(news: Sequence[News], champion: "Champion", params: Params) -> "tuple[Outcome, Pictures]":
    from harmoniad.factory.drift_samples import samples_of
    from harmoniad.factory.two_samples import adjusted, compare, is_drift

    rows = _measured(news)
    if rows.empty:
        raise HarmoniadError("none of the new images can be decoded")
    last = _accepted()
    accepted = {category: of["images"] for category, of in last.items()}
    unseen = {path for of in last.values() if of["champion"] == champion.version for path in of["images"]}
    samples, scored = samples_of(rows, _known_rows(params), accepted, unseen, champion, params)
    settings = params.drift
    enough = {key: of_key for key, of_key in samples.items() if not _too_few(of_key, settings.min_images)}
    comparisons = {key: compare(of_key, settings.components) for key, of_key in enough.items()}
    corrected = adjusted({key: comparison.p for key, comparison in comparisons.items()})
    table = []
    for (category, measure), of_key in samples.items():
        row: dict[str, Any] = {"category": category, "measure": measure}
        row |= {"new": len(of_key.new), "reference": len(of_key.reference)}
        found = comparisons.get((category, measure))
        if found is None:
            row |= {"drift": False, "note": _too_few(of_key, settings.min_images)}
        else:
            row |= _figures(found, corrected[category, measure])
            row |= {"drift": is_drift(corrected[category, measure], found.effect, settings), "note": ""}
        table.append(row)
    findings = [row for row in table if row["drift"]]
    reasons = [_tell(row) for row in findings] or [_count(news)]
    already = sum(rows["path"].isin({path for paths in accepted.values() for path in paths}))
    if already and not findings:
        reasons.append(f"{already} of them were accepted by a person")
    outcome = Outcome(LOOK if findings else RETRAIN, reasons, len(news), champion.version, table=table)
    return outcome, Pictures(comparisons, scored)


def _figures(found: "Comparison", p_adjusted: float) -> dict[str, float]:
    import numpy as np

    figures = {
        "new_median": float(np.median(found.new)),
        "reference_median": float(np.median(found.reference)),
        "statistic": found.statistic,
        "p": found.p,
        "p_adjusted": p_adjusted,
        "effect": found.effect,
    }
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def _too_few(samples: "Samples", least: int) -> str:
    """Why nothing can be said; empty if there are images enough."""
    if not len(samples.reference):
        return "no reference: the champion was not measured on this category"
    if len(samples.reference) < least:
        return f"only {len(samples.reference)} images in the reference"
    return f"only {len(samples.new)} new good images" if len(samples.new) < least else ""


def _tell(row: Mapping[str, Any]) -> str:
    of = f"of the {row['new']} new good images of {row['category']}"
    figures = f"(effect {row['effect']:+.2f}, p {row['p_adjusted']:.2g})"
    if row["measure"] == "features":
        return f"the features {of} differ from the reference {figures}"
    direction = "higher" if row["effect"] > 0 else "lower"
    medians = f"median {row['new_median']:.4g}, in the reference {row['reference_median']:.4g}"
    return f"the {row['measure']} {of} is {direction}: {medians} {figures}"


def _count(news: Sequence[News]) -> str:
    defects = sum(of.record.label == "defect" for of in news)
    return f"{len(news)} new images, {defects} of them defects"


def _measured(news: Sequence[News]) -> "pd.DataFrame":
    """The rows of the manifest of new images that can be decoded."""
    records = [of.record for of in news]
    rows = [row_of(of.record, of.data_set, row) for of, row in zip(news, measure_all(records, "drift"), strict=True)]
    table = as_table(rows)
    return table[table["problem"] == ""].reset_index(drop=True)


def _known_rows(params: Params) -> "pd.DataFrame":
    """The manifests of the last run."""
    import pandas as pd

    files = [manifest_file(name) for name in sorted(set(params.data.sets))]
    tables = [read_table(file) for file in files if file.is_file()]
    return pd.concat([as_table([]), *tables], ignore_index=True)
